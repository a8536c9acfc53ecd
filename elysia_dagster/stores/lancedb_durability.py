"""Brings a LanceDB table's new files to the disk.

LanceDB 0.40 never calls fsync (strace shows none), so what it acknowledged may be gone, or half there, after a power
loss. ``FileSyncer`` syncs what a write left before the caller settles it.
"""

import os
import time
from pathlib import Path

from elysia_dagster.stores.lancedb_recovery import note_synced

_ORDER = ("data", "_deletions", "_indices", "_transactions", "_versions")
"""Folders of a table; a version is synced last, since it names files of all the others."""

_KERNEL_HAS_WRITTEN_S = 120.0
"""Older files need no sync: Linux writes dirty pages after about 35 s (vm.dirty_expire_centisecs 3000 and the
flusher's 5 s). So a process that meets a table for the first time syncs what a killed one may have left, not all."""


class FileSyncer:
    """Remembers which files of one table's folder are synced. Use it under the table's lock."""

    def __init__(self, table_folder: Path) -> None:
        self._folder = table_folder
        self._synced: dict[str, set[str]] = {}

    def sync(self) -> int:
        """Syncs files not seen before and the folders that name them; returns how many files. Raises ``OSError``."""
        return sum(self._sync_folder(name) for name in _ORDER)

    def _sync_folder(self, name: str) -> int:
        folder = self._folder / name
        try:
            present = set(os.listdir(folder))
        except FileNotFoundError:
            return 0
        first_time = name not in self._synced
        fresh = present - self._synced.get(name, set())
        count = 0
        if fresh:
            oldest = time.time() - _KERNEL_HAS_WRITTEN_S
            for entry in fresh:
                count += _sync_tree(folder / entry, oldest)
            if name == "_versions":
                present = note_synced(folder, present)
            _sync_path(folder)
        if first_time:
            _sync_path(self._folder)
        self._synced[name] = present
        return count


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable. Raises ``OSError``."""
    _sync_path(folder)


def _sync_tree(path: Path, oldest: float) -> int:
    try:
        if path.is_dir():
            count = sum(_sync_tree(inner, oldest) for inner in path.iterdir())
            _sync_path(path)
            return count
        if path.stat().st_mtime < oldest:
            return 0
        _sync_path(path)
    except FileNotFoundError:  # a version that was just cleaned up needs no syncing
        return 0
    return 1


def _sync_path(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
