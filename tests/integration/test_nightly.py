"""Which start goes on with which run: what makes two starts the same, and when the same bytes are a new run."""

import gzip
import io
import shutil
from typing import Any

import pytest
from sync_world import Line, World, sha256

from elysia_dagster.checkpoint.lookup import load_run
from elysia_dagster.checkpoint.owner import Owner
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.retention import forget_collection
from elysia_dagster.errors import CollectionMismatch, InputError, Interrupted, RepositoriesHeld, UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.drive import carry_out, sync
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.request import ChangesetManifest
from elysia_dagster.sync.resume import resume_run

SELF_CONTAINED: list[Line] = [
    {"repo": "repo", "op": "add", "path": "a.py", "content": "a = 1\n"},
    {"repo": "repo", "op": "delete", "path": "b.py"},
    {"repo": "repo", "new_changeset": {"commit": "c" * 40}},
]
BY_PATH: list[Line] = [{"repo": "repo", "op": "modify", "path": f"{name}.py"} for name in "abc"]


def stopped_after(world: World, batches: int, *lines: Line, **options: Any) -> ChangesetManifest:
    """A run that was interrupted once so many batches were settled."""
    settled: list[str] = []

    def note(point: str) -> None:
        if point == "settled":
            settled.append(point)

    engine = world.open_engine(parts={"faults": note, "stop_requested": lambda: len(settled) >= batches})
    manifest = world.begin(*lines, engine=engine, batch_size=1, **options)
    with pytest.raises(Interrupted, match=f"resume --run-id {manifest.run_id}"):
        world.finish(manifest, engine)
    return manifest


def write_files(world: World, generation: int = 0, names: str = "abc") -> None:
    for name in names:
        world.write(f"repo/{name}.py", f"{name} = {generation}\n")


def test_the_same_start_goes_on_with_an_unfinished_run(world: World) -> None:
    write_files(world)
    begun = stopped_after(world, 1, *BY_PATH)
    before = load_run(world.engine.database, begun.run_id)
    assert (before.status, before.processed_lines) == (RunStatus.RUNNING, 1)
    assert "was interrupted" in (before.last_error or "")
    manifest = world.begin(*BY_PATH)
    assert (manifest.run_id, manifest.resumed) == (begun.run_id, True)
    run = world.finish(manifest)
    assert (run.status, run.success_count, run.last_error) == (RunStatus.COMPLETED, 3, None)
    assert len(world.query("SELECT 1 FROM sync_runs")) == 1


def test_a_run_is_resumed_by_its_name_without_its_input(light_world: World) -> None:
    write_files(light_world)
    begun = stopped_after(light_world, 1, *BY_PATH)
    assert light_world.recording is not None
    light_world.recording.take_sent()
    run = light_world.resume(begun.run_id)
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, 3)
    assert light_world.recording.take_sent() == ["repo/b.py", "repo/c.py"], "the settled one is not sent again"


def test_a_resume_says_what_it_cannot_do(light_world: World) -> None:
    with pytest.raises(UsageError, match="There is no run sync-nothing"):
        resume_run(light_world.engine, "sync-nothing")
    run = light_world.sync(*SELF_CONTAINED)
    with pytest.raises(UsageError, match="is completed: there is nothing to resume"):
        resume_run(light_world.engine, run.run_id)
    write_files(light_world)
    begun = stopped_after(light_world, 1, *BY_PATH)
    (light_world.state / "work" / begun.run_id / "changeset.jsonl").unlink()
    with pytest.raises(UsageError, match="no longer in"):
        resume_run(light_world.engine, begun.run_id)


