"""What the lines of a changeset have written so far, for those that remove a folder with all that is in it."""

from collections.abc import Callable
from typing import Any


class WrittenPaths:
    """The paths that a changeset has written, by repository and folder, and the folders that it has removed.

    A thousand lines that remove the same folder, or folders in it, ask for its documents once: what one of them has
    removed is removed, until a later line writes it again. ``documents_below`` lists what a collection holds in a
    folder of a repository.
    """

    def __init__(self, documents_below: Callable[[str, str], list[str]]) -> None:
        self._documents_below = documents_below
        # in a folder, a file's name leads to None, a folder's name with a slash to what is in it
        self._trees: dict[str, dict[str, Any]] = {}
        self._removed: dict[str, set[str]] = {}

    def add(self, repository: str, path: str) -> None:
        """Adds a path in canonical form."""
        *folders, name = path.split("/")
        here = self._trees.setdefault(repository, {})
        for each in folders:
            here = here.setdefault(f"{each}/", {})
        here[name] = None

    def remove_folder(self, repository: str, folder: str) -> list[str]:
        """All that goes with a folder, sorted: what was written below it or held there, and not removed since."""
        found = set(self._take(repository, folder))
        removed = self._removed.setdefault(repository, set())
        if not _lies_in(folder, removed):
            held = self._documents_below(repository, folder)
            found.update(each for each in held if not _lies_in(each.rpartition("/")[0], removed))
            removed.add(folder)
        return sorted(found)

    def _take(self, repository: str, folder: str) -> list[str]:
        """The paths below the folder, which are not written any more."""
        *parents, last = folder.split("/")
        here = self._trees.get(repository, {})
        for each in parents:
            here = here.get(f"{each}/", {})
        found: list[str] = []
        pending = [(f"{folder}/", here.pop(f"{last}/", {}))]
        while pending:
            prefix, inside = pending.pop()
            for name, below in inside.items():
                if below is None:
                    found.append(prefix + name)
                else:
                    pending.append((prefix + name, below))
        return found


def _lies_in(path: str, folders: set[str]) -> bool:
    """Whether ``path`` is one of the folders or lies in one."""
    while path and folders:
        if path in folders:
            return True
        path = path.rpartition("/")[0]
    return False
