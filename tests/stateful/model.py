"""The truth in plain Python, kept up step by step: of a document the newest change counts, by run and line.

The oracle of the crash tests is told all changesets at once. Here runs stay unfinished while others are opened, end,
are given up or cleaned up, and failed lines are tried again when their file has come. So a fact carries its version.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from crash.oracle import Drop, Key, Line, Put
from soak.changesets import DropBelow

Version = tuple[int, int]
"""The sequence of a run, and a line of it."""

OLDEST: Version = (0, 0)


@dataclass(kw_only=True)
class ModelRun:
    """A run. ``unsettled`` are its lines that its present attempt has not settled, whole runs at a time; ``failed``
    gives by failed line the one document that it asks for, if it is one."""

    run_id: str
    sequence: int
    lines: tuple[Line, ...]
    attempt: int = 1
    unsettled: set[int] = field(default_factory=set)
    failed: dict[int, Key | None] = field(default_factory=dict)
    is_given_up: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it waits to be gone on with."""
        return bool(self.unsettled)

    def failed_in(self) -> set[str]:
        """The repositories that its failed lines name."""
        return {self.lines[number - 1].repository for number in self.failed}

    def records(self) -> dict[str, str]:
        """By repository the commit that its last record of it names."""
        return {line.repository: line.commit for line in self.lines if line.commit}


