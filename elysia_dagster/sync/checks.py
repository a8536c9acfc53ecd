"""What must be so of a collection: five questions, each answered with a sentence. Nothing is changed.

A run asks the cheap ones at its end, of itself where that is all it can know; by themselves they ask of all runs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from elysia_dagster.checkpoint import clock, inspecting
from elysia_dagster.checkpoint.claims import live_holder
from elysia_dagster.checkpoint.inspecting import Holding
from elysia_dagster.checkpoint.records import CollectionRecord, RunRecord
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.reconcile import known_collection
from elysia_dagster.sync.request import check_collection_name

SHOWN = 20
"""Runs or repositories that a check names."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether it is so; ``sentence`` says what is not, or what was looked at. ``numbers`` are for plots."""

    passed: bool
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The collection that is asked about; ``run_id``: only what that run did, where a check is about runs."""

    store: str
    name: str
    run_id: str | None = None


def every_line_settled(engine: Engine, target: Target) -> Answer:
    """Whether no run waits to be resumed for longer than ``settle_hours``; one that a process works on may take its
    time."""
    waiting: list[str] = []
    running = inspecting.runs_of(engine.database, target.store, target.name, [RunStatus.RUNNING])
    for run in running:
        hours = _hours_since(max(run.lease_heartbeat or "", run.started_at))
        if hours > engine.settings.settle_hours and live_holder(run, engine.host) is None:
            left = run.total_lines - run.processed_lines
            waiting.append(
                f"{run.run_id} waits for {hours:.1f} h with {left} unsettled lines"
                f" (elysiactl index resume --run-id {run.run_id})"
            )
    numbers = {"unfinished runs": len(running), "waiting too long": len(waiting)}
    if waiting:
        return Answer(passed=False, sentence=f"{_some(waiting)}.", numbers=numbers)
    sentence = f"No run waits to be resumed for more than {engine.settings.settle_hours:g} h."
    return Answer(passed=True, sentence=sentence, numbers=numbers)


def counters_true(engine: Engine, target: Target) -> Answer:
    """Whether the counters of every run are its tables' numbers of rows."""
    untrue = inspecting.untrue_counters(engine.database, target.store, target.name, run_id=target.run_id)
    numbers = {"runs with untrue counters": len(untrue)}
    if not untrue:
        return Answer(passed=True, sentence="Counters and rows are the same.", numbers=numbers)
    named = [
        f"{each.run_id} counts {each.success_count} completed and {each.error_count} failed lines, its tables hold "
        f"{each.completed} and {each.failed}"
        for each in untrue
    ]
    return Answer(
        passed=False, sentence=f"{_some(named)}. Please report this; the rows are the truth.", numbers=numbers
    )


def no_failed_line_due(engine: Engine, target: Target) -> Answer:
    """Whether no failed line waits for a try that it has left and whose time has come."""
    finished = inspecting.runs_of(engine.database, target.store, target.name, [RunStatus.FAILED, RunStatus.RUNNING])
    runs = [run for run in finished if run.error_count and run.identity is not None]
    due = inspecting.due_lines(engine.database, runs)
    numbers = {"lines due": sum(due.values()), "failed lines": sum(run.error_count for run in runs)}
    if not due:
        return Answer(passed=True, sentence="No failed line is due for another try.", numbers=numbers)
    named = [f"{count} of {run_id} (elysiactl index retry --run-id {run_id})" for run_id, count in due.items()]
    return Answer(passed=False, sentence=f"Failed lines are due for another try: {_some(named)}.", numbers=numbers)


def freshness(engine: Engine, target: Target) -> Answer:
    """Whether the newest completed run is younger than ``fresh_hours``."""
    ended = inspecting.last_completed(engine.database, target.store, target.name)
    limit = engine.settings.fresh_hours
    if ended is None:
        return Answer(
            passed=False, sentence=f"No run into {target.name} was completed yet, or all of them were cleaned up."
        )
    hours = _hours_since(ended)
    sentence = f"The last completed run ended {hours:.1f} h ago, at {ended}; {limit:g} h are allowed."
    return Answer(passed=hours <= limit, sentence=sentence, numbers={"hours": round(hours, 2)})


def ledger_equals_store(engine: Engine, target: Target) -> Answer:
    """Whether the store holds as many objects of every repository as the ledger says.

    A repository that a process is writing is left out; a difference counts where a second look finds it again.
    Raises ``CollectionMismatch``, ``UsageError`` where there is no such collection, ``StoreUnavailable``.
    """
    known = known_collection(engine, target.name, target.store)
    looked_at, found = _differences(engine, known)
    if found:
        _, again = _differences(engine, known)
        found = {name: each for name, each in found.items() if again.get(name) == each}
    numbers = {"repositories": looked_at, "repositories that differ": len(found)}
    if not found:
        return Answer(passed=True, sentence=f"{looked_at} repositories are alike in both.", numbers=numbers)
    named = [
        f"{name}: the ledger has {holding.chunks} objects ({holding.unsure} documents unsure), the store {objects}"
        for name, (holding, objects) in sorted(found.items())
    ]
    command = f"elysiactl index reconcile --collection {target.name}"
    return Answer(passed=False, sentence=f"{_some(named)}. See which documents: {command}", numbers=numbers)


def _differences(engine: Engine, known: CollectionRecord) -> tuple[int, dict[str, tuple[Holding, int]]]:
    """How many repositories were compared, and those that differ: what the ledger says, and objects in the store."""
    database, host = engine.database, engine.host
    held = inspecting.held_repositories(database, known, host)
    ledger = inspecting.holdings(database, known.collection_id)
    objects = engine.store(known.store).count_by_repository(known.name)
    held |= inspecting.held_repositories(database, known, host)
    names = (ledger.keys() | objects.keys()) - held
    pairs = {name: (ledger.get(name, Holding(0, 0)), objects.get(name, 0)) for name in names}
    return len(names), {name: each for name, each in pairs.items() if each[0].unsure or each[0].chunks != each[1]}


CheckFunction = Callable[[Engine, Target], Answer]

CHECKS: dict[str, CheckFunction] = {
    each.__name__: each
    for each in (every_line_settled, counters_true, ledger_equals_store, no_failed_line_due, freshness)
}
"""Every check by its name."""

ASKED_BY_RUNS = (every_line_settled, counters_true, no_failed_line_due, freshness)
"""What a run asks at its end. It compares ledger and store itself, under its claim, for its own repositories."""


def look(engine: Engine, name: str) -> Answer:
    """The check of that name, of the collection of the settings. Raises what the check raises, and ``UsageError``."""
    check_collection_name(engine.settings.collection)
    return CHECKS[name](engine, Target(store=engine.store_url(), name=engine.settings.collection))


def look_at_run(engine: Engine, run: RunRecord) -> dict[str, Answer]:
    """By name, what a run that has just ended knows of its collection."""
    target = Target(store=run.store or "", name=run.collection_name, run_id=run.run_id)
    return {each.__name__: each(engine, target) for each in ASKED_BY_RUNS}


def _hours_since(moment: str) -> float:
    return (clock.now() - clock.parse(moment)).total_seconds() / 3600


def _some(named: list[str]) -> str:
    rest = len(named) - SHOWN
    return "; ".join(named[:SHOWN]) + (f"; and {rest} more" if rest > 0 else "")
