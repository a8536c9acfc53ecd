"""One test for each promise of the system, by its number: 7 to 12. The other files here prove them in depth."""

import logging
import os
from typing import Any

import pytest
from crash.interposed import interpose
from crash.scenario import BASE, BATCH_SIZE, KILLED, delete, inline, on_disk, record, text_of, unreadable
from crash.stage import Stage
from crash.within import Stopped, apply, assert_applied, contents, expire_leases, go_on, resume, run_ids, stop_at
from sync_world import World

from elysia_dagster.checkpoint.owner import Host
from elysia_dagster.errors import ElysiaError, EmbedderUnavailable, LeaseLost, StoreUnavailable
from elysia_dagster.models import RunStatus

BIG = ("alpha", "big.py")


def test_promise_07_one_writer_per_repository(stage: Stage) -> None:
    """Disjoint runs go side by side in two processes; an overlapping one is told who holds what since when."""
    one, two = [inline(("one", "a.py"), text_of("one", 3))], [inline(("two", "a.py"), text_of("two", 3))]
    both = [inline(("two", "b.py"), text_of("both")), inline(("one", "b.py"), text_of("both"))]
    first = stage.start_sync(stage.changeset("one", one), fault="stop:inserted:1")
    first.wait_for("inserted")
    stage.sync(stage.changeset("two", two))
    overlapping = stage.start_sync(stage.changeset("both", both))
    assert overlapping.wait() == 4
    ((run_id, since),) = stage.rows("SELECT run_id, claimed_at FROM repository_claims")
    assert f"Repository one is held by run {run_id} (process {first.pid} on " in overlapping.error()
    assert since in overlapping.error()
    twin = stage.start_sync(stage.base / "one.jsonl")
    assert (twin.wait(), f"process {first.pid}" in twin.error()) == (4, True), "a living owner was overtaken"
    first.go_on()
    assert first.wait() == 0, first.error()
    stage.do("resume", run_id=stage.run_ids()[2])
    stage.assert_everything(one, two, both)


def test_promise_07_an_overtaken_process_settles_nothing(world: World) -> None:
    first, second = (Host(name=name, boot_id=name, pid_namespace="pid:[1]") for name in ("first", "second"))
    paused, other = (world.open_engine(parts={"host": each}) for each in (first, second))
    lines, newer = [inline(BIG, text_of("older", 4))], [inline(BIG, text_of("newer", 2))]

    def at(point: str) -> None:
        if point == "embedded":
            paused.faults = lambda _point: None
            expire_leases(world)
            apply(world, newer, other)

    paused.faults = at
    with pytest.raises(LeaseLost):
        apply(world, lines, paused)
    resume(world, run_ids(world)[0])
    assert_applied(world, lines, newer)


def test_promise_08_an_outage_is_nobodys_fault(world: World) -> None:
    """Store or embedder down in the middle: nothing failed, no try counted, and the same command ends well."""
    (world.root / "repo").mkdir()
    store, embedder = interpose(world.engine)
    late = on_disk(("repo", "late.py"), None)
    world.retry(apply(world, [late]).run_id)
    before = world.query("SELECT line_number, retry_count, error_message FROM failed_lines")

    def store_is_down(name: str) -> None:
        if name == "fetch_hashes":
            raise StoreUnavailable("The store does not answer.")

    store.before = store_is_down
    with pytest.raises(StoreUnavailable):
        apply(world, BASE, batch_size=BATCH_SIZE)
    store.before, embedder.is_out = (lambda _name: None), True
    with pytest.raises(EmbedderUnavailable):
        apply(world, BASE, batch_size=BATCH_SIZE)
    assert world.query("SELECT line_number, retry_count, error_message FROM failed_lines") == before
    embedder.is_out = False
    apply(world, BASE, batch_size=BATCH_SIZE)
    assert_applied(world, [late], BASE)


