"""What a process has to do that stopped working on a run: say why and, where it was overtaken, leave nothing behind."""

from contextlib import suppress
from pathlib import Path

from elysia_dagster.checkpoint import claims, lookup, runs
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.errors import ElysiaError, LeaseLost
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.batchfile import remove_batches


def is_overtaken(database: Database, lease: Lease, error: Exception) -> bool:
    """Whether this process, which meets ``error``, has lost its lease.

    Whatever the error: a process that was stopped for long finds its connections closed, too, and may have sent.
    """
    if isinstance(error, LeaseLost):
        return True
    with suppress(ElysiaError):
        return claims.is_lost(database, lease)
    return False


def note_end(database: Database, lease: Lease, folder: Path, error: Exception) -> None:
    """Notes why the run in ``folder`` stopped, for ``status``.

    Raises ``LeaseLost`` from an ``OSError`` that comes of another process having taken the run over: a file that it has
    removed meanwhile is not there.
    """
    is_lost = False
    with suppress(ElysiaError):
        if isinstance(error, ElysiaError):
            runs.record_interruption(database, lease, str(error))
        is_lost = claims.is_lost(database, lease)
        if is_lost and lookup.load_run(database, lease.run_id).status is not RunStatus.RUNNING:
            remove_batches(folder)  # saved after the other process had settled all
    if is_lost and isinstance(error, OSError):
        raise claims.lease_lost(lease) from error
