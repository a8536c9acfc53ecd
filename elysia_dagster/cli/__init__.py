"""The command ``elysiactl``.

Exit codes, which scripts may rely on:

====  ==================================================================================================
0     all lines completed (a dry run that could look at everything, a question that was answered)
1     finished, some lines failed
2     usage, configuration, an input that cannot be read, a collection that is not ours; more lines failed
      than --max-failures allows (resumable, once the cause is mended)
3     the store or the embedder is unreachable, or a resource is used up; resumable
4     another run holds the run or its repositories
70    a bug in this program (``EX_SOFTWARE``)
130   interrupted; resumable, unless the input had not been read whole
====  ==================================================================================================

Standard output carries results, standard error the rest. Command modules import what they work with inside their
functions, so that ``status`` pays for no store, embedder or Dagster.
"""

import sys
from collections.abc import Sequence

import click

from elysia_dagster.cli.failed import failed
from elysia_dagster.cli.inbox import inbox
from elysia_dagster.cli.keeping import abandon, cleanup, forget, where
from elysia_dagster.cli.rebuild import rebuild
from elysia_dagster.cli.reconcile import reconcile
from elysia_dagster.cli.search import search
from elysia_dagster.cli.status import status
from elysia_dagster.cli.sync import resume, retry, sync
from elysia_dagster.cli.terminal import Terminal, causes
from elysia_dagster.cli.unlock import unlock
from elysia_dagster.errors import ElysiaError
from elysia_dagster.exhaustion import exhausted

EXIT_BUG = 70
EXIT_INTERRUPTED = 130


class _InOrder(click.Group):
    """Lists its commands in the order in which a person meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="elysia_dagster", prog_name="elysiactl")
def elysiactl() -> None:
    """Keeps a vector index of many git repositories true, one changeset line at a time.

    \b
    Example: git ls-files | elysiactl index sync --stdin --collection Demo
    """


@elysiactl.group(cls=_InOrder)
def index() -> None:
    """Apply changesets to a collection, see how they fared, search it.

    \b
    Exit codes: 0 all lines completed, 1 some lines failed, 2 usage or configuration, 3 store or embedder
    unreachable, 4 another run holds the repositories, 70 a bug, 130 interrupted.
    """


_COMMANDS = (
    sync,
    status,
    inbox,
    failed,
    resume,
    retry,
    abandon,
    unlock,
    reconcile,
    rebuild,
    search,
    cleanup,
    forget,
    where,
)
for _command in _COMMANDS:
    index.add_command(_command)


def main() -> None:
    """Runs the command line of this process and exits with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command; its exit code. Whatever goes wrong ends as one sentence on standard error."""
    terminal = Terminal()
    try:
        code = elysiactl.main(list(arguments), prog_name="elysiactl", standalone_mode=False, obj=terminal)
        terminal.flush()
        return int(code or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "elysiactl"
        terminal.error(f"{error.format_message().rstrip('.')}. See: {path} --help")
        return error.exit_code
    except ElysiaError as error:
        terminal.error(str(error))
        if terminal.verbose:
            for cause in causes(error):
                terminal.error(f"because of {cause}")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        terminal.error("Interrupted.")
        return EXIT_INTERRUPTED
    except Exception as error:
        if known := exhausted(error):
            terminal.error(str(known))
            return known.exit_code
        if terminal.verbose:
            import traceback

            terminal.error(f"This is a bug in elysiactl.\n{traceback.format_exc().rstrip()}")
        else:
            terminal.error(
                f"This is a bug in elysiactl: {type(error).__name__}. See where: run it again with --verbose."
            )
        return EXIT_BUG
