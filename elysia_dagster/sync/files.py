"""Files that a later step relies on: written aside, synced, renamed, so that a name never stands for half a file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from elysia_dagster.errors import ResourceExhausted
from elysia_dagster.exhaustion import USED_UP


@contextmanager
def resources_named(what: str) -> Iterator[None]:
    """Turns the operating system's "used up" errors into ``ResourceExhausted`` that names ``what``."""
    try:
        yield
    except OSError as error:
        if error.errno in USED_UP:
            raise ResourceExhausted(
                f"Cannot write {what}: {error.strerror}.",
                next_step="Free what is used up, then give the same command again: it goes on where it stopped.",
            ) from error
        raise


@contextmanager
def write_aside(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under ``path`` only when the block has ended well and its bytes are on the disk.

    Raises ``ResourceExhausted`` when the disk is full.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with resources_named(str(path)):
        try:
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove_parts(folder: Path) -> None:
    """Removes what killed processes had begun to write aside in ``folder``; only its one user may call this."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes renames and unlinks in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folder_bytes(folder: Path) -> int:
    """Bytes of the files right in ``folder``; 0 where there is none."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except FileNotFoundError:
        return 0
