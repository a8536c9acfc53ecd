"""Several batches on their way: inserted side by side, all else in their order. Whichever of them fails, and whenever:
nothing is lost, what was sent is known to have been, and the next run comes to the same end."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash.within import run_ids
from stepped import Moment, Points, SteppedStore
from sync_world import World, sha256

from elysia_dagster.errors import Interrupted, LeaseLost, StoreUnavailable
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.embed import BatchMaker
from elysia_dagster.sync.plan import plan_batches
from elysia_dagster.sync.plans import RunPlan
from elysia_dagster.sync.upsert import BATCHES_AT_ONCE, BatchReport, BatchUpserter

PATHS = ("a.py", "b.py", "c.py", "d.py", "e.py", "f.py")
BATCH_SIZE = 2
"""The batches begin with a.py, c.py and e.py."""

A_WHILE_S = 0.2
"""What a batch takes longer to be finished than the next one to fail, so that not waiting for it would be seen."""


def lines(text: str = "text", paths: tuple[str, ...] = PATHS) -> list[dict[str, str]]:
    return [{"repo": "repo", "op": "modify", "path": path, "content": f"{path} {text}\n"} for path in paths]


def unavailable(words: str) -> Callable[[], None]:
    """The store answers no more."""

    def fail() -> None:
        raise StoreUnavailable(words, next_step="Start it.")

    return fail


def a_while() -> None:
    time.sleep(A_WHILE_S)


@pytest.fixture
def store() -> SteppedStore:
    return SteppedStore((*PATHS, *(f"pkg/{path}" for path in PATHS)))


@pytest.fixture
def light_world(tmp_path: Path, store: SteppedStore) -> Iterator[World]:
    with World(tmp_path, store=store) as opened:
        yield opened


def settled(world: World) -> list[int]:
    """Lines of the latest run that are settled."""
    rows = world.query(
        "SELECT line_number FROM completed_lines WHERE run_id = ? ORDER BY line_number", run_ids(world)[-1]
    )
    return [row[0] for row in rows]


def in_state(world: World, state: str) -> set[str]:
    return {row[0] for row in world.query("SELECT path FROM documents WHERE state = ?", state)}


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("background")]


def assert_goes_on(world: World, store: SteppedStore) -> None:
    """The run is unfinished, nobody is charged, no thread is left; resumed, it ends with every document whole."""
    assert threads() == []
    assert world.query("SELECT COUNT(*) FROM failed_lines") == [(0,)]
    assert settled(world) == list(range(1, len(settled(world)) + 1)), "in their order"
    store.forget()
    world.engine.faults = lambda _point: None
    run = world.resume(run_ids(world)[-1])
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, len(PATHS))
    assert world.held() == {f"repo/{path}": sha256(f"{path} text\n") for path in PATHS}
    assert in_state(world, "present") == set(PATHS)


def test_inserted_side_by_side_and_settled_in_their_order(light_world: World, store: SteppedStore) -> None:
    """The second batch has arrived before the first; one more is intended, and no more than that."""
    second_arrived, one_more = Moment(), Moment()
    points = Points(light_world)
    points.at("inserted", 1, second_arrived.comes)
    points.at("intended", BATCHES_AT_ONCE + 1, one_more.comes)
    store.at("upsert", "a.py", second_arrived.awaited, one_more.awaited, a_while)
    in_hand, prefixes = [], []

    def count() -> None:
        in_hand.append(points.passed["embedded"] - points.passed["unlinked"])

    for number in range(1, len(PATHS) + 1):
        points.at("embedded", number, count)
        points.at("settled", number, lambda: prefixes.append(settled(light_world)))
    light_world.sync(*lines(), batch_size=1)
    assert max(in_hand) == BATCHES_AT_ONCE + 1
    assert prefixes == [list(range(1, number + 1)) for number in range(1, len(PATHS) + 1)]
    assert sorted(store.of("upsert")) == list(PATHS)
    assert store.of("fetch_hashes") == list(PATHS)
    assert threading.current_thread().name not in {thread for _, _, thread in store.calls}
    assert threads() == []


def test_one_after_the_other_where_the_store_takes_one_call_at_a_time(light_world: World, store: SteppedStore) -> None:
    store.takes_calls_at_once = False
    order: list[str] = []
    light_world.engine.faults = order.append
    light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert [each for each in order if each in ("embedded", "settled")] == ["embedded", "settled"] * 3
    assert {thread for _, _, thread in store.calls} == {threading.current_thread().name}


def test_a_batch_that_fails_while_the_next_is_inserted(light_world: World, store: SteppedStore) -> None:
    """The next one goes no further: of a line that has changes in both, the first would be missing."""
    failing = Moment()
    store.at("fetch_hashes", "a.py", failing.comes, unavailable("at the read-back"))
    store.at("upsert", "c.py", failing.awaited)
    with pytest.raises(StoreUnavailable, match="at the read-back"):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert settled(light_world) == []
    assert store.of("fetch_hashes") == ["a.py"]
    assert in_state(light_world, "writing") >= {"a.py", "b.py", "c.py", "d.py"}, "what was sent is said to have been"
    assert_goes_on(light_world, store)


def test_the_batch_before_is_settled_where_the_next_one_fails(light_world: World, store: SteppedStore) -> None:
    failed = Moment()
    store.at("upsert", "c.py", failed.comes, unavailable("at the insert"))
    store.at("fetch_hashes", "a.py", failed.awaited, a_while)
    with pytest.raises(StoreUnavailable, match="at the insert"):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert settled(light_world) == [1, 2]
    assert in_state(light_world, "writing") >= {"c.py", "d.py"}
    assert_goes_on(light_world, store)


def test_where_both_fail_the_earlier_batchs_error_is_told(light_world: World, store: SteppedStore) -> None:
    failed = Moment()
    store.at("upsert", "c.py", failed.comes, unavailable("at the insert"))
    store.at("fetch_hashes", "a.py", failed.awaited, unavailable("at the read-back"))
    with pytest.raises(StoreUnavailable, match="at the read-back"):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert settled(light_world) == []
    assert_goes_on(light_world, store)


def test_batches_under_way_are_settled_where_who_sends_meets_a_bug(light_world: World, store: SteppedStore) -> None:
    """Whatever the error: before the lease is given back."""
    broken = Moment()

    def bug() -> None:
        broken.comes()
        raise ZeroDivisionError

    Points(light_world).at("embedded", 2, bug)
    store.at("fetch_hashes", "a.py", broken.awaited, a_while)
    with pytest.raises(ZeroDivisionError):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert settled(light_world) == [1, 2]
    assert_goes_on(light_world, store)


def overtake(world: World) -> Callable[[], None]:
    """Another process takes the run, and is gone again."""

    def take() -> None:
        world.query("UPDATE sync_runs SET lease_token = lease_token + 1, lease_owner = NULL WHERE status = 'running'")

    return take


def test_overtaken_with_three_batches_in_hand_all_are_suspect(light_world: World, store: SteppedStore) -> None:
    """One is read back, one is inserted, one is intended: to each of them it is told."""
    intended, overtaken = Moment(), Moment()
    Points(light_world).at("intended", 3, intended.comes)
    store.at("upsert", "c.py", intended.awaited, overtake(light_world), overtaken.comes)
    store.at("fetch_hashes", "a.py", overtaken.awaited)
    with pytest.raises(LeaseLost):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert settled(light_world) == []
    assert in_state(light_world, "suspect") == set(PATHS)
    assert_goes_on(light_world, store)


def test_overtaken_before_the_next_batch_is_intended(light_world: World, store: SteppedStore) -> None:
    """It sends nothing, and says nothing of its documents; those of the batch before are suspect."""
    overtaken = Moment()
    Points(light_world).at("embedded", 2, overtake(light_world), overtaken.comes)
    store.at("fetch_hashes", "a.py", overtaken.awaited)
    with pytest.raises(LeaseLost):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert light_world.query("SELECT path, state FROM documents ORDER BY path") == [
        ("a.py", "suspect"),
        ("b.py", "suspect"),
    ]
    assert store.of("upsert") == ["a.py"]
    assert_goes_on(light_world, store)


@pytest.mark.parametrize("when", ["while a batch is inserted", "while a batch is read back", "between two batches"])
def test_asked_to_stop_what_is_under_way_is_finished_and_told(
    light_world: World, store: SteppedStore, when: str
) -> None:
    """Whoever hears of it first: who makes the batches, or who sends them."""
    is_asked = False

    def ask() -> None:
        nonlocal is_asked
        is_asked = True

    light_world.engine.stop_requested = lambda: is_asked
    if when == "while a batch is inserted":
        store.at("upsert", "b.py", ask, a_while)
    elif when == "while a batch is read back":
        store.at("fetch_hashes", "a.py", ask, a_while)
    else:
        Points(light_world).at("embedded", 2, ask)
    told: list[BatchReport] = []
    with pytest.raises(Interrupted, match=r"what is settled stays settled.*index resume"):
        drive(light_world, light_world.begin(*lines(), batch_size=1).run_id, told.append)
    done = settled(light_world)
    assert [report.number for report in told] == list(range(len(done)))
    assert 1 <= len(done) < len(PATHS)
    assert in_state(light_world, "writing") == set(), "a batch was sent and left"
    is_asked = False
    assert_goes_on(light_world, store)


@pytest.mark.parametrize("fails", [False, True], ids=["the next one goes on", "the next one fails"])
def test_a_batch_that_went_stale_is_made_anew(light_world: World, store: SteppedStore, fails: bool) -> None:
    """A document that was unchanged when its batch was prepared is not any more when it is settled: its batch is made
    again, while the next one is in the store already, and also where that one has failed."""
    light_world.sync(*lines(), batch_size=BATCH_SIZE)
    store.forget()
    changed = Moment()

    def change() -> None:
        light_world.query("UPDATE documents SET content_hash = 'another', state = 'suspect' WHERE path = 'a.py'")
        changed.comes()

    def wait() -> None:
        changed.awaited()
        if fails:
            unavailable("at the insert")()

    store.at("fetch_hashes", "b.py", change)
    store.at("upsert", "c.py", wait)
    again = [*lines(paths=("a.py",)), *lines("newer", PATHS[1:])]
    if fails:
        with pytest.raises(StoreUnavailable, match="at the insert"):
            light_world.sync(*again, batch_size=BATCH_SIZE)
        assert settled(light_world) == [1, 2]
        run = light_world.resume(run_ids(light_world)[-1])
    else:
        run = light_world.sync(*again, batch_size=BATCH_SIZE)
    assert run.status is RunStatus.COMPLETED
    assert set(light_world.outcomes(run).values()) == {"indexed"}, "the suspect one, too, was written anew"
    assert in_state(light_world, "present") == set(PATHS)
    assert threads() == []


def test_a_line_that_began_in_another_batch_than_the_stale_one_keeps_its_failure(
    light_world: World, store: SteppedStore
) -> None:
    """One line asks for a folder. A file of it fails in the first batch, the second one, where the line ends, goes
    stale: made anew, it does not make the line a completed one."""
    for path in PATHS[:3]:  # the folder itself is a change too: where it stands, a document may have been
        light_world.write(f"repo/pkg/{path}", f"{path} text\n")
    line = {"repo": "repo", "op": "add", "path": "pkg/"}
    assert light_world.sync(line, batch_size=BATCH_SIZE).status is RunStatus.COMPLETED
    light_world.write("repo/pkg/a.py", "x" * 11_000_000)
    light_world.write("repo/pkg/c.py", "c.py newer\n")
    changed = Moment()

    def change() -> None:
        light_world.query("UPDATE documents SET content_hash = 'another' WHERE path = 'pkg/b.py'")
        changed.comes()

    store.at("fetch_hashes", "pkg/c.py", change)
    run = light_world.sync(line, {"repo": "repo", "op": "delete", "path": "gone.py"}, batch_size=BATCH_SIZE)
    changed.awaited()
    assert light_world.outcomes(run) == {1: "failed", 2: "deleted"}
    assert "11,000,000 bytes" in light_world.failures(run)[1]
    assert "more of this line" not in light_world.failures(run)[1]


def test_a_document_that_two_batches_change_is_in_one_at_a_time(light_world: World, store: SteppedStore) -> None:
    """The folder's line was planned again, apart from the line before it that names a file of the folder."""
    light_world.write("repo/x.py", "x.py text\n")
    line = {"repo": "repo", "op": "add", "path": "pkg/a.py"}
    run = light_world.sync(line, {"repo": "repo", "op": "add", "path": "pkg/"}, batch_size=BATCH_SIZE)
    assert light_world.outcomes(run) == {1: "failed", 2: "failed"}
    light_world.write("repo/pkg/a.py", "a.py text\n")
    light_world.write("repo/pkg/b.py", "b.py text\n")
    arrived = []
    points = Points(light_world)
    points.at("intended", 2, lambda: arrived.append(settled(light_world)))
    store.at("upsert", "pkg/a.py", a_while)
    run = light_world.retry(run.run_id)
    assert arrived == [[1]], "the second batch was intended before the first was settled"
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, 2)
    assert in_state(light_world, "present") == {"pkg/a.py", "pkg/b.py"}