@pytest.mark.parametrize("lost", ["the folder", "the spool", "half of the spool"])
def test_the_same_start_puts_a_lost_spool_back(lost: str, light_world: World) -> None:
    lines: list[Line] = [
        {"repo": "repo", "op": "add", "path": f"{name}.py", "content": f"{name} = 1\n"} for name in "abc"
    ]
    begun = stopped_after(light_world, 1, *lines)
    settled = {path for (path,) in light_world.query("SELECT file_path FROM completed_lines")}
    folder = light_world.state / "work" / begun.run_id
    spool = folder / "changeset.jsonl"
    whole = spool.read_bytes()
    if lost == "the folder":
        shutil.rmtree(folder)
    elif lost == "the spool":
        spool.unlink()
    else:
        spool.write_bytes(whole[:9])
        for batch in folder.glob("batch-*"):
            batch.unlink()
        with pytest.raises(InputError, match="Sync the same changeset again"):
            light_world.resume(begun.run_id)
    assert light_world.recording is not None
    light_world.recording.take_sent()
    manifest = light_world.begin(*lines)
    assert (manifest.run_id, manifest.resumed) == (begun.run_id, True)
    assert spool.read_bytes() == whole
    run = light_world.finish(manifest)
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, 3)
    sent = light_world.recording.take_sent()
    assert sent == [f"repo/{name}.py" for name in "abc" if f"{name}.py" not in settled], "what was settled stays so"


def options_of(world: World, other: str) -> dict[str, Any]:
    (world.base / "second").mkdir()
    return {
        "collection": {"collection": "Another"},
        "root": {"roots": (world.base / "second",)},
        "one more root": {"roots": (world.root, world.base / "second")},
        "repository": {"repo": "named"},
        "dry run": {"dry_run": True},
        "separator": {"null_separated": True},
    }[other]


@pytest.mark.parametrize(
    "other", ["collection", "root", "one more root", "repository", "dry run", "separator", "changeset"]
)
def test_what_is_not_the_same_never_adopts_an_unfinished_run(other: str, light_world: World) -> None:
    write_files(light_world)
    begun = stopped_after(light_world, 1, *BY_PATH)
    if other == "changeset":
        manifest = light_world.begin(*BY_PATH, b"")
    else:
        manifest = light_world.begin(*BY_PATH, **options_of(light_world, other))
    assert manifest.run_id != begun.run_id
    assert not manifest.resumed
    # and the first is still there for its own kind
    assert light_world.begin(*BY_PATH).run_id == begun.run_id


def test_a_dry_run_is_not_resumed_as_a_real_one(light_world: World) -> None:
    write_files(light_world)
    dry = light_world.begin(*BY_PATH, dry_run=True)
    real = light_world.begin(*BY_PATH)
    assert real.run_id != dry.run_id
    assert light_world.begin(*BY_PATH, dry_run=True).run_id == dry.run_id


def test_how_it_is_packed_and_where_it_comes_from_does_not_matter(light_world: World) -> None:
    write_files(light_world)
    begun = stopped_after(light_world, 1, *BY_PATH)
    packed = light_world.base / "packed.gz"
    packed.write_bytes(gzip.compress(light_world.changeset(*BY_PATH).read_bytes()))
    assert sync(light_world.engine, light_world.request(packed)).run_id == begun.run_id
    stream = io.BytesIO(packed.read_bytes())
    assert sync(light_world.engine, light_world.request(None), stream).run_id == begun.run_id


def test_a_batch_size_of_its_own_still_goes_on_with_the_run(light_world: World) -> None:
    write_files(light_world)
    begun = stopped_after(light_world, 1, *BY_PATH)
    said: list[str] = []
    engine = light_world.open_engine(parts={"say": said.append})
    manifest = light_world.begin(*BY_PATH, batch_size=77, engine=engine)
    assert manifest.run_id == begun.run_id
    assert said == [f"Run {begun.run_id} is planned already: it keeps its batch size of 1."]
    run = light_world.finish(manifest)
    assert run.options is not None
    assert run.options.batch_size == 1


def test_a_run_that_is_not_planned_takes_the_batch_size_of_the_next_start(light_world: World) -> None:
    write_files(light_world)
    begun = light_world.begin(*BY_PATH, batch_size=1)
    run = light_world.finish(light_world.begin(*BY_PATH, batch_size=77))
    assert run.run_id == begun.run_id
    assert run.options is not None
    assert run.options.batch_size == 77


