"""Options that several commands share. A default is never fixed here: it is the setting's value when called."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from elysia_dagster.cli.terminal import Terminal

Function = TypeVar("Function", bound=Callable[..., Any])


def command(name: str, *, quiet: bool = False, json: bool = False) -> Callable[[Function], click.Command]:
    """A command whose function gets the ``Terminal`` first.

    It has ``--verbose`` and, where asked for, ``--quiet`` and ``--json``.
    """

    def decorate(function: Function) -> click.Command:
        @wraps(function)
        def wrapped(verbose: bool, quiet: bool = False, **arguments: Any) -> Any:
            terminal: Terminal = click.get_current_context().obj
            terminal.verbose, terminal.quiet = verbose, quiet
            return function(terminal, **arguments)

        made: click.Command = click.command(name)(wrapped)
        if json:
            made.params.append(_flag("--json", "as_json", help="Print the result as JSON."))
        if quiet:
            made.params.append(_flag("-q", "--quiet", help="Print nothing but errors, and what --json prints."))
        made.params.append(_flag("-v", "--verbose", help="Say more, and show where an error came from."))
        return made

    return decorate


def _flag(*names: str, help: str) -> click.Option:
    return click.Option(list(names), is_flag=True, help=help)


def collection_option(function: Function) -> Function:
    """``--collection``."""
    return click.option("--collection", metavar="NAME", help="Collection, e.g. Demo.  [setting: ELYSIACTL_COLLECTION]")(
        function
    )


def store_option(function: Function) -> Function:
    """``--store``."""
    return click.option(
        "--store",
        metavar="URL",
        help="Vector store: lancedb:<folder>, weaviate:http[s]://host:port, or weaviate: alone for the server of "
        "ELYSIACTL_WEAVIATE_URL.  [setting: ELYSIACTL_STORE; default: lancedb:<state>/vectors]",
    )(function)


def embedder_option(function: Function) -> Function:
    """``--embedder``."""
    return click.option(
        "--embedder",
        metavar="SPEC",
        help="hashing, openai:<model>[@<dimensions>], fastembed:<model>, or store for the store's own vectorizer.  "
        "[setting: ELYSIACTL_EMBEDDER]",
    )(function)


def batch_size_option(function: Function) -> Function:
    """``--batch-size``."""
    return click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        metavar="N",
        help="Changes embedded, written and settled together.  [setting: ELYSIACTL_BATCH_SIZE]",
    )(function)


def max_failures_option(function: Function) -> Function:
    """``--max-failures``."""
    return click.option(
        "--max-failures",
        metavar="N|N%",
        help="Stop, resumable, when more lines than this failed of those this start settled; N% from 100 lines on; "
        "100% is no limit.  [setting: ELYSIACTL_MAX_FAILURES; resume and retry: as the run began]",
    )(function)


def run_id_option(meaning: str) -> Callable[[Function], Function]:
    """``--run-id``."""
    return click.option("--run-id", metavar="ID", help=meaning)
