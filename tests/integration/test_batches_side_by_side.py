"""Two batches in hand: one is read back and settled while the next is inserted. Whichever of them fails, and whenever:
nothing is lost, what was sent is known to have been, and the next run comes to the same end."""

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from crash.interposed import InterposedStore, interpose
from crash.within import run_ids
from sync_world import World, sha256

from elysia_dagster.errors import Interrupted, LeaseLost, StoreUnavailable
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.embed import BatchMaker
from elysia_dagster.sync.plan import plan_batches
from elysia_dagster.sync.plans import RunPlan
from elysia_dagster.sync.upsert import BatchReport, BatchUpserter

PATHS = ("a.py", "b.py", "c.py", "d.py", "e.py", "f.py")
BATCH_SIZE = 2

LIMIT_S = 60
"""Seconds after which what one thread waits for is taken for never coming."""

A_WHILE_S = 0.2
"""What a batch takes longer to be finished than the next one to fail, so that not waiting for it would be seen."""


def lines(text: str = "text", paths: tuple[str, ...] = PATHS) -> list[dict[str, str]]:
    return [{"repo": "repo", "op": "modify", "path": path, "content": f"{path} {text}\n"} for path in paths]


class Calls:
    """What is to happen right before the n-th call of a store's method; ``seen`` names the calls' threads."""

    def __init__(self, store: InterposedStore) -> None:
        self.seen: list[tuple[str, str]] = []
        self._counts: Counter[str] = Counter()
        self._actions: dict[tuple[str, int], Callable[[], None]] = {}
        store.before = self._before

    def at(self, method: str, number: int, action: Callable[[], None]) -> None:
        self._actions[method, number] = action

    def none(self) -> None:
        """Nothing happens any more."""
        self._actions.clear()

    def _before(self, method: str) -> None:
        self._counts[method] += 1  # each method is called by one of the two threads alone
        self.seen.append((method, threading.current_thread().name))
        self._actions.get((method, self._counts[method]), lambda: None)()


class Moment:
    """Something that one thread waits for and another one brings about."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def comes(self) -> None:
        self._event.set()

    def awaited(self) -> None:
        assert self._event.wait(LIMIT_S), "it did not come: the batches do not go side by side"


def unavailable(words: str) -> None:
    raise StoreUnavailable(words, next_step="Start it.")


@pytest.fixture
def calls(light_world: World) -> Calls:
    """Of the light world's store, which takes calls of several threads."""
    store, _ = interpose(light_world.engine)
    assert store.takes_calls_at_once
    return Calls(store)


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


def assert_goes_on(world: World, calls: Calls, text: str = "text") -> None:
    """The run is unfinished, nobody is charged, no thread is left; resumed, it ends with every document whole."""
    assert threads() == []
    assert world.query("SELECT COUNT(*) FROM failed_lines") == [(0,)]
    calls.none()
    run = world.resume(run_ids(world)[-1])
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, len(PATHS))
    assert world.held() == {f"repo/{path}": sha256(f"{path} {text}\n") for path in PATHS}
    assert in_state(world, "present") == set(PATHS)


def test_a_batch_is_finished_beside_the_insert_of_the_next(light_world: World, calls: Calls) -> None:
    """Never more than two in hand, and settled in their order."""
    inserting = Moment()
    calls.at("upsert", 2, inserting.comes)
    calls.at("fetch_hashes", 1, inserting.awaited)
    passed: Counter[str] = Counter()
    in_hand, prefixes = [], []

    def at(point: str) -> None:
        passed[point] += 1
        if point in ("embedded", "unlinked"):
            in_hand.append(passed["embedded"] - passed["unlinked"])
        if point == "settled":
            prefixes.append(settled(light_world))

    light_world.engine.faults = at
    light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert max(in_hand) == 2
    assert prefixes == [[1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6]]
    main = threading.current_thread().name
    names = {method: {thread for each, thread in calls.seen if each == method} for method in ("upsert", "fetch_hashes")}
    assert names["upsert"] == {main}
    assert main not in names["fetch_hashes"]
    assert threads() == []


def test_one_after_the_other_where_the_store_takes_one_call_at_a_time(light_world: World, calls: Calls) -> None:
    assert light_world.recording is not None
    light_world.recording.takes_calls_at_once = False
    order: list[str] = []
    light_world.engine.faults = order.append
    light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert [each for each in order if each in ("embedded", "settled")] == ["embedded", "settled"] * 3
    assert {thread for method, thread in calls.seen if method != "describe"} == {threading.current_thread().name}


