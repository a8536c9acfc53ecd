"""Whatever people and machines do, in any order, with processes that are killed: after each step all is held against
the model."""

import itertools
import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import other_embedder
from crash import points
from crash.oracle import Key
from crash.scenario import delete, inline, record
from crash.zygote import Zygote
from damage import Damage
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from stateful.changesets import LINES, Drawn, changeset, files, late_file
from stateful.compare import compare
from stateful.model import Model, ModelRun
from stateful.state import State
from sync_world import World

from elysia_dagster.checkpoint.runs import abandon_run
from elysia_dagster.errors import RepositoriesHeld, UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.cleanup import cleanup_checkpoints
from elysia_dagster.sync.drive import carry_out, sync
from elysia_dagster.sync.engine import remove_run_folder
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.rebuild import RebuildReport, RebuildRequest, rebuild
from elysia_dagster.sync.reconcile import compared
from elysia_dagster.sync.repair import repair
from elysia_dagster.sync.request import ChangesetManifest
from elysia_dagster.sync.resume import resume_run
from elysia_dagster.sync.retry import retry_run

KILLED, MOST_OPEN = -9, 3

Kill = str
"""A fault point and its passing, as ``kill:intended:2``; '' where nobody is killed."""


def _kills(*names: str, passings: int = 1) -> st.SearchStrategy[Kill]:
    found = [f"kill:{name}:{number}" for name in names for number in range(1, passings + 1)]
    return st.sampled_from(found)


_OF_A_BATCH = _kills("batch-saved", "intended", "inserted", "verified", "removed", "settled", "unlinked", passings=3)
_OF_A_RUN = _kills(*points.OPENING, *points.PLANNING, *points.SETTLING_UNSENT, *points.FINISHING, *points.RUN_CLOSED)

AS_IT_MAY = st.one_of(st.just(""), _OF_A_BATCH, _OF_A_BATCH, _OF_A_RUN)
"""A process that works on a run is killed somewhere, or not."""

PICK = st.integers(0, 11)
"""Which of some things, counted from the first again where there are fewer."""


