"""Where a repository lies under the roots, decided once for each repository, and which document a line names."""

import os
from collections.abc import Sequence
from pathlib import Path

import orjson

from elysia_dagster.errors import LineError
from elysia_dagster.sync.confine import ConfinedFolder, check_relative_path, check_repository_name

OPEN_FOLDERS = 256
"""Repository folders that are kept open at once: each holds a file descriptor."""


class Locator:
    """Finds repositories below ``roots``; lines that name none belong to ``repo``, else to the first root itself.
    Without a root no repository has a folder: lines must carry their content.

    ``decided`` gives folders that an earlier process found, by repository.
    """

    def __init__(self, roots: Sequence[Path], repo: str, decided: dict[str, str] | None = None) -> None:
        self._given = tuple(roots)
        self.roots = tuple(root.resolve() for root in roots)
        self.default = check_repository_name(repo) if repo else (self.roots[0].name if roots else "") or "root"
        self._named = bool(repo)
        self._folders: dict[str, ConfinedFolder | LineError | None] = {}
        self._places: dict[str, str] = {}
        self._known = decided or {}
        self._nested: dict[str, list[Path]] | None = None

    def close(self) -> None:
        """Closes the folders."""
        for folder in self._folders.values():
            if isinstance(folder, ConfinedFolder):
                folder.close()
        self._folders.clear()

    def folder(self, repository: str) -> ConfinedFolder | None:
        """The repository's folder, or None where there is none. Raises ``LineError`` where two could be meant."""
        if repository in self._folders:
            found = self._folders.pop(repository)
        else:
            found = self._find(repository)
            if len(self._folders) >= OPEN_FOLDERS:  # the longest unused; closed once nobody holds it any more
                del self._folders[next(iter(self._folders))]
        self._folders[repository] = found
        if isinstance(found, LineError):
            raise found.with_traceback(None)  # else the frames of every line that asks stay alive with it
        return found

    def decisions(self) -> dict[str, str]:
        """The folder of every repository that has been asked for and lies somewhere for certain."""
        return dict(self._places)

    def relative(self, repository: str, path: str) -> str:
        """A path of a line as a path in its repository. Raises ``LineError`` where it lies outside."""
        if not path.startswith("/"):
            return check_relative_path(path)
        folder = self.folder(repository)
        if folder is not None:
            for given, root in zip(self._given, self.roots, strict=True):
                if path.startswith(f"{given}/"):  # a root that is reached by a symbolic link
                    path = f"{root}{path[len(str(given)) :]}"
            if path.startswith(f"{folder.path}/"):
                return check_relative_path(path[len(str(folder.path)) + 1 :])
        raise LineError(
            f"{path} lies outside the roots ({', '.join(map(str, self.roots))}).",
            next_step=f"Add --root {Path(path).parent} to the command.",
        )

    def _find(self, repository: str) -> ConfinedFolder | LineError | None:
        try:
            check_repository_name(repository)  # whoever asks: it becomes part of a path
        except LineError as error:
            return error
        if not self.roots:
            return None
        place = self._known.get(repository)
        if place is None:
            try:
                path, is_certain = self._decide(repository)
            except LineError as error:
                return error
            if is_certain:
                self._places[repository] = str(path)
            place = str(path)
        return self._open(Path(place))

    def _decide(self, repository: str) -> tuple[Path, bool]:
        """Where a repository lies, and whether it lies there for certain: a root that stands in for a folder which is
        not there yet is looked at again by the next process."""
        if repository == self.default and not self._named:
            return self.roots[0], True
        here = [root for root in self.roots if _is_working_tree(root) and root.name == repository]
        below = [path for root in self.roots if _is_folder(path := root / repository)]
        trees = [path for path in below if _is_working_tree(path)]
        deeper = [path for path in self._nested_trees().get(repository, ()) if path not in below]
        if len(trees) + len(deeper) > 1 or (not trees and len(below) > 1):
            places = ", ".join(map(str, trees + deeper or below))
            raise LineError(
                f"Repository {repository} could be any of: {places}. Lines of repositories with one name cannot be "
                f"told apart.",
                next_step="Sync them one by one, each with its own --root and --repo.",
            )
        if trees or here:
            return (trees or here)[0], True
        if below and not any(map(_is_working_tree, self.roots)):
            return below[0], True
        return self.roots[0], _is_working_tree(self.roots[0])

    def _open(self, path: Path) -> ConfinedFolder | None:
        root = next((root for root in self.roots if path.is_relative_to(root)), None)
        try:
            return ConfinedFolder(path, root=root)
        except LineError:
            return None

    def _nested_trees(self) -> dict[str, list[Path]]:
        """Working trees two levels below the roots, by name: a producer that looks there calls them by it."""
        if self._nested is None:
            self._nested = {}
            for root in self.roots:
                if _is_working_tree(root):
                    continue
                for middle in _folders_in(root):
                    if _is_working_tree(middle):
                        continue
                    for tree in filter(_is_working_tree, _folders_in(middle)):
                        self._nested.setdefault(tree.name, []).append(tree)
        return self._nested


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _is_working_tree(path: Path) -> bool:
    """Whether there is a ``.git``; not where the folder may not be looked into, which `Path.exists` would raise."""
    return os.path.exists(path / ".git")


def _folders_in(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return [path / each.name for each in entries if each.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def is_outside(line: bytes, roots: Sequence[Path]) -> bool:
    """Whether a line names an absolute path outside the roots; a line that cannot be read does not."""
    path = named_path(line)
    if not path.startswith(b"/"):
        return False
    bases = {str(base) for root in roots for base in (root.absolute(), root.resolve())}
    return not any(path.startswith(os.fsencode(base.rstrip("/")) + b"/") or base == "/" for base in bases)


def named_path(line: bytes) -> bytes:
    """The path that a line names, ``b""`` where it cannot be read; lone surrogates become ``?``."""
    path = line.rstrip(b"\r\n")
    if not path.startswith(b"{"):
        return path
    try:
        named = orjson.loads(path).get("path")
    except orjson.JSONDecodeError:
        return b""
    return named.encode("utf-8", "replace") if isinstance(named, str) else b""