def test_a_batch_that_fails_while_the_next_is_inserted(light_world: World, calls: Calls) -> None:
    failing = Moment()

    def fail() -> None:
        failing.comes()
        unavailable("at the read-back")

    calls.at("fetch_hashes", 1, fail)
    calls.at("upsert", 2, failing.awaited)
    with pytest.raises(StoreUnavailable, match="at the read-back"):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert settled(light_world) == []
    assert in_state(light_world, "writing") == {"a.py", "b.py", "c.py", "d.py"}, "what was sent is said to have been"
    assert_goes_on(light_world, calls)


def test_the_batch_before_is_settled_where_the_next_one_fails(light_world: World, calls: Calls) -> None:
    failed = Moment()

    def fail() -> None:
        failed.comes()
        unavailable("at the insert")

    def wait() -> None:
        failed.awaited()
        time.sleep(A_WHILE_S)

    calls.at("upsert", 2, fail)
    calls.at("fetch_hashes", 1, wait)
    with pytest.raises(StoreUnavailable, match="at the insert"):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert settled(light_world) == [1, 2]
    assert in_state(light_world, "writing") == {"c.py", "d.py"}
    assert_goes_on(light_world, calls)


def test_where_both_fail_the_earlier_batch_s_error_is_told(light_world: World, calls: Calls) -> None:
    failed = Moment()

    def fail() -> None:
        failed.comes()
        unavailable("at the insert")

    def fail_too() -> None:
        failed.awaited()
        time.sleep(A_WHILE_S)
        unavailable("at the read-back")

    calls.at("upsert", 2, fail)
    calls.at("fetch_hashes", 1, fail_too)
    with pytest.raises(StoreUnavailable, match="at the read-back") as told:
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert "at the insert" in str(told.value.__context__)
    assert settled(light_world) == []
    assert_goes_on(light_world, calls)


def overtake(world: World) -> None:
    """Another process takes the run, and is gone again."""
    world.query("UPDATE sync_runs SET lease_token = lease_token + 1, lease_owner = NULL WHERE status = 'running'")


def test_overtaken_with_two_batches_in_hand_both_are_suspect(light_world: World, calls: Calls) -> None:
    overtaken = Moment()

    def take_over() -> None:
        overtake(light_world)
        overtaken.comes()

    calls.at("upsert", 2, take_over)
    calls.at("fetch_hashes", 1, overtaken.awaited)
    with pytest.raises(LeaseLost):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert settled(light_world) == []
    assert in_state(light_world, "suspect") == {"a.py", "b.py", "c.py", "d.py"}
    assert_goes_on(light_world, calls)


def test_overtaken_before_the_next_batch_is_intended(light_world: World, calls: Calls) -> None:
    """It sends nothing, and says nothing of its documents; those of the batch before are suspect."""
    overtaken = Moment()
    passed: Counter[str] = Counter()

    def at(point: str) -> None:
        passed[point] += 1
        if point == "embedded" and passed[point] == 2:
            overtake(light_world)
            overtaken.comes()

    light_world.engine.faults = at
    calls.at("fetch_hashes", 1, overtaken.awaited)
    with pytest.raises(LeaseLost):
        light_world.sync(*lines(), batch_size=BATCH_SIZE)
    assert light_world.query("SELECT path, state FROM documents ORDER BY path") == [
        ("a.py", "suspect"),
        ("b.py", "suspect"),
    ]
    assert [method for method, _ in calls.seen].count("upsert") == 1
    assert_goes_on(light_world, calls)


