"""The checkpoint database where there is one, for those who only look; this module itself loads no database."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from elysia_dagster.settings import Settings

if TYPE_CHECKING:
    from elysia_dagster.checkpoint.database import Database


@contextmanager
def existing_checkpoint(settings: Settings) -> "Iterator[Database | None]":
    """The checkpoint database, or None where there is none: looking makes nothing. Raises ``CheckpointError``."""
    target = settings.find_database()
    if target is None:
        yield None
        return
    from elysia_dagster.checkpoint.database import open_database

    database = open_database(target, timeout_s=settings.sqlite_timeout_s)
    try:
        yield database
    finally:
        database.close()
