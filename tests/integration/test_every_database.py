"""The whole engine with its checkpoint on every database: SQLite, and PostgreSQL where that is installed."""

from pathlib import Path
from typing import Any

import pytest
from sync_world import World, sha256

from elysia_dagster.checkpoint import queries
from elysia_dagster.checkpoint.tally import tally_failures
from elysia_dagster.errors import Interrupted
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.cleanup import cleanup_checkpoints


def change(path: str, **fields: Any) -> dict[str, Any]:
    return {"repo": "repo", "op": "modify", "path": path, **fields}


BAD = [
    b"a\0b.py",
    b"caf\xe9.py",
    b'{"repo": "repo", "path": "a\\ud800.py"}',
    b'{"repo": "repo", "new_changeset": {"commit": "\\u0000"}}',
    b'{"path": "/etc/\\ud800"}',
    b'{"path": "x", "op": "\\u0000"}',
    change("x\0.py", content="x\n"),
    change("late.py"),
]


@pytest.fixture
def anywhere(target: Path | str, tmp_path: Path) -> World:
    """A world whose checkpoint is in that database."""
    url = {} if isinstance(target, Path) else {"checkpoint_db_url": target}
    return World(tmp_path, **url)


def test_sync_interrupt_resume_retry_and_clean_up(anywhere: World) -> None:
    with anywhere as world:
        _live_through(world)


def _live_through(world: World) -> None:
    database = world.engine.database
    url = world.engine.settings.checkpoint_db_url
    world.write("repo/pkg/ü.py", "ü = 1\n")
    world.write("repo/pkg/Ü.py", "Ü = 1\n")
    lines = [
        *BAD,
        change("pkg/"),
        change("a.py", content="a = 1\n"),
        change("a.py", content="a = 2\n"),
        {"repo": "other", "op": "add", "path": "'; --.py", "content": "%(x)s :y ?\n"},
        {"repo": "other", "new_changeset": {"commit": "c" * 40}},
    ]
    settled: list[str] = []
    stopping = world.open_engine(
        parts={"faults": settled.append, "stop_requested": lambda: "settled" in settled}, checkpoint_db_url=url
    )
    manifest = world.begin(*lines, engine=stopping, batch_size=1)
    with pytest.raises(Interrupted):
        world.finish(manifest, stopping)
    run = world.resume(manifest.run_id)
    assert (run.status, run.error_count, run.success_count) == (RunStatus.FAILED, len(BAD), 5)
    (tally,) = tally_failures(database)
    assert (tally.due, tally.pending, tally.used_up) == (0, 0, 0)
    assert tally.waiting + tally.permanent == len(BAD)
    assert tally.waiting >= 1
    assert tally.next_due is not None
    assert queries.count_outcomes(database, run.run_id) == {"indexed": 3, "superseded": 1, "changeset": 1}
    held = {
        "repo/pkg/ü.py": sha256("ü = 1\n"),
        "repo/pkg/Ü.py": sha256("Ü = 1\n"),
        "repo/a.py": sha256("a = 2\n"),
        "other/'; --.py": sha256("%(x)s :y ?\n"),
    }
    assert world.held() == held
    world.write("repo/late.py", "late\n")
    run = world.retry(run.run_id)
    assert (run.status, run.error_count, run.attempt) == (RunStatus.FAILED, len(BAD) - 1, 2)
    assert world.held() == {**held, "repo/late.py": sha256("late\n")}
    world.sync(
        {"repo": "repo", "op": "delete", "path": "pkg/"}, {"repo": "repo", "new_changeset": {"commit": "d" * 40}}
    )
    assert world.held().keys() == {"repo/a.py", "repo/late.py", "other/'; --.py"}
    commits = {row["repository"]: row["commit_id"] for row in queries.summarize(database)["repositories"]}
    assert commits == {"other": "c" * 40, "repo": "d" * 40}
    assert len(cleanup_checkpoints(world.engine, keep_days=-1).runs) == 2
    assert queries.list_runs(database) == []
    assert [row["documents"] for row in queries.summarize(database)["collections"]] == [3]