@pytest.mark.parametrize("when", ["while the next is inserted", "while it is read back", "between two batches"])
def test_asked_to_stop_the_batch_in_hand_is_finished_and_told(light_world: World, calls: Calls, when: str) -> None:
    """Whoever hears of it first: who makes the batches, or who sends them."""
    is_asked = False
    embedded = Moment()

    def ask() -> None:
        nonlocal is_asked
        is_asked = True

    def at(point: str) -> None:
        if point == "embedded" and when == "between two batches":
            ask()

    light_world.engine.faults = at
    light_world.engine.stop_requested = lambda: is_asked
    if when == "while the next is inserted":
        calls.at("upsert", 2, ask)
    if when == "while it is read back":
        calls.at("fetch_hashes", 1, lambda: (ask(), time.sleep(A_WHILE_S), embedded.comes()))
        calls.at("upsert", 2, embedded.awaited)
    told: list[BatchReport] = []
    with pytest.raises(Interrupted, match=r"what is settled stays settled.*index resume"):
        drive(light_world, light_world.begin(*lines(), batch_size=BATCH_SIZE).run_id, told.append)
    done = settled(light_world)
    assert [report.number for report in told] == list(range(len(done) // BATCH_SIZE))
    assert done == list(range(1, len(done) + 1))
    assert BATCH_SIZE <= len(done) < len(PATHS)
    assert in_state(light_world, "writing") == set(), "a batch was sent and left"
    is_asked = False
    light_world.engine.faults = lambda _point: None
    assert_goes_on(light_world, calls)


@pytest.mark.parametrize("fails", [False, True], ids=["the next one goes on", "the next one fails"])
def test_a_batch_that_went_stale_is_made_anew(light_world: World, calls: Calls, fails: bool) -> None:
    """A document that was unchanged when its batch was prepared is not any more when it is settled: its batch is made
    again, while the next one is in the store already, and also where that one has failed."""
    light_world.sync(*lines(), batch_size=BATCH_SIZE)
    changed = Moment()

    def change() -> None:
        light_world.query("UPDATE documents SET content_hash = 'another', state = 'suspect' WHERE path = 'a.py'")
        changed.comes()

    def wait() -> None:
        changed.awaited()
        time.sleep(A_WHILE_S)
        if fails:
            unavailable("at the insert")

    before = [method for method, _ in calls.seen]
    calls.at("fetch_hashes", before.count("fetch_hashes") + 1, change)
    calls.at("upsert", before.count("upsert") + 2, wait)
    again = [*lines(paths=("a.py",)), *lines("newer", PATHS[1:])]
    if fails:
        with pytest.raises(StoreUnavailable, match="at the insert"):
            light_world.sync(*again, batch_size=BATCH_SIZE)
        assert settled(light_world) == [1, 2]
        calls.none()
        run = light_world.resume(run_ids(light_world)[-1])
    else:
        run = light_world.sync(*again, batch_size=BATCH_SIZE)
    assert run.status is RunStatus.COMPLETED
    assert set(light_world.outcomes(run).values()) == {"indexed"}, "the suspect one, too, was written anew"
    assert in_state(light_world, "present") == set(PATHS)
    assert threads() == []


def test_a_line_that_began_in_another_batch_than_the_stale_one_keeps_its_failure(
    light_world: World, calls: Calls
) -> None:
    """One line asks for a folder. A file of it fails in the first batch, the second one, where the line ends, goes
    stale: made anew, it does not make the line a completed one."""
    for path in PATHS[:3]:  # the folder itself is a change too: where it stands, a document may have been
        light_world.write(f"repo/pkg/{path}", f"{path} text\n")
    line = {"repo": "repo", "op": "add", "path": "pkg/"}
    assert light_world.sync(line, batch_size=BATCH_SIZE).status is RunStatus.COMPLETED
    light_world.write("repo/pkg/a.py", "x" * 11_000_000)
    light_world.write("repo/pkg/c.py", "c.py newer\n")
    seen = [method for method, _ in calls.seen].count("fetch_hashes")
    changed = Moment()

    def change() -> None:
        light_world.query("UPDATE documents SET content_hash = 'another' WHERE path = 'pkg/b.py'")
        changed.comes()

    calls.at("fetch_hashes", seen + 1, change)
    run = light_world.sync(line, {"repo": "repo", "op": "delete", "path": "gone.py"}, batch_size=BATCH_SIZE)
    changed.awaited()
    assert light_world.outcomes(run) == {1: "failed", 2: "deleted"}
    assert "11,000,000 bytes" in light_world.failures(run)[1]
    assert "more of this line" not in light_world.failures(run)[1]


def drive(world: World, run_id: str, take: Callable[[BatchReport], None]) -> None:
    """The stages up to the upsert; ``take`` is given every report and may raise ``StopIteration``: then no more."""
    with world.engine.work_on(run_id) as work:
        plan_batches(work)
        with RunPlan(work.folder) as plan, BatchMaker(work, plan) as maker:
            upserter = BatchUpserter(
                work, commits=plan.commits, make_anew=lambda n: maker.make(n, anew=True), raw_line=maker.raw_line
            )
            reports = upserter.upsert(maker.batches())
            for report in reports:
                try:
                    take(report)
                except StopIteration:
                    reports.close()  # type: ignore[attr-defined]
                    assert threads() == []


def test_who_wants_no_more_reports_leaves_a_run_that_can_be_resumed(light_world: World, calls: Calls) -> None:
    def take(_report: BatchReport) -> None:
        raise StopIteration

    drive(light_world, light_world.begin(*lines(), batch_size=BATCH_SIZE).run_id, take)
    assert settled(light_world) == [1, 2]
    assert in_state(light_world, "writing") == {"c.py", "d.py"}
    assert_goes_on(light_world, calls)