class Machine(RuleBasedStateMachine):
    """One collection on LanceDB, which two embedders take in turns, and the SQLite checkpoint.

    No rule is left out because of what has happened, so that what is drawn depends on nothing that a killed process
    leaves behind: a rule that finds nothing to do does nothing. ``played`` counts what was done.
    """

    def __init__(self, zygote: Zygote, base: Path, played: Counter[str]) -> None:
        super().__init__()
        self._played = played
        self._zygote = zygote
        self._base = base
        base.mkdir()
        self._world = World(base)
        other_embedder.teach(self._world.engine)
        self._model = Model(files())
        self._state = State(self._world)
        self._changesets: dict[Path, tuple[Any, ...]] = {}
        self._children = 0
        self._numbers = itertools.count()
        for (repository, path), text in self._model.disk.items():
            self._world.write(f"{repository}/{path}", text)

    @property
    def _spec(self) -> str:
        """The embedder of the collection that is synced now."""
        return "hashing" if self._world.collection == "Demo" else other_embedder.SPEC

    # what changesets do

    @initialize(drawn=LINES)
    def first_sync(self, drawn: list[Drawn]) -> None:
        """Something is there."""
        self._sync(self._new(drawn), batch_size=2)

    @rule(drawn=LINES, batch_size=st.integers(1, 3), force=st.booleans(), kill=AS_IT_MAY)
    def sync(self, drawn: list[Drawn], batch_size: int, force: bool, kill: Kill) -> None:
        """A new changeset; where too much waits already, what waits longest is gone on with first."""
        if len(self._model.open_runs()) >= MOST_OPEN:
            self.resume(0, "")
        self._sync(self._new(drawn), kill, batch_size=batch_size, force=force)
        self._played["synced"] += 1

    @rule(place=st.integers(0, 1), document=st.integers(0, 2), text=st.integers(0, 4), cleanup=st.booleans())
    def delete_and_add_again(self, place: int, document: int, text: int, cleanup: bool) -> None:
        """A document goes and comes back; its tombstone may be gone by then."""
        self._sync(self._new([("remove", place, document, text)]))
        if cleanup:
            self.cleanup("")
        self._sync(self._new([("put", place, document, text)]))

    @rule(drawn=LINES, kill=_OF_A_BATCH)
    def give_up_in_the_middle(self, drawn: list[Drawn], kill: Kill) -> None:
        """A changeset whose process is killed, and which nobody wants any more."""
        place = self._new(drawn)
        self._sync(place, kill, batch_size=3)
        self._abandon([run for run in self._model.open_runs() if run.lines == self._changesets[place]])

    @rule(older=LINES, newer=LINES, kill=_OF_A_BATCH)
    def newer_first(self, older: list[Drawn], newer: list[Drawn], kill: Kill) -> None:
        """A changeset whose process is killed; a newer one; then the older again."""
        place = self._new(older)
        self._sync(place, kill, batch_size=2)
        self._sync(self._new(newer), batch_size=2)
        self._sync(place, batch_size=2)

    @rule(number=st.integers(0, 3), kill=AS_IT_MAY)
    def fail_and_try_again(self, number: int, kill: Kill) -> None:
        """A line whose file is not there yet; the file; the line once more."""
        key, _ = late_file(number)
        self._sync(self._new([("rename to nothing" if key[1] == "r1.py" else "missing", number % 2, 1, 0)]))
        self.file_comes(number)
        self.retry(-1, kill)

    @rule(pick=PICK, kill=AS_IT_MAY)
    def sync_again(self, pick: int, kill: Kill) -> None:
        """The same file once more: its run is gone on with, or is a new one, or there is nothing to do."""
        if places := list(self._changesets):
            self._sync(places[pick % len(places)], kill, batch_size=2)

    @rule(pick=PICK, kill=AS_IT_MAY)
    def resume(self, pick: int, kill: Kill) -> None:
        """An unfinished run, without its input."""
        if not (runs := self._model.open_runs()):
            return
        run = runs[pick % len(runs)]
        self._played["resumed"] += 1
        if kill:
            self._child("resume", kill, run_id=run.run_id)
        else:
            self._carry_out(resume_run(self._world.engine, run.run_id))
        self._learn()

    @rule(pick=PICK, kill=AS_IT_MAY)
    def retry(self, pick: int, kill: Kill) -> None:
        """The failed lines of a run, all of them."""
        if not (runs := self._model.with_failures()):
            return
        run = runs[pick % len(runs)]
        self._played["retried"] += 1
        which = {"run_id": run.run_id, "every": True, "permanent": True}
        if kill:
            self._child("retry", kill, may_be_refused=self._has_open_twin(run), **which)
        else:
            try:
                manifest = retry_run(self._world.engine, **which)
            except UsageError:
                assert self._has_open_twin(run)
                return
            assert manifest is not None
            self._carry_out(manifest)
        self._learn()

    @rule(number=st.integers(0, 3))
    def file_comes(self, number: int) -> None:
        """A file that failed lines ask for; not while an unfinished run may or may not have looked for it."""
        key, text = late_file(number)
        if key not in self._model.disk and key not in self._model.named_by_open_runs():
            self._model.disk[key] = text
            self._world.write("/".join(key), text)

    @rule(drawn=LINES)
    def dry_run(self, drawn: list[Drawn]) -> None:
        """Changes nothing, whatever waits."""
        before = self._state.documents(), self._state.lines()
        place = self._new(drawn)
        del self._changesets[place]
        request = self._world.request(place, dry_run=True, embedder=self._spec)
        carry_out(self._world.engine, sync(self._world.engine, request), lambda _work, _report: None)
        assert (self._state.documents(), self._state.lines()) == before

    @rule(pick=PICK)
    def abandon(self, pick: int) -> None:
        """An unfinished run is given up, in the middle of what it wrote."""
        if runs := self._model.open_runs():
            self._abandon([runs[pick % len(runs)]])

    def _abandon(self, runs: list[ModelRun]) -> None:
        for run in runs:
            self._give_up(run)

    def _give_up(self, run: ModelRun) -> None:
        abandon_run(self._world.engine.database, run.run_id, self._world.engine.host)
        remove_run_folder(self._world.engine, run.run_id)
        self._played["abandoned"] += 1
        self._model.give_up(run, self._state.rows(), self._state.done(run.run_id))
        for repository, (commit, sequence) in self._state.commits().items():
            if sequence == run.sequence:  # killed when its commits were moved
                assert run.records()[repository] == commit
                self._model.commits[repository] = (commit, sequence)
        self._played["in doubt"] += len(self._model.doubts)
        self._learn()

    # what people and schedules do beside them

    @rule(kill=st.one_of(st.just(""), _kills("run-dropped", "run-folder-removed", "tombstones-dropped", passings=2)))
    def cleanup(self, kill: Kill) -> None:
        """Every finished run goes, with its files."""
        if kill:
            self._child("cleanup", kill, keep_days=0)
        else:
            cleanup_checkpoints(self._world.engine, keep_days=0)
            assert not [run_id for run_id, row in self._state.runs().items() if row["status"] != "running"]
        left = self._state.runs()
        gone = [run.run_id for run in self._model.runs.values() if run.run_id not in left]
        self._played["cleaned up"] += len(gone)
        assert not [each for each in gone if self._model.runs[each].is_open], "an unfinished run was dropped"
        self._model.forget_runs(gone)

    @rule(kill=st.one_of(st.just(""), _kills(*points.RECONCILE, *points.RECONCILE_REST)))
    def reconcile(self, kill: Kill) -> None:
        """With a repair; what it cannot mend is sent again."""
        if not self._state.has_collection():
            return
        if kill:
            self._child("reconcile", kill, collection=self._world.collection)
            self._learn()
        else:
            self._repair()

    @rule(
        pick=PICK,
        harm=st.sampled_from(("remove", "double", "make_stale", "take_vector", "leave_over")),
        kill=st.one_of(st.just(""), _kills(*points.RECONCILE, *points.RECONCILE_REST)),
    )
    def damage(self, pick: int, harm: str, kill: Kill) -> None:
        """What should never happen to an object of the store is found and mended, if not by the process that is
        killed then by the next."""
        if not self._model.documents or not self._state.is_whole():
            return
        key = sorted(self._model.documents)[pick % len(self._model.documents)]
        getattr(Damage(self._world.state, self._world.collection), harm)(key, 50 if harm == "leave_over" else 0)
        with compared(self._world.engine, self._world.collection) as comparison:
            assert [(each.held.repository, each.held.path) for each in comparison.first_findings()] == [key]
        if kill:
            self._child("reconcile", kill, collection=self._world.collection)
        self._repair()
        assert self._state.is_whole()
        self._played["damaged and repaired"] += 1

    @rule(pick=PICK, drop_old=st.booleans(), kill=st.one_of(st.just(""), _kills(*points.REBUILD, *points.REBUILD_RUN)))
    def rebuild(self, pick: int, drop_old: bool, kill: Kill) -> None:
        """The other collection is made of this one by the other embedder, and takes its place."""
        if not self._state.has_collection():
            return
        into = "Anew" if self._world.collection == "Demo" else "Demo"
        spec = other_embedder.SPEC if into == "Anew" else "hashing"
        wanted = {"collection": self._world.collection, "into": into, "embedder": spec, "batch_size": 2}
        if self._model.open_runs() or not self._state.is_whole():
            self._played["rebuild refused"] += 1
            self._rebuild_refused({**wanted, "switch": True})
            return
        commits = self._state.commits_without_failures()
        if kill:
            self._child("rebuild", kill, switch=True, drop_old=drop_old, **wanted)
        done = self._rebuild({**wanted, "switch": True, "drop_old": drop_old})
        if not done.switched:
            assert done.file is not None
            self._send_again(done.file)
            commits = self._state.commits_without_failures()
            done = self._rebuild({**wanted, "switch": True, "drop_old": drop_old})
        assert done.switched, f"{done.standing} {done.failures}"
        self._played["rebuilt"] += 1
        self._world.collection = into
        self._model.start_over(self._state.newest_sequence(), commits)
        self.another_process()  # with the settings that go with the new collection, as its operator sets them

    @rule()
    def another_process(self) -> None:
        """What a process has in hand of database and store is of no importance to the next one."""
        self._world.engine.close()
        self._world.engine = other_embedder.teach(self._world.open_engine(embedder=self._spec))

    # in the end

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        """As much as is sure: what unfinished runs are in the middle of may be one thing or another."""
        compare(self._state, self._model, spec=self._spec)

    def teardown(self) -> None:
        """Everything is brought to its end and compared for good, unless a step has failed."""
        try:
            if sys.exc_info()[0] is None:
                self._bring_to_an_end()
                compare(self._state, self._model, spec=self._spec)
        finally:
            self._world.__exit__()
            shutil.rmtree(self._base)

    def _bring_to_an_end(self) -> None:
        while self._model.open_runs():
            self.resume(0, "")
        if self._state.has_collection():
            self._repair()
            assert self._state.is_whole()
            with compared(self._world.engine, self._world.collection) as comparison:
                assert (comparison.differing, comparison.foreign) == (0, 0)

    # how it is done

    def _new(self, drawn: Sequence[Drawn]) -> Path:
        lines = changeset(drawn, next(self._numbers), self._model.disk)
        place = self._world.changeset(*(line.raw for line in lines))
        self._changesets[place] = lines
        return place

    def _sync(self, place: Path, kill: Kill = "", **options: Any) -> None:
        if kill:
            roots = [str(self._world.root)]
            named = {"collection": self._world.collection, "embedder": self._spec, "roots": roots}
            self._child("sync", kill, changeset=str(place), **named, **options)
        else:
            request = self._world.request(place, embedder=self._spec, **options)
            self._carry_out(sync(self._world.engine, request))
        self._learn()

    def _child(self, task: str, kill: Kill, *, may_be_refused: bool = False, **arguments: Any) -> None:
        """A process of its own, which is killed if it comes to that point."""
        self._children += 1
        output = self._base / "children" / str(self._children)
        child = self._zygote.start(
            task, self._world.state, output, fault=kill, settings={"embedder": self._spec}, **arguments
        )
        code = child.wait()
        allowed = (0, KILLED, UsageError.exit_code) if may_be_refused else (0, KILLED)
        assert code in allowed, f"{task} ended with {code}: {child.error()}"
        self._played["killed"] += code == KILLED

    def _carry_out(self, manifest: ChangesetManifest) -> SyncReport:
        done = carry_out(self._world.engine, manifest, lambda _work, _report: None)
        assert isinstance(done, SyncReport)
        return done

    def _learn(self) -> None:
        """Tells the model which runs were opened, asked for again, and ended: no more than that, and not how."""
        rows = self._state.runs()
        ended = []
        for run_id, row in rows.items():
            place = Path(row["input_source"] or "")
            if place not in self._changesets or row["collection_name"] != self._world.collection or not row["identity"]:
                continue  # not a changeset's, or of before this collection was replaced
            if run_id not in self._model.runs:
                self._model.open_run(run_id, row["sequence"], self._changesets[place])
            run = self._model.runs[run_id]
            if row["attempt"] > run.attempt:
                self._model.reopen(run)
            if run.is_open and row["status"] != RunStatus.RUNNING.value:
                ended.append(run)
        for run in ended:
            self._model.end(run)
        self._model.doubts.update(self._state.doubts_beside(self._model))
        for key in self._state.settled() & set(self._model.doubts):
            del self._model.doubts[key]

    def _has_open_twin(self, run: ModelRun) -> bool:
        """Whether another run of the same changeset is unfinished: the older one is not reopened beside it."""
        return any(each.lines == run.lines and each is not run for each in self._model.open_runs())

    def _repair(self) -> None:
        with compared(self._world.engine, self._world.collection) as comparison:
            report = repair(comparison)
        self._learn()
        if report.file is not None:
            self._played["sent again"] += 1
            self._send_again(report.file)

    def _send_again(self, listed: Path) -> None:
        """A changeset of documents whose content was not to be had, with it."""
        keys = [(line["repo"], line["path"]) for line in map(json.loads, listed.read_text().splitlines())]
        self._sync(self._put(keys))

    def _put(self, keys: Sequence[Key]) -> Path:
        lines = [
            inline(key, self._model.documents[key]) if key in self._model.documents else delete(key) for key in keys
        ]
        number = next(self._numbers)
        lines += [record(each, f"{each}-{number}") for each in sorted({key[0] for key in keys})]
        place = self._world.changeset(*(line.raw for line in lines))
        self._changesets[place] = tuple(lines)
        return place

    def _rebuild(self, wanted: dict[str, Any]) -> RebuildReport:
        return rebuild(self._world.engine, RebuildRequest(**wanted), self._carry_out)

    def _rebuild_refused(self, wanted: dict[str, Any]) -> None:
        try:
            done = self._rebuild(wanted)
        except RepositoriesHeld:
            return
        assert not done.switched
