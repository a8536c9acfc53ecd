"""Old runs go, with their files; what another run could still need stays."""

import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from elysia_dagster.checkpoint import clock, retention
from elysia_dagster.checkpoint.inbox import drop_settled_files
from elysia_dagster.errors import UsageError
from elysia_dagster.settings import MOST_DAYS, Settings
from elysia_dagster.sync.engine import Engine, remove_run_folder
from elysia_dagster.sync.files import folder_bytes

ORPHAN_AGE_S = 86_400.0
"""Seconds after which a folder that no run names is a dead process's."""


@dataclass(frozen=True, kw_only=True)
class CleanupReport:
    """What went: runs with their lines, tombstones of documents, and bytes of spools and batch files."""

    runs: tuple[str, ...]
    completed_lines: int
    failed_lines: int
    tombstones: int
    freed_bytes: int


def days_to_keep(given: float | None, settings: Settings) -> float:
    """What a job's config says, else the setting. Raises ``UsageError`` for a number of days that no moment is ago."""
    days = settings.checkpoint_cleanup_days if given is None else given
    if not 0 <= days <= MOST_DAYS:
        raise UsageError(
            f"{days:g} is no number of days to keep runs for.",
            next_step=f"It is zero or above, and {MOST_DAYS:g} at most.",
        )
    return days


def cleanup_checkpoints(
    engine: Engine, *, keep_days: float, give_back_space: bool = False, except_runs: frozenset[str] = frozenset()
) -> CleanupReport:
    """Drops finished runs that ended more than ``keep_days`` ago, but ``except_runs``. Unfinished ones stay.

    With ``give_back_space`` the database file shrinks, which holds other writers up (2 s for 200 MB).
    """
    dropped: list[str] = []
    completed = failed = freed = 0
    before = clock.stamp(clock.now() - timedelta(days=keep_days))
    for run_id in retention.expired_runs(engine.database, before):
        if run_id in except_runs:
            continue
        counts = retention.drop_run(engine.database, run_id, engine.host)
        if counts is None:
            continue
        engine.faults("run-dropped")
        dropped.append(run_id)
        completed += counts[0]
        failed += counts[1]
        freed += folder_bytes(engine.run_folder(run_id))
        remove_run_folder(engine, run_id)
        engine.faults("run-folder-removed")
    freed += _remove_orphans(engine)
    engine.faults("orphans-removed")
    tombstones = retention.drop_tombstones(engine.database)
    engine.faults("tombstones-dropped")
    drop_settled_files(engine.database, before)
    if give_back_space:
        retention.give_back_space(engine.database)
    return CleanupReport(
        runs=tuple(dropped),
        completed_lines=completed,
        failed_lines=failed,
        tombstones=tombstones,
        freed_bytes=freed,
    )


def _remove_orphans(engine: Engine) -> int:
    """Folders of runs that were dropped, or never opened, by a process that died in between."""
    work = engine.run_folder("x").parent
    if not work.is_dir():
        return 0
    freed = 0
    known = retention.known_runs(engine.database)
    for folder in work.iterdir():
        with suppress(FileNotFoundError):  # its process has named or removed it meanwhile
            if folder.name not in known and time.time() - folder.stat().st_mtime > ORPHAN_AGE_S:
                freed += folder_bytes(folder)
                remove_run_folder(engine, folder.name)
    return freed
