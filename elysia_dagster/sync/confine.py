"""Paths that stay where they belong: names checked as text, files opened beneath one folder without following any link.

What is promised: no `..`, nothing outside the folder, no symbolic link followed at any component, nothing but regular
files opened, never a wait for a FIFO or a device.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from elysia_dagster.errors import LineError, ResourceExhausted
from elysia_dagster.sync.openbeneath import leads_inside, open_beneath

MAX_PATH_BYTES = 2_048
"""With a repository's name, what one row of a PostgreSQL index takes (2,704 bytes); Linux itself takes 4,096."""

MAX_REPOSITORY_BYTES = 255
_REMEMBERED_PARENTS = 2_048
_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))
_FREE_SOME = "Raise the limit (ulimit -n), or free memory; then give the same command again: it goes on."
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP))


class SymbolicLink(LineError):
    """The path is a symbolic link; ``inside``: its target lies inside the folder (which is not opened to find out)."""

    def __init__(
        self, message: str, *, inside: bool, permanent: bool = True, next_step: str = "", **ids: object
    ) -> None:
        super().__init__(message, permanent=permanent, next_step=next_step, inside=inside, **ids)
        self.inside = inside


@dataclass(frozen=True, kw_only=True, slots=True)
class FileContent:
    """A file's bytes; ``modified_at`` is its modification time in seconds since 1970 (UTC)."""

    data: bytes
    modified_at: float


def check_relative_path(path: str) -> str:
    """A path inside a repository in canonical form (``./a//b`` gives ``a/b``).

    Raises ``LineError`` (permanent) for a path that is empty, absolute, over 2,048 bytes, not encodable as UTF-8, or
    that holds a ``..`` component or a NUL.
    """
    # The ordinary path costs five substring tests; everything else is looked at component by component.
    if (
        path.isascii()
        and "/." not in path
        and "//" not in path
        and "\0" not in path
        and path[:1] not in ("", ".", "/")
        and path[-1] != "/"
        and len(path) <= MAX_PATH_BYTES
    ):
        return path
    return _canonical(path)


def _canonical(path: str) -> str:
    if len(path) > MAX_PATH_BYTES or len(_encoded(path, "path")) > MAX_PATH_BYTES:
        raise LineError(f"The path {path[:80]!r}… is longer than {MAX_PATH_BYTES:,} bytes.", permanent=True)
    if "\0" in path:
        raise LineError(f"The path {path!r} contains a NUL.", permanent=True)
    if path.startswith("/"):
        raise LineError(f"The path {path!r} is absolute, not inside the repository.", permanent=True)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise LineError(f"The path {path!r} contains '..': it may not leave its repository.", permanent=True)
    if not parts:
        raise LineError(f"The path {path!r} names no file.", permanent=True)
    return "/".join(parts)