def test_promise_09_never_paid_twice(after_base: Stage) -> None:
    """Batches that were renamed into place are not embedded again, nor are documents that are as they were."""
    stage, batches = after_base, 7
    killed = stage.changeset("killed", KILLED)
    first = stage.start_sync(killed, fault="kill:embedded:3")
    stage.kill(first, "embedded")
    paid = first.points().count("batch-saved")
    assert paid >= 3
    again = stage.do("resume", run_id=stage.run_ids()[1]).points().count("before-batch-saved")
    assert again <= batches - paid
    stage.assert_everything(BASE, KILLED)
    assert stage.sync(stage.changeset("again", BASE[9:11])).points().count("before-batch-saved") == 0


def test_promise_09_unchanged_documents_cost_nothing(world: World) -> None:
    _, embedder = interpose(world.engine)
    apply(world, [inline(BIG, text_of("big", 4))])
    assert embedder.texts == 4
    run = apply(world, [inline(BIG, text_of("big", 4)), inline(("alpha", "more.py"), text_of("more"))])
    assert (embedder.texts, world.outcomes(run)[1]) == (5, "unchanged")
    apply(world, [inline(BIG, text_of("big", 4))], force=True)
    assert embedder.texts == 9


@pytest.mark.parametrize("meanwhile", ["an older run", "a newer run"])
def test_promise_09_a_batch_that_has_become_stale_is_not_paid_again(world: World, meanwhile: str) -> None:
    """Saved and not yet intended, a document of it that was unchanged is changed by another run: the others keep their
    vectors. Where that run is older, the one document is to be written after all."""
    same, new = ("alpha", "same.py"), ("alpha", "new.py")
    base = [inline(same, text_of("same", 2), "add")]
    older, newer = [inline(same, text_of("older"))], [inline(same, text_of("newer"))]
    late = [inline(same, text_of("same", 2)), inline(new, text_of("new", 3), "add")]
    apply(world, base)
    for lines in (older, late) if meanwhile == "an older run" else (late,):
        stop_at(world, "embedded")
        with pytest.raises(Stopped):
            apply(world, lines)
    go_on(world)
    _, embedder = interpose(world.engine)
    if meanwhile == "an older run":
        resume(world, run_ids(world)[1])
        resume(world, run_ids(world)[2])
        assert embedder.texts == 2, "the document that is to be written after all, and nothing else"
        assert_applied(world, base, older, late)
    else:
        apply(world, newer)
        resume(world, run_ids(world)[1])
        assert embedder.texts == 1, "the newer run's, and nothing else"
        assert_applied(world, base, late, newer)


def test_promise_10_a_repositorys_commit_tells_the_truth(world: World) -> None:
    (world.root / "repo").mkdir()
    stands = "SELECT repository, commit_id, incomplete, gap IS NOT NULL FROM repository_changesets ORDER BY repository"
    first = apply(world, [record("alpha", "a1"), record("repo", "r1"), on_disk(("repo", "late.py"), None)])
    assert world.query(stands) == [("alpha", "a1", 0, 0)]
    apply(world, [record("alpha", "a3", "a2"), record("repo", "r2", "r1")])
    assert any("follows a2, the collection stands at a1" in gap for gap in world.report.gaps)
    assert world.query(stands) == [("alpha", "a3", 0, 1), ("repo", "r2", 1, 0)], "the older run has a failed line"
    world.write("repo/late.py", text_of("late"))
    world.retry(first.run_id)
    assert world.query(stands) == [("alpha", "a3", 0, 1), ("repo", "r2", 0, 0)], "a commit went back"