def test_a_run_takes_the_number_of_tries_of_the_next_start(light_world: World) -> None:
    write_files(light_world)
    stopped_after(light_world, 1, *BY_PATH)
    run = light_world.finish(light_world.begin(*BY_PATH, batch_size=1, max_retries=9))
    assert run.options is not None
    assert run.options.max_retries == 9


def test_force_on_a_resumed_run_writes_what_is_not_settled_yet(light_world: World) -> None:
    write_files(light_world)
    light_world.sync(*BY_PATH)
    stopped_after(light_world, 1, *BY_PATH)
    run = light_world.finish(light_world.begin(*BY_PATH, batch_size=1, force=True))
    outcomes = list(light_world.outcomes(run).values())
    assert outcomes[0] == "unchanged", "what was settled stays settled"
    assert outcomes[-1] == "indexed"


def test_a_finished_changeset_that_carries_its_content_is_nothing_to_do(world: World) -> None:
    first = world.sync(*SELF_CONTAINED)
    manifest = world.begin(*SELF_CONTAINED)
    assert (manifest.run_id, manifest.finished) == (first.run_id, True)
    report = carry_out(world.engine, manifest, lambda *_: None)
    assert isinstance(report, SyncReport)
    assert report.run.run_id == first.run_id
    assert len(world.query("SELECT 1 FROM sync_runs")) == 1


@pytest.mark.parametrize("other", ["a later run touched the repository", "forced"])
def test_it_is_a_new_run_when(other: str, world: World) -> None:
    first = world.sync(*SELF_CONTAINED)
    if other == "forced":
        manifest = world.begin(*SELF_CONTAINED, force=True)
    else:
        world.sync({"repo": "repo", "op": "modify", "path": "a.py", "content": "a = 2\n"})
        assert world.held() == {"repo/a.py": sha256("a = 2\n")}
        manifest = world.begin(*SELF_CONTAINED)
    assert not manifest.finished
    assert manifest.run_id != first.run_id
    assert world.finish(manifest).status is RunStatus.COMPLETED
    assert world.held() == {"repo/a.py": sha256("a = 1\n")}


def test_a_collection_that_was_dropped_is_not_nothing_to_do(light_world: World) -> None:
    light_world.sync(*SELF_CONTAINED)
    assert light_world.recording is not None
    light_world.recording.collections.clear()
    light_world.recording.objects.clear()
    with pytest.raises(CollectionMismatch, match="dropped or made anew"):
        light_world.begin(*SELF_CONTAINED)


def test_a_retry_into_a_dropped_collection_leaves_the_run_finished(light_world: World) -> None:
    light_world.write("repo/here")
    run = light_world.sync(*SELF_CONTAINED, {"repo": "repo", "op": "add", "path": "missing.py"})
    assert run.status is RunStatus.FAILED
    assert light_world.recording is not None
    light_world.recording.collections.clear()
    with pytest.raises(CollectionMismatch, match="dropped or made anew"):
        light_world.retry(run.run_id, every=True)
    assert load_run(light_world.engine.database, run.run_id).status is RunStatus.FAILED
    assert light_world.query("SELECT pending FROM failed_lines") == [(0,)]


@pytest.mark.parametrize("begun_anew_by", ["nobody", "another changeset"])
def test_a_collection_that_was_forgotten_is_begun_anew(begun_anew_by: str, light_world: World) -> None:
    first = light_world.sync(*SELF_CONTAINED)
    assert light_world.recording is not None
    light_world.recording.collections.clear()
    light_world.recording.objects.clear()
    engine = light_world.engine
    forget_collection(engine.database, engine.store_url(), "Demo", engine.host)
    if begun_anew_by == "another changeset":
        light_world.sync({"repo": "other", "op": "add", "path": "z.py", "content": "z\n"})
    again = light_world.sync(*SELF_CONTAINED)
    assert again.run_id != first.run_id
    assert light_world.held()["repo/a.py"] == sha256("a = 1\n")


