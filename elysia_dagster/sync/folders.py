"""A folder of a repository into its files: what git tracks or would track, or else all that lies there."""

import heapq
import os
import select
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from elysia_dagster.errors import LineError, ResourceExhausted
from elysia_dagster.sync.confine import ConfinedFolder
from elysia_dagster.sync.git import git_command, git_environment

GIT_SILENCE_S = 60.0
"""Seconds without a name after which git is taken to hang: it opens a FIFO that is called .gitignore."""

_READ_BYTES = 1 << 16


def expand_folder(folder: ConfinedFolder, relative: str) -> Iterator[str]:
    """The path, from the repository's folder on, of every regular file in the folder ``relative``, sorted as git sorts.

    In a git working tree those that git does not ignore, tracked or not; where there is no git, all. Left out are
    symbolic links, devices and the like, ``.git``, and what belongs to another repository inside this one. ``""`` is
    the whole repository. Held in memory is one folder's listing at most.

    Raises ``LineError`` for a folder that is missing (retryable), is a file or a symbolic link, for a file name that is
    not UTF-8, for a folder that may not be listed, and where git fails; ``ResourceExhausted`` if file handles or memory
    are used up. What is found first is given first: an error may come after some paths.
    """
    os.close(folder.open_folder(relative))
    found = _listed_by_git(folder, relative) if is_working_tree(folder) else None
    return _walk(folder, relative) if found is None else found


def is_working_tree(folder: ConfinedFolder) -> bool:
    """Whether there is a ``.git`` that git can use."""
    kind, _ = folder.kind_of(".git")
    return kind in ("file", "link") or (kind == "folder" and folder.kind_of(".git/HEAD")[0] in ("file", "link"))


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """A running `git ls-files -z` and the file that its complaints go to."""

    process: "subprocess.Popen[bytes]"
    complaints: IO[bytes]

    def names(self) -> Iterator[bytes]:
        """The names as they come, in git's order."""
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        rest = b""
        while True:
            if not select.select([pipe], [], [], GIT_SILENCE_S)[0]:
                raise LineError(
                    f"git has listed nothing for {GIT_SILENCE_S:g} s in {self.process.args[-1]!r}.",  # type: ignore[index]
                    next_step="Look for a FIFO or a device named .gitignore there.",
                )
            part = os.read(pipe, _READ_BYTES)
            if not part:
                return
            *names, rest = (rest + part).split(b"\0")
            yield from names

    def failure(self) -> str:
        """What went wrong, ``""`` if nothing did. A folder that git may not open is only a warning to git."""
        code = self.process.wait()
        self.complaints.seek(0)
        complaint = self.complaints.read(_READ_BYTES).decode("utf-8", "replace").strip()
        return (complaint or f"exit code {code}") if code != 0 or "could not open directory" in complaint else ""

    def end(self) -> None:
        """Leave no process and no file behind; may be called at any time, and more than once."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.complaints.close()


def _listed_by_git(folder: ConfinedFolder, relative: str) -> Iterator[str] | None:
    """Paths as git lists them; None if git is not installed."""
    listings: list[_Listing] = []
    try:
        # Two listings, since only each by itself is sorted; they are merged without holding either in memory.
        for which in (("--cached",), ("--others", "--exclude-standard")):
            listings.append(_start_git(folder, relative, which))
    except FileNotFoundError:
        return None
    except OSError as error:
        for listing in listings:
            listing.end()
        raise ResourceExhausted(f"git could not be started for {folder.path}: {error.strerror}.") from error
    return _merged(folder, relative, listings)


def _start_git(folder: ConfinedFolder, relative: str, which: tuple[str, ...]) -> _Listing:
    # A file, not a pipe: git would wait for ever once a pipe that nobody reads yet is full of warnings.
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _Listing.end
    try:
        process = subprocess.Popen(
            [*git_command(folder.path), "ls-files", "-z", *which, "--", relative or "."],
            cwd=folder.path.absolute(),
            env=git_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
    except OSError:
        complaints.close()
        raise
    return _Listing(process=process, complaints=complaints)


def _merged(folder: ConfinedFolder, relative: str, listings: list[_Listing]) -> Iterator[str]:
    last = b""
    try:
        for name in heapq.merge(*(listing.names() for listing in listings)):
            # A file in conflict is listed once for each side; a repository inside this one ends in a slash.
            if name == last or name.endswith(b"/"):
                continue
            last = name
            path = _text_of(folder, name)
            # Deleted files, links and submodules are in git's index, too.
            if folder.kind_of(path)[0] == "file":
                yield path
        for listing in listings:
            if complaint := listing.failure():
                raise LineError(f"git could not list {folder.path / relative}: {complaint[:500]}")
    finally:
        for listing in listings:
            listing.end()


def _text_of(folder: ConfinedFolder, name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LineError(f"The file name {name!r} in {folder.path} is not UTF-8.", permanent=True) from error


def _walk(folder: ConfinedFolder, relative: str) -> Iterator[str]:
    """All regular files, in the order of git: a folder sorts as if its name ended in a slash."""
    prefix = f"{relative}/" if relative else ""
    pending = [(prefix.encode(), True)]
    while pending:
        name, is_folder = pending.pop()
        path = _text_of(folder, name)
        if not is_folder:
            yield path
            continue
        found = _entries(folder, path)
        if found is not None:
            pending += sorted(((name + entry, inner) for entry, inner in found), reverse=True)


def _entries(folder: ConfinedFolder, path: str) -> list[tuple[bytes, bool]] | None:
    """The files and, with a slash, folders in a folder; None for another repository's or one that is gone by now."""
    try:
        fd = folder.open_folder(path.rstrip("/"))
    except LineError:
        if folder.kind_of(path.rstrip("/"))[0] == "folder":
            raise  # it may not be listed: its files must not seem to be none
        return None
    found: list[tuple[bytes, bool]] = []
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.name == ".git":
                    if path:
                        return None
                elif entry.is_dir(follow_symlinks=False):
                    found.append((os.fsencode(entry.name) + b"/", True))
                elif entry.is_file(follow_symlinks=False):
                    found.append((os.fsencode(entry.name), False))
    finally:
        os.close(fd)
    return found