def _encoded(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LineError(f"The {what} {text[:80]!r} is not valid Unicode.", permanent=True) from error


def check_repository_name(name: str) -> str:
    """The repository's name, which may hold a ``/`` (``group/name``).

    Raises ``LineError`` (permanent) for a name that is empty, absolute, over 255 bytes, not encodable as UTF-8, or that
    holds an empty, ``.``, ``..`` or ``.git`` component (what lies in there may be a credential), a NUL or a backslash
    (a separator elsewhere).
    """
    if len(_encoded(name, "repository name")) > MAX_REPOSITORY_BYTES:
        raise LineError(f"The repository name {name[:80]!r}… is longer than 255 bytes.", permanent=True)
    if "\0" in name or "\\" in name or not {"", ".", "..", ".git"}.isdisjoint(name.split("/")):
        raise LineError(f"The repository name {name!r} is not a folder's name beneath a root.", permanent=True)
    return name


class ConfinedFolder:
    """A repository's folder, opened once; every path is resolved beneath it and follows no symbolic link.

    ``path`` itself may not be a symbolic link; with ``root`` no component between ``root`` and ``path`` may be one.
    Holds one file descriptor: close it, or use it as a context manager. Safe to use from several threads.

    Raises ``LineError`` if the folder cannot be opened, ``ResourceExhausted`` if file handles or memory are used up.
    """

    def __init__(self, path: Path, *, root: Path | None = None) -> None:
        self.path = path
        self._plain_parents: set[str] = set()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = -1
        try:
            if root is None or path == root:
                self._fd = os.open(path, flags)
            else:
                base = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    self._fd = open_beneath(base, path.relative_to(root).as_posix(), flags)
                finally:
                    os.close(base)
        except OSError as error:
            raise _folder_error(path, error) from error

    def close(self) -> None:
        """Give the file descriptor back; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> "ConfinedFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def kind_of(self, relative: str) -> tuple[str, int]:
        """What lies at a checked path, and its size in bytes: ``file``, ``folder``, ``link``, ``other`` or ``missing``.

        Nothing is opened and nothing followed: a path through a symbolic link, or one that may not be looked at, is
        ``other`` (`read_file` says why). Folders found free of links are remembered, so the answer may be as old as
        this object; it decides nothing that `read_file` does not check again.
        """
        parent = relative.rpartition("/")[0]
        if parent and parent not in self._plain_parents and self._first_link(parent, from_memory=True):
            return "other", 0
        try:
            status = os.stat(relative, dir_fd=self._fd, follow_symlinks=False)
        except OSError as error:
            return ("missing" if error.errno in _ABSENT else "other"), 0
        kind = status.st_mode & 0o170000
        if kind == stat.S_IFREG:
            return "file", status.st_size
        if kind == stat.S_IFDIR:
            return "folder", status.st_size
        return ("link" if kind == stat.S_IFLNK else "other"), status.st_size

    def read_file(self, relative: str, *, max_bytes: int) -> FileContent:
        """The bytes of a regular file.

        Raises ``SymbolicLink``; ``LineError`` for a file that is missing or may not be read (retryable), that is larger
        than ``max_bytes``, no regular file, or behind a symbolic link (permanent); ``ResourceExhausted``.
        """
        relative = check_relative_path(relative)
        fd = -1
        try:
            # Looked at before it is opened: opening a device or a FIFO has effects of its own. The flags and the second
            # look cover what is swapped in between.
            status = os.stat(relative, dir_fd=self._fd, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise self._refusal(relative, None)
            fd = open_beneath(self._fd, relative, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise self._refusal(relative, None)
            if status.st_size > max_bytes:
                raise self._too_large(relative, status.st_size, max_bytes)
            data = os.read(fd, status.st_size + 1)
            if len(data) != status.st_size:
                data = self._read_on(fd, data, relative, max_bytes)
            return FileContent(data=data, modified_at=status.st_mtime)
        except OSError as error:
            raise self._refusal(relative, error) from error
        finally:
            if fd >= 0:
                os.close(fd)

    def refuse_link(self, relative: str) -> None:
        """Raise ``SymbolicLink`` or ``LineError`` if a checked path is a symbolic link or passes through one."""
        if self._first_link(relative) is not None:
            raise self._refusal(relative, None)

    def open_folder(self, relative: str) -> int:
        """A file descriptor of a folder, for listing it; the caller closes it. ``""`` is the folder itself.

        Raises ``SymbolicLink``, ``LineError`` and ``ResourceExhausted`` as `read_file` does.
        """
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return open_beneath(self._fd, check_relative_path(relative) if relative else ".", flags)
        except OSError as error:
            raise self._refusal(relative, error, wanted="a folder") from error

    def _read_on(self, fd: int, data: bytes, relative: str, max_bytes: int) -> bytes:
        """The rest of a file whose size is not what it said: it grew, shrank, or reports none."""
        parts, size = [data], len(data)
        while part := os.read(fd, min(1 << 20, max_bytes + 1)):
            size += len(part)
            if size > max_bytes:
                raise self._too_large(relative, size, max_bytes)
            parts.append(part)
        return b"".join(parts)

    def _too_large(self, relative: str, size: int, max_bytes: int) -> LineError:
        return LineError(
            f"{self.path / relative} has {size:,} bytes or more, over the limit of {max_bytes:,} bytes a document.",
            permanent=True,
        )

    def _first_link(self, relative: str, *, from_memory: bool = False) -> str | None:
        """The first component of ``relative`` that is a symbolic link; None, and remembered, if there is none.

        A folder that is missing has no link in what there is of its path, and is remembered too: a changeset may name
        many files of a folder that is gone.
        """
        if len(self._plain_parents) >= _REMEMBERED_PARENTS:
            self._plain_parents.clear()
        prefix = relative if from_memory else ""
        while prefix and prefix not in self._plain_parents:
            prefix = prefix.rpartition("/")[0]
        for part in relative[len(prefix) :].strip("/").split("/"):
            prefix = f"{prefix}/{part}" if prefix else part
            try:
                mode = os.stat(prefix, dir_fd=self._fd, follow_symlinks=False).st_mode
            except OSError:
                self._plain_parents.add(relative)
                return None
            if stat.S_ISLNK(mode):
                return prefix
            self._plain_parents.add(prefix)
        return None

    def _refusal(self, relative: str, error: OSError | None, *, wanted: str = "a regular file") -> Exception:
        """Why ``relative`` was not opened, told by looking at each component and opening none."""
        where = self.path / relative
        if error is not None and error.errno in _EXHAUSTED:
            return ResourceExhausted(f"{where} could not be opened: {error.strerror}.", next_step=_FREE_SOME)
        link = self._first_link(relative)
        if link is not None and link != relative:
            return LineError(
                f"{where} passes through a symbolic link ({link}), which is never followed.", permanent=True
            )
        if link is not None:
            return self._symbolic_link(relative)
        if error is None or error.errno in (errno.ENXIO, errno.ENODEV):
            return LineError(f"{where} is not {wanted}.", permanent=True)
        if error.errno == errno.ENAMETOOLONG:
            return LineError(f"{where} has a name too long for its file system.", permanent=True)
        if error.errno == errno.ENOTDIR and wanted == "a folder" and self.kind_of(relative)[0] != "missing":
            return LineError(f"{where} is not a folder.", permanent=True)
        if error.errno in _ABSENT:
            return LineError(f"{where} does not exist.", next_step="Check --root and the repository's name.")
        return LineError(f"{where} cannot be read: {error.strerror}.")

    def _symbolic_link(self, relative: str) -> LineError:
        where = self.path / relative
        inside = leads_inside(os.path.realpath(self.path), relative)
        if inside is None:
            return LineError(f"{where} is a symbolic link that leads in a circle.", permanent=True)
        side = "inside" if inside else "outside"
        return SymbolicLink(
            f"{where} is a symbolic link to a place {side} its repository; it is never followed.", inside=inside
        )


def _folder_error(path: Path, error: OSError) -> Exception:
    if error.errno in _EXHAUSTED:
        return ResourceExhausted(f"{path} could not be opened: {error.strerror}.", next_step=_FREE_SOME)
    if error.errno in (errno.ELOOP, errno.ENOTDIR) and path.is_symlink():
        return LineError(
            f"{path} is a symbolic link, which is never followed.",
            next_step="Give the folder that it leads to as --root.",
            permanent=True,
        )
    return LineError(f"{path} cannot be opened as a folder: {error.strerror}.", next_step="Check --root.")
