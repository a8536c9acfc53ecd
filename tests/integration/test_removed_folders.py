"""A folder that is removed as a whole takes along what came before it, in its changeset and in older runs."""

import json
from pathlib import Path

import pytest

from elysia_dagster.checkpoint import runs
from elysia_dagster.settings import Settings
from elysia_dagster.sync import drive
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.request import ChangesetManifest, SyncRequest
from elysia_dagster.sync.resume import resume_run


class Killed(BaseException):
    """Stands for a process that dies at a fault point."""


@pytest.fixture
def engine(tmp_path: Path):
    """An engine with a state of its own; ``faults`` may be replaced."""
    opened = Engine.open(Settings(checkpoint_db_dir=str(tmp_path / "state")))
    yield opened
    opened.close()


def add(path: str, text: str = "text\n") -> dict[str, str]:
    """A record that carries its content."""
    return {"repo": "r", "op": "add", "path": path, "content": text}


def start(
    engine: Engine, tmp_path: Path, name: str, records: list[dict[str, str]], **options: int
) -> ChangesetManifest:
    """Opens the run of a changeset."""
    changeset = tmp_path / f"{name}.jsonl"
    changeset.write_text("".join(json.dumps(each) + "\n" for each in records))
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    return drive.sync(engine, SyncRequest(changeset=changeset, collection="Demo", roots=(root,), **options))


def finish(engine: Engine, manifest: ChangesetManifest) -> SyncReport:
    """Works the run to its end."""
    report = drive.carry_out(engine, manifest, lambda _work, _batch: None)
    assert isinstance(report, SyncReport)
    return report


def die_at(engine: Engine, manifest: ChangesetManifest, point: str) -> None:
    """Works on the run until a fault point is reached, and not beyond."""

    def fault(name: str) -> None:
        if name == point:
            raise Killed

    engine.faults = fault
    with pytest.raises(Killed):
        drive.carry_out(engine, manifest, lambda _work, _batch: None)
    engine.faults = lambda _point: None


def held(engine: Engine) -> set[str]:
    """The documents that the store holds."""
    return {each.relative_path for each in engine.store().scan("Demo")}


DELETE = {"repo": "r", "op": "delete", "path": "dir/"}


def test_earlier_lines_of_the_changeset_go_too_and_later_ones_stay(engine: Engine, tmp_path: Path) -> None:
    finish(engine, start(engine, tmp_path, "before", [add("dir/old.py"), add("dirt.py")]))
    records = [add("dir/new.py"), add("dir/sub/new.py"), add("kept.py"), DELETE, add("dir/later.py")]
    report = finish(engine, start(engine, tmp_path, "folder", records))
    assert report.outcomes == {"superseded": 2, "indexed": 2, "deleted": 1}
    assert held(engine) == {"dirt.py", "kept.py", "dir/later.py"}


@pytest.mark.parametrize("point", ["planned", "embedded", "intended"])
def test_an_older_run_that_comes_late_brings_nothing_back(engine: Engine, tmp_path: Path, point: str) -> None:
    older = start(engine, tmp_path, "older", [add("dir/x.py"), add("o.py")])
    die_at(engine, older, point)
    finish(engine, start(engine, tmp_path, "newer", [DELETE]))
    report = finish(engine, resume_run(engine, older.run_id))
    assert report.outcomes == {"superseded": 1, "indexed": 1}
    assert held(engine) == {"o.py"}


@pytest.mark.parametrize("point", ["plan-recorded", "planned", "claimed", "embedded"])
def test_nor_between_the_newer_run_s_plan_and_its_end(engine: Engine, tmp_path: Path, point: str) -> None:
    older = start(engine, tmp_path, "older", [add("dir/x.py"), add("o.py")])
    die_at(engine, older, "planned")
    newer = start(engine, tmp_path, "newer", [DELETE])
    die_at(engine, newer, point)
    finish(engine, resume_run(engine, older.run_id))
    finish(engine, resume_run(engine, newer.run_id))
    assert held(engine) == {"o.py"}


def test_a_removal_that_is_given_up_supersedes_nothing(engine: Engine, tmp_path: Path) -> None:
    older = start(engine, tmp_path, "older", [add("dir/x.py"), add("o.py")])
    die_at(engine, older, "planned")
    newer = start(engine, tmp_path, "newer", [DELETE])
    die_at(engine, newer, "embedded")
    runs.abandon_run(engine.database, newer.run_id, engine.host)
    finish(engine, resume_run(engine, older.run_id))
    assert held(engine) == {"dir/x.py", "o.py"}


def test_a_rename_whose_new_side_fails_keeps_its_old_side_in_the_smallest_batch(engine: Engine, tmp_path: Path) -> None:
    finish(engine, start(engine, tmp_path, "before", [add("a.py")]))
    rename = {"repo": "r", "op": "modify", "path": "a.py -> b.py"}
    report = finish(engine, start(engine, tmp_path, "rename", [rename], batch_size=1))
    assert report.run.error_count == 1
    assert held(engine) == {"a.py"}