def tables(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """Every table but those that name runs and number them."""
    names = [row[0] for row in world.query("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: world.query(f"SELECT * FROM {name}") for name in names if name not in ("sync_runs", "sequences")}


def test_promise_11_a_dry_run_changes_nothing(world: World) -> None:
    lines = [line.raw for line in (*BASE, unreadable(b"{"))]
    assert world.preview(*lines).added == 13
    assert not (world.state / "vectors").exists()
    apply(world, BASE)
    before = contents(world.state / "vectors"), tables(world)
    preview = world.preview(delete(BIG).raw, inline(("alpha", "dup.py"), text_of("changed", 3)).raw, *lines[9:])
    assert (preview.deleted, preview.changed, preview.failed) == (1, 1, 1)
    assert (contents(world.state / "vectors"), tables(world)) == before


def test_promise_11_a_dry_run_and_a_real_one_never_adopt_each_other(world: World) -> None:
    raw = inline(BIG, text_of("big")).raw
    stop_at(world, "lease-taken")
    with pytest.raises(Stopped):
        world.sync(raw)
    stop_at(world, "lease-taken")
    with pytest.raises(Stopped):
        world.preview(raw)
    go_on(world)
    dry = world.begin(raw, dry_run=True)
    real = world.begin(raw)
    assert (real.run_id, dry.run_id) == tuple(run_ids(world))
    assert (real.resumed, dry.resumed) == (True, True)
    assert world.finish(real).status is RunStatus.COMPLETED
    assert world.query("SELECT COUNT(*) FROM completed_lines WHERE run_id = ?", dry.run_id) == [(0,)]


def test_promise_12_no_secret_leaks(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elysia_dagster.embedders.openai._CHECK_BUDGET_S", 0.1)
    key = "sk-very-secret-0123456789"
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    engine = world.open_engine(
        openai_api_key=key,
        weaviate_api_key=key,
        openai_base_url="http://127.0.0.1:9/v1",
        embedder="openai:model@8",
        parts={"say": said.append},
    )
    with pytest.raises(ElysiaError) as error:
        world.begin(inline(BIG, text_of("big")).raw, engine=engine, embedder="openai:model@8")
    texts = [str(error.value), repr(error.value.__reduce__()), repr(engine.settings), caplog.text, *said]
    assert not any(key in text for text in texts)
    assert not any(key.encode() in content for content in contents(world.state).values())


def test_promise_12_no_key_of_a_server_leaks(world: World, caplog: pytest.LogCaptureFixture) -> None:
    key = "weaviate-secret-0123456789"
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    engine = world.open_engine(
        weaviate_api_key=key,
        store="weaviate:http://127.0.0.1:9",
        store_connect_timeout_s=0.5,
        store_retry_s=0.1,
        parts={"say": said.append},
    )
    with pytest.raises(StoreUnavailable) as error:
        world.begin(inline(BIG, text_of("big")).raw, engine=engine)
    texts = [str(error.value), repr(error.value.__reduce__()), repr(engine.settings), engine.store_url(), caplog.text]
    assert not any(key in text for text in [*texts, *said])
    assert not any(key.encode() in content for content in contents(world.state).values())
    assert "127.0.0.1:9" in str(error.value)


def test_promise_12_nothing_outside_the_roots_is_read(world: World) -> None:
    secret = world.base / "secret.py"
    secret.write_text(text_of("secret"))
    world.write("repo/inside.py", text_of("inside"))
    (world.root / "repo" / "link.py").symlink_to(secret)
    (world.root / "repo" / "out").symlink_to(world.base)
    os.mkfifo(world.root / "repo" / "fifo")
    paths = ["../../secret.py", str(secret), "link.py", "out/secret.py", "fifo", "out/"]
    lines = [{"repo": "repo", "path": path, "op": "modify"} for path in paths]
    references = ("../secret.py", str(secret), "link.py")
    lines += [{"repo": "repo", "path": f"{at}.py", "content_ref": each} for at, each in enumerate(references)]
    lines += [{"repo": "../..", "path": "secret.py"}]
    run = world.sync(*lines)
    assert world.outcomes(run) == dict.fromkeys(range(1, len(lines) + 1), "failed")
    world.sync({"repo": "repo", "path": "inside.py"})
    assert world.query("SELECT path FROM documents WHERE state = 'present'") == [("inside.py",)]
    leaked = [name for name, content in contents(world.state).items() if b"secret_value_0" in content]
    assert leaked == []