def test_a_later_run_of_another_repository_or_collection_does_not_matter(light_world: World) -> None:
    first = light_world.sync(*SELF_CONTAINED)
    light_world.sync({"repo": "other", "op": "add", "path": "a.py", "content": "x\n"})
    light_world.sync({"repo": "repo", "op": "add", "path": "z.py", "content": "x\n"}, dry_run=False, collection="Demo2")
    manifest = light_world.begin(*SELF_CONTAINED)
    assert (manifest.run_id, manifest.finished) == (first.run_id, True)


def test_the_same_list_of_paths_every_night_indexes_what_changed(light_world: World) -> None:
    assert light_world.recording is not None
    runs: list[RunRecord] = []
    for night, changed in enumerate(["abc", "", "b", "ac"]):
        write_files(light_world, night, changed)
        light_world.recording.take_sent()
        runs.append(light_world.sync(*BY_PATH))
        sent = light_world.recording.take_sent()
        assert sent == [f"repo/{name}.py" for name in changed]
        outcomes = light_world.outcomes(runs[-1])
        assert list(outcomes.values()) == ["indexed" if name in changed else "unchanged" for name in "abc"]
    assert len({run.run_id for run in runs}) == 4
    assert len({run.digest for run in runs}) == 1
    assert [run.sequence for run in runs] == sorted(run.sequence or 0 for run in runs)
    assert light_world.held() == {
        f"repo/{name}.py": sha256(f"{name} = {night}\n") for name, night in (("a", 3), ("b", 2), ("c", 3))
    }


def test_force_writes_what_is_unchanged(light_world: World) -> None:
    write_files(light_world)
    light_world.sync(*BY_PATH)
    assert light_world.recording is not None
    light_world.recording.take_sent()
    run = light_world.sync(*BY_PATH, force=True)
    assert set(light_world.outcomes(run).values()) == {"indexed"}
    assert len(light_world.recording.take_sent()) == 3


def test_a_dry_run_counts_and_changes_nothing(world: World) -> None:
    write_files(world)
    world.sync(BY_PATH[0], {"repo": "repo", "op": "add", "path": "gone.py", "content": "gone\n"})
    before = world.held(), world.query("SELECT * FROM documents")
    write_files(world, 1, "a")
    world.write("repo/binary", b"\0\1")
    preview = world.preview(
        *BY_PATH,
        {"repo": "repo", "op": "delete", "path": "gone.py"},
        {"repo": "repo", "op": "delete", "path": "never.py"},
        {"repo": "repo", "op": "add", "path": "binary"},
        {"repo": "repo", "op": "add", "path": "missing.py"},
        "{",
        "",
    )
    assert (preview.added, preview.changed, preview.deleted, preview.skipped) == (2, 1, 1, 1)
    assert (preview.failed, preview.chunks) == (2, 3)
    assert preview.tokens > 0
    assert preview.unsent == {"failed": 1, "blank": 1}
    assert (world.held(), world.query("SELECT * FROM documents")) == before
    assert world.query("SELECT COUNT(*) FROM completed_lines WHERE run_id = ?", preview.run.run_id) == [(0,)]
    assert world.query("SELECT COUNT(*) FROM failed_lines WHERE run_id = ?", preview.run.run_id) == [(0,)]
    assert world.query("SELECT COUNT(*) FROM repository_claims") == [(0,)]
    assert preview.run.status is RunStatus.COMPLETED


def test_a_dry_run_into_nothing_creates_nothing(world: World) -> None:
    write_files(world)
    assert world.preview(*BY_PATH).added == 3
    assert world.engine.store().describe("Demo") is None
    assert world.query("SELECT COUNT(*) FROM collections") == [(0,)]


def test_a_run_that_another_process_works_on_is_refused(light_world: World) -> None:
    write_files(light_world)
    manifest = light_world.begin(*BY_PATH)
    with light_world.engine.work_on(manifest.run_id), pytest.raises(RepositoriesHeld, match=f"process {_pid()}"):
        light_world.begin(*BY_PATH)


def _pid() -> int:
    return Owner.this_process().pid
