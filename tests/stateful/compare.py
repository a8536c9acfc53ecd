"""The state held against the model: exactly where nothing is in the middle, else as far as anything is sure."""

from collections import defaultdict
from contextlib import closing

import numpy as np
from crash.held import Held
from crash.oracle import KEPT_FILES, Key, assert_ledger, expected_objects
from stateful.model import Model
from stateful.state import State


def compare(state: State, model: Model, *, spec: str) -> None:
    """Raises ``AssertionError`` where something is lost, stale, doubled, left over, or miscounted."""
    _objects(state, model, spec)
    _runs(state, model)
    _commits(state, model)
    if not state.is_whole():
        return
    with closing(state.connect()) as connection:
        assert_ledger(connection, model, collection=state.collection, spec=spec)  # type: ignore[arg-type]
    assert not state.query("SELECT * FROM repository_claims"), "a claim is left"
    assert not state.query("SELECT * FROM sync_runs WHERE lease_owner NOTNULL"), "a lease is left"
    for run_id in state.runs():
        assert state.left_in_folder(run_id) <= KEPT_FILES, f"left over in the folder of {run_id}"


def _objects(state: State, model: Model, spec: str) -> None:
    """Every document holds what it may hold: as a rule one thing."""
    held = state.objects()
    assert len({each.id for each in held}) == len(held), "an object is there twice"
    by_document: dict[Key, list[Held]] = defaultdict(list)
    for each in held:
        by_document[each.properties["repository"], each.properties["relative_path"]].append(each)
    for key in set(by_document) | model.known():
        texts = model.may_hold(key)
        there = by_document[key]
        for each in there:
            versions = [expected_objects(key, text, state.collection, spec) for text in texts if text]
            of_its_id = [version[each.id] for version in versions if each.id in version]
            assert of_its_id, f"left over: {key} {each.properties['chunk_index']}"
            assert any(_is_same(each, want) for want in of_its_id), f"stale: {key} {each.properties['chunk_index']}"
        if None not in texts:  # new chunks are written before old ones are removed
            least = min(len(expected_objects(key, text, state.collection, spec)) for text in texts if text)
            indexes = {each.properties["chunk_index"] for each in there}
            assert indexes >= set(range(least)), f"missing: {key} has {sorted(indexes)} of {least}"


def _is_same(held: Held, want: Held) -> bool:
    found = {name: held.properties.get(name) for name in want.properties}
    if found != want.properties or held.vector is None or want.vector is None:
        return False
    return held.vector.shape == want.vector.shape and bool(np.array_equal(held.vector, want.vector))


def _runs(state: State, model: Model) -> None:
    """Counters are numbers of rows at every commit; a run that has ended has settled each line once."""
    for run_id, row in state.runs().items():
        completed = _lines(state, "completed_lines", run_id)
        failed = _lines(state, "failed_lines", run_id)
        counters = (row["processed_lines"], row["success_count"], row["error_count"])
        assert counters == (len(completed) + len(failed), len(completed), len(failed)), f"{run_id}: {counters}"
        assert not set(completed) & set(failed), run_id
        run = model.runs.get(run_id)
        if run is None or run.is_open or run.is_given_up:
            continue
        assert sorted(completed + failed) == list(range(1, len(run.lines) + 1)), f"{run_id}: a line is not settled"
        assert failed == sorted(run.failed), f"{run_id}: {failed} failed, not {sorted(run.failed)}"
        assert row["status"] == ("failed" if failed else "completed"), run_id
    assert set(model.runs) <= set(state.runs()), "a run is gone"


def _lines(state: State, table: str, run_id: str) -> list[int]:
    rows = state.query(f"SELECT line_number FROM {table} WHERE run_id = ? ORDER BY line_number", run_id)
    return [row[0] for row in rows]


def _commits(state: State, model: Model) -> None:
    """Every repository stands where the newest run stands whose lines of it are all completed.

    An unfinished run may have moved it already.
    """
    newer = {run.sequence for run in model.open_runs()}
    moving = {repository for run in model.open_runs() for repository in run.records()}
    found = {name: commit for name, (commit, sequence) in state.commits().items() if sequence not in newer}
    wanted = {name: commit for name, (commit, _) in model.commits.items()}
    for name in set(found) | set(wanted):
        if name not in moving:
            assert found.get(name) == wanted.get(name), f"{name} stands at {found.get(name)}, not {wanted.get(name)}"