class Model:
    """What the collection holds: ``documents``; what is below the root: ``disk``; and the runs that can be gone on with
    or tried again, by name.

    ``doubts`` are documents of which the store may hold any of some texts (None: nothing): a run was given up, or a
    repair was killed, in the middle of them.
    """

    def __init__(self, disk: Mapping[Key, str]) -> None:
        self.disk = dict(disk)
        self.documents: dict[Key, str] = {}
        self.commits: dict[str, tuple[str, int]] = {}
        self.runs: dict[str, ModelRun] = {}
        self.doubts: dict[Key, set[str | None]] = {}
        self._versions: dict[Key, Version] = {}
        self._folders: dict[Key, Version] = {}

    def open_runs(self) -> list[ModelRun]:
        """Those that are unfinished, oldest first."""
        return sorted((run for run in self.runs.values() if run.is_open), key=lambda run: run.sequence)

    def with_failures(self) -> list[ModelRun]:
        """Those whose failed lines can be tried again, oldest first."""
        found = (run for run in self.runs.values() if run.failed and not run.is_given_up)
        return sorted(found, key=lambda run: run.sequence)

    def open_run(self, run_id: str, sequence: int, lines: tuple[Line, ...]) -> None:
        """A run is there."""
        unsettled = set(range(1, len(lines) + 1))
        self.runs[run_id] = ModelRun(run_id=run_id, sequence=sequence, lines=lines, unsettled=unsettled)

    def reopen(self, run: ModelRun) -> None:
        """Its failed lines are tried again."""
        run.attempt += 1
        run.unsettled = set(run.failed)

    def end(self, run: ModelRun) -> None:
        """It has come to its end: its unsettled lines are applied, as far as nothing newer stands."""
        answered: set[Key] = set()
        for number, effects in self._counting(run):
            if number not in run.unsettled:
                continue
            run.failed.pop(number, None)
            at = (run.sequence, number)
            if run.lines[number - 1].unreadable or any(self._is_missing(each, at) for each in effects):
                line = run.lines[number - 1]
                is_single = len(line.effects) == 1 and not isinstance(line.effects[0], DropBelow)
                run.failed[number] = line.effects[0].key if is_single else None
                continue
            self._remove_folders(run, number)
            for each in effects:
                self._apply(each, at)
                answered.add(each.key)
        run.unsettled.clear()
        for older in self.runs.values():
            if older.sequence < run.sequence:
                for number in [each for each, key in older.failed.items() if key in answered]:
                    del older.failed[number]
        self._move_commits()

    def give_up(self, run: ModelRun, rows: Mapping[Key, tuple[Version, str]], done: set[int]) -> None:
        """It is given up: what the ledger's ``rows`` (version and state) say that it has written stays written.

        ``done`` are its lines that were completed and not superseded: all that they ask for must be there.
        """
        for number, effects in self._counting(run):
            if number in done:
                self._remove_folders(run, number)
            for each in effects:
                before = self.documents.get(each.key)
                wanted = self._text(each)
                version, state = rows.get(each.key, (OLDEST, "absent"))
                is_gone = wanted is None and state == "absent"  # of a folder, what was gone before is not named
                if number in done and each.key in rows and not is_gone:
                    assert version >= (run.sequence, number), f"{each.key} is not what line {number} says"
                if number in done and each.key not in rows:
                    assert wanted is None, f"nothing is known of {each.key}, which line {number} has written"
                if version != (run.sequence, number):
                    continue
                self._apply(each, version)
                if state == "suspect":
                    self.doubts[each.key] = {before, wanted, None}
        run.unsettled.clear()
        run.is_given_up = True

    def _counting(self, run: ModelRun) -> Iterator[tuple[int, list[Put | Drop]]]:
        """By line its changes but those that a later line of the same run supersedes."""
        resolved: list[list[Put | Drop]] = []
        known = set(self._versions)
        for line in run.lines:
            effects: list[Put | Drop] = []
            for effect in line.effects:
                if isinstance(effect, DropBelow):
                    effects += [Drop(key) for key in sorted(known) if is_below(key, effect.key)]
                else:
                    effects.append(effect)
            known |= {each.key for each in effects}
            resolved.append(effects)
        winners = {each.key: number for number, effects in enumerate(resolved, 1) for each in effects}
        for number, effects in enumerate(resolved, 1):
            yield number, [each for each in effects if winners[each.key] == number]

    def _remove_folders(self, run: ModelRun, number: int) -> None:
        for effect in run.lines[number - 1].effects:
            if isinstance(effect, DropBelow):
                at = (run.sequence, number)
                self._folders[effect.key] = max(self._folders.get(effect.key, OLDEST), at)

    def _is_missing(self, effect: Put | Drop, at: Version) -> bool:
        """Whether the content is not to be had, and nothing newer makes that unimportant."""
        is_put = isinstance(effect, Put) and effect.text is None and effect.key not in self.disk
        return is_put and not self._is_superseded(effect.key, at)

    def _is_superseded(self, key: Key, at: Version) -> bool:
        above = [version for folder, version in self._folders.items() if is_below(key, folder)]
        return max([self._versions.get(key, OLDEST), *above]) > at

    def _apply(self, effect: Put | Drop, at: Version) -> None:
        if self._is_superseded(effect.key, at):
            return
        self._versions[effect.key] = at
        self.doubts.pop(effect.key, None)
        if text := self._text(effect):
            self.documents[effect.key] = text
        else:
            self.documents.pop(effect.key, None)

    def _text(self, effect: Put | Drop) -> str | None:
        """What a change leaves of its document, None for nothing."""
        if isinstance(effect, Drop):
            return None
        return (self.disk.get(effect.key) if effect.text is None else effect.text) or None

    def _move_commits(self) -> None:
        for run in self.runs.values():
            if run.is_open or run.is_given_up:
                continue
            for repository, commit in run.records().items():
                stands = self.commits.get(repository, ("", 0))[1]
                if repository not in run.failed_in() and run.sequence >= stands:
                    self.commits[repository] = (commit, run.sequence)

    def forget_runs(self, run_ids: Sequence[str]) -> None:
        """Finished runs are cleaned up; what they did stays."""
        for each in run_ids:
            del self.runs[each]

    def start_over(self, sequence: int, commits: Mapping[str, str]) -> None:
        """Another collection has taken this one's place, which holds the same: no older run can be tried again."""
        self.runs.clear()
        self._folders.clear()
        self._versions = dict.fromkeys(self.documents, (sequence, 0))
        self.commits = {repository: (commit, sequence) for repository, commit in commits.items()}

    def named_by_open_runs(self) -> set[Key]:
        """Documents that an unfinished run may be in the middle of, or may have failed."""
        return {key for run in self.open_runs() for _, key, _ in self._open_effects(run)}

    def may_hold(self, key: Key) -> set[str | None]:
        """What the store may hold of a document, None for nothing; one thing alone where no run is in the middle."""
        found = {self.documents.get(key)} | self.doubts.get(key, set())
        for run in self.open_runs():
            found |= {text for _, each, text in self._open_effects(run) if each == key}
        return found

    def _open_effects(self, run: ModelRun) -> Iterator[tuple[int, Key, str | None]]:
        for number in run.unsettled:
            for effect in run.lines[number - 1].effects:
                if isinstance(effect, DropBelow):
                    below = [key for key in self.known() if is_below(key, effect.key)]
                    yield from ((number, key, None) for key in below)
                else:
                    yield number, effect.key, self._text(effect)

    def known(self) -> set[Key]:
        """Every document that was ever named."""
        named = {
            each.key
            for run in self.runs.values()
            for line in run.lines
            for each in line.effects
            if not isinstance(each, DropBelow)
        }
        return named | set(self.documents) | set(self._versions) | set(self.doubts)


def is_below(key: Key, folder: Key) -> bool:
    """Whether a document lies below a folder."""
    return key[0] == folder[0] and key[1].startswith(f"{folder[1]}/")
