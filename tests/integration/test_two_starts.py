"""Two starts of one run at about the same time: who is told what, and what is left of a refused lease."""

import re
import shlex
from dataclasses import replace
from typing import Any

import pytest
from sync_world import RecordingStore, World

from elysia_dagster.checkpoint.lookup import load_run
from elysia_dagster.checkpoint.owner import Owner, this_host
from elysia_dagster.cli import run as run_command
from elysia_dagster.errors import CollectionMismatch, LeaseLost, RepositoriesHeld, StoreUnavailable
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.engine import dropped

LINE = {"repo": "repo", "op": "add", "path": "a.py", "content": "a = 1\n"}


def elsewhere() -> Any:
    return replace(this_host(), name="elsewhere", boot_id="another")


def test_the_second_of_two_starts_reports_the_run_that_the_first_has_finished(light_world: World) -> None:
    first, second = light_world.begin(LINE), light_world.begin(LINE)
    assert first.run_id == second.run_id
    assert light_world.finish(first).status is RunStatus.COMPLETED
    assert light_world.finish(second).status is RunStatus.COMPLETED
    assert light_world.report.outcomes == {"indexed": 1}  # type: ignore[union-attr]


def test_a_run_finished_between_the_look_and_the_lease_is_not_worked_on(light_world: World) -> None:
    manifest = light_world.begin(LINE)
    other = light_world.open_engine()
    engine = light_world.open_engine()
    store = engine.store()
    describe = store.describe

    def finish_first(collection: str) -> Any:
        store.describe = describe  # type: ignore[method-assign]
        light_world.finish(manifest, other)
        return describe(collection)

    store.describe = finish_first  # type: ignore[method-assign]
    assert light_world.finish(manifest, engine).status is RunStatus.COMPLETED
    run = load_run(engine.database, manifest.run_id)
    assert (run.lease_owner, run.last_error, run.status) == (None, None, RunStatus.COMPLETED)


def test_a_holder_on_another_host_is_named_with_the_end_of_its_lease(light_world: World) -> None:
    manifest = light_world.begin(LINE)
    far = light_world.open_engine(parts={"host": elsewhere()}, lease_s=100.0)
    with far.work_on(manifest.run_id):
        expires = load_run(far.database, manifest.run_id).lease_expires_at or ""
        for refused in (lambda: light_world.begin(LINE), lambda: light_world.finish(manifest)):
            with pytest.raises(
                RepositoriesHeld, match=f"on elsewhere since .* Its lease ends at {re.escape(expires)} u"
            ):
                refused()


def test_a_living_holder_on_this_host_is_not_waited_for_by_the_clock(light_world: World) -> None:
    manifest = light_world.begin(LINE)
    with light_world.engine.work_on(manifest.run_id), pytest.raises(RepositoriesHeld) as error:
        light_world.begin(LINE)
    assert "lease ends" not in str(error.value)


@pytest.mark.parametrize(
    ("error", "is_parked"),
    [(RepositoriesHeld("held"), False), (LeaseLost("lost"), False), (StoreUnavailable("down"), True)],
)
def test_a_lease_is_parked_only_where_a_second_try_follows(
    error: Exception, is_parked: bool, light_world: World
) -> None:
    manifest = light_world.begin(LINE)
    engine = light_world.engine
    with pytest.raises(type(error)), engine.work_on(manifest.run_id, keeper=Owner.this_process(engine.host)):
        raise error
    assert load_run(engine.database, manifest.run_id).lease_parked is is_parked


def test_a_collection_that_was_never_created_takes_the_embedder_asked_for_now(light_world: World) -> None:
    engine = light_world.engine
    begun = light_world.begin(LINE)
    assert isinstance(light_world.recording, RecordingStore)
    light_world.recording.collections.clear()  # as if killed between registering and creating it
    light_world.query("UPDATE collections SET model = 'another', dimensions = 3")
    run = light_world.resume(begun.run_id)
    assert run.status is RunStatus.COMPLETED
    model = engine.embedder().model_id
    assert light_world.query("SELECT model FROM collections") == [(model,)]
    assert [each.model_id for each in light_world.recording.collections.values()] == [model]


def test_a_collection_with_documents_keeps_its_embedder(light_world: World) -> None:
    light_world.sync(LINE)
    light_world.query("UPDATE collections SET model = 'another'")
    with pytest.raises(CollectionMismatch, match="began with another"):
        light_world.sync({**LINE, "path": "b.py"})


def test_the_command_against_a_dropped_collection_works_as_printed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_DIR", str(world.state))
    url = f"lancedb:{world.base}/with a space"
    world.sync(LINE, store=url)
    hint = dropped("Demo", url).next_step
    command = shlex.split(hint[hint.index("elysiactl") :])
    assert run_command(command[1:]) == 0
    assert world.query("SELECT COUNT(*) FROM collections") == [(0,)]