class Enough(Exception):
    """Somebody wants no more reports."""


def drive(world: World, run_id: str, take: Callable[[BatchReport], None]) -> None:
    """The stages up to the upsert; ``take`` is given every report."""
    with world.engine.work_on(run_id) as work:
        plan_batches(work)
        with RunPlan(work.folder) as plan, BatchMaker(work, plan) as maker:
            upserter = BatchUpserter(
                work, commits=plan.commits, make_anew=lambda n: maker.make(n, anew=True), raw_line=maker.raw_line
            )
            try:
                for report in upserter.upsert(maker.batches()):
                    take(report)
            finally:
                assert threads() == [], "a batch goes on when the spool and the lease are given back"


def test_who_wants_no_more_reports_leaves_a_run_that_can_be_resumed(light_world: World, store: SteppedStore) -> None:
    """The generator is closed early, with batches under way: they come to their end first."""
    told: list[int] = []

    def take(report: BatchReport) -> None:
        told.append(report.number)
        raise Enough

    store.at("fetch_hashes", "b.py", a_while)
    with pytest.raises(Enough):
        drive(light_world, light_world.begin(*lines(), batch_size=1).run_id, take)
    assert told == [0]
    assert settled(light_world)[:1] == [1]
    assert in_state(light_world, "writing").isdisjoint({"a.py", "b.py"}), "it was started, so it was awaited"
    assert_goes_on(light_world, store)
