"""git as it is run on other people's repositories: nothing that their configuration names is started or fetched."""

import os
import re
import subprocess
from pathlib import Path

from elysia_dagster.errors import ResourceExhausted

# The repository's own configuration is somebody else's text: nothing that it names may be run.
_HARMLESS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never")
# What git needs of the environment (the user's own ignore file lies under the home folder). The rest, keys among it,
# stays here, and so do GIT_DIR and GIT_INDEX_FILE, which a hook sets for another repository.
_PASSED_ON = ("HOME", "LANG", "PATH", "XDG_CONFIG_HOME")

_COMMIT = re.compile(r"HEAD|[0-9a-fA-F]{7,64}")
"""What a commit may be called; a changeset may say anything."""


def git_command(folder: Path) -> list[str]:
    """The beginning of a command line for the working tree ``folder``."""
    where = str(folder.absolute())
    place = ("--literal-pathspecs", f"--git-dir={where}/.git", f"--work-tree={where}")
    return ["git", *_HARMLESS, "--no-optional-locks", *place]


def git_environment() -> dict[str, str]:
    """What git is told besides."""
    environment = {name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None}
    return environment | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def read_blob(folder: Path, commit: str, path: str, *, max_bytes: int) -> bytes | None:
    """A file as it is in a commit of the working tree ``folder``; None where git does not have it, or it is larger.

    Raises ``ResourceExhausted`` where no process can be started.
    """
    if not _COMMIT.fullmatch(commit) or "\0" in path:
        return None
    try:
        process = subprocess.Popen(
            [*git_command(folder), "cat-file", "blob", f"{commit}:{path}"],
            cwd=folder,
            env=git_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:  # no git, or no folder
        return None
    except OSError as error:
        raise ResourceExhausted(f"git could not be started for {folder}: {error.strerror}.") from error
    with process:
        assert process.stdout is not None
        data = process.stdout.read(max_bytes + 1)
        if len(data) > max_bytes:
            process.kill()
    return data if process.returncode == 0 else None
