"""What the checkpoint knows, for those who only look."""

from collections.abc import Iterator
from contextlib import contextmanager

from elysia_dagster.checkpoint.database import Database, open_database
from elysia_dagster.settings import Settings


@contextmanager
def existing_checkpoint(settings: Settings) -> Iterator[Database | None]:
    """The checkpoint database, or None where there is none: looking makes nothing. Raises ``CheckpointError``."""
    target = settings.find_database()
    if target is None:
        yield None
        return
    database = open_database(target, timeout_s=settings.sqlite_timeout_s)
    try:
        yield database
    finally:
        database.close()
