"""One look at the inbox: what arrived, what its runs have come to, and whose turn it is now.

Order of side effects: a file's row says what is about to happen before it does. A run is asked for under a key that
holds the attempt, again at each tick until it is there; a settled file is moved after its row says that it is settled.
"""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from elysia_dagster.checkpoint import clock, lookup, steps
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.inbox import InboxFile, InboxRecords, inbox_name
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.errors import ElysiaError, InputError, UsageError
from elysia_dagster.inbox.folder import InboxFolder
from elysia_dagster.inbox.order import take_turns
from elysia_dagster.inbox.outcome import Asked, Verdict, judge, wait_seconds
from elysia_dagster.inbox.reading import Contents, InboxReader
from elysia_dagster.models import InboxState
from elysia_dagster.settings import Settings
from elysia_dagster.sync.engine import no_fault
from elysia_dagster.sync.locate import Locator
from elysia_dagster.sync.scan import default_roots

TICK_BYTES = 256 << 20
"""Decompressed bytes that one tick reads of files that have arrived; what is left is read by the next."""

TICK_S = 1.5
"""Seconds that it reads for."""

AskedRuns = Callable[[Sequence[str]], Mapping[str, Asked]]
"""What became of the runs that were asked for under these keys; a key that is not in the answer has no run."""


@dataclass(kw_only=True)
class Tick:
    """What one look came to. ``requests`` are runs to ask for, by key; ``reports`` are said once, for people;
    ``waits`` says of each file that waits what it waits for; ``arrived`` are files that were read just now."""

    requests: dict[str, InboxFile] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)
    waits: dict[str, str] = field(default_factory=dict)
    arrived: list[InboxFile] = field(default_factory=list)

    def summary(self, most: int = 12) -> str:
        """Why nothing is asked for, in a few lines."""
        if not self.waits:
            return "The inbox is empty."
        shown = [f"{name} {reason}" for name, reason in list(self.waits.items())[:most]]
        more = [f"… and {len(self.waits) - most:,} more"] if len(self.waits) > most else []
        return "\n".join([f"{len(self.waits):,} of its files wait.", *shown, *more])


def run_key(file: InboxFile) -> str:
    """What a file's run is asked for under: the same for one attempt, whatever dies in between.

    The moment at which the file came belongs to it: Dagster remembers its keys for ever, also those of a state that was
    lost or begun anew.
    """
    return f"{file.name}:{(file.digest or '')[:16]}:{file.first_seen_at}:{file.attempt}"


_half_read: dict[tuple[Path, int, int], InboxReader] = {}
"""The one file that a tick left in the middle. Another process begins it anew."""


def _put_aside(key: tuple[Path, int, int], reader: InboxReader) -> None:
    for other in _half_read.values():
        other.close()
    _half_read.clear()
    _half_read[key] = reader


class InboxWatcher:
    """Looks at one inbox. ``faults`` is called between two side effects."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        asked_runs: AskedRuns,
        *,
        faults: Callable[[str], None] = no_fault,
    ) -> None:
        path = settings.inbox_folder()
        self._database = database
        self._settings = settings
        self._asked_runs = asked_runs
        self._faults = faults
        self._default_repository = Locator(default_roots(settings.root), settings.repo).default
        self.folder = InboxFolder(path, keeps_settled=settings.inbox_settled == "KEEP")
        self.records = InboxRecords(database, inbox_name(path, settings.collection, settings.store))
        self._files: dict[str, InboxFile] = {}

    def look(self) -> Tick:
        """One tick. Raises ``UsageError`` for an inbox that cannot be read, ``CheckpointError``, ``TransientError``."""
        tick = Tick()
        seen, strange = self.folder.look()
        tick.waits.update(strange)
        self.records.record_seen(seen, keeps_settled=self.folder.keeps_settled)
        self._faults("inbox-seen")
        self._files = self.records.open_files()
        self._follow_runs(tick)
        self._read_arrived(tick)
        self._settle_needless(tick)
        self._take_turns(tick)
        self._put_away(tick)
        return tick

    def _follow_runs(self, tick: Tick) -> None:
        """Settles, or asks for again, what a run was asked for."""
        files = [file for file in self._files.values() if file.state in (InboxState.REQUESTED, InboxState.HELD)]
        asked = self._asked_runs([run_key(file) for file in files]) if files else {}
        for file in files:
            key = run_key(file)
            if key in asked:
                self._follow(tick, file, asked[key])
            elif self._settle_by_its_run(tick, file):
                continue
            elif file.state is InboxState.REQUESTED:  # the process that was to ask for it has died
                tick.requests[key] = file
            else:
                tick.waits[file.name] = f"is held: {file.reason}"
        for file in [each for each in self._files.values() if each.state is InboxState.WAITING and each.has_begun]:
            self._settle_by_its_run(tick, file)

    def _settle_by_its_run(self, tick: Tick, file: InboxFile) -> bool:
        """Settles a file whose sync run somebody has brought to its end, or given up, outside what was asked for."""
        if (run := self._run(file.run_id)) is None:
            return False
        verdict, reason = judge(file, Asked(dagster_run_ids=(), is_finished=True), run)
        if verdict is Verdict.APPLIED:
            self._settle(tick, file, InboxState.APPLIED, reason)
        elif verdict is Verdict.REFUSED:
            self._settle(tick, file, InboxState.REFUSED, reason)
        return verdict in (Verdict.APPLIED, Verdict.REFUSED)

    def _follow(self, tick: Tick, file: InboxFile, asked: Asked) -> None:
        run = steps.sync_run_of(self._database, asked.dagster_run_ids)
        if run is not None and run.run_id != file.run_id:
            file = self._now(self.records.link_run(file, run.run_id))
        verdict, reason = judge(file, asked, run or self._run(file.run_id))
        if verdict is Verdict.LEAVE:
            tick.waits[file.name] = "is being applied"
        elif verdict is Verdict.APPLIED:
            self._settle(tick, file, InboxState.APPLIED, reason)
        elif verdict is Verdict.REFUSED:
            self._settle(tick, file, InboxState.REFUSED, reason)
        elif file.state is InboxState.HELD:
            tick.waits[file.name] = f"is held: {file.reason}"
        elif verdict is Verdict.HOLD:
            self._now(self.records.hold(file, reason=reason))
            tick.reports.append(f"{file.name} is held. {reason}")
            tick.waits[file.name] = f"is held: {reason}"
        else:
            self._now(self.records.wait_again(file, reason=reason, seconds=wait_seconds(file)))

    def _now(self, file: InboxFile) -> InboxFile:
        self._files[file.name] = file
        return file

    def _run(self, run_id: str | None) -> RunRecord | None:
        try:
            return None if run_id is None else lookup.load_run(self._database, run_id)
        except UsageError:  # cleaned up since
            return None

    def _read_arrived(self, tick: Tick) -> None:
        """Reads files that have not changed for the quiet period, in order of name, within the budget."""
        quiet = clock.stamp(clock.now() - timedelta(seconds=self._settings.inbox_quiet_s))
        until = time.monotonic() + TICK_S
        left = TICK_BYTES
        read: list[InboxFile] = []
        for file in [each for each in self._files.values() if each.state is InboxState.ARRIVING]:
            if file.seen_at > quiet:
                tick.waits[file.name] = "is arriving"
                continue
            if left <= 0 or time.monotonic() >= until:
                tick.waits[file.name] = "waits to be read"
                continue
            try:
                contents, left = self._read(file, left, until)
            except InputError as error:
                if not (self.folder.path / file.name).exists():
                    tick.waits[file.name] = "was taken out"
                    continue
                self._settle(tick, file, InboxState.REFUSED, str(error))
                continue
            if contents is None:
                tick.waits[file.name] = "is being read"
            else:
                read.append(
                    replace(file, digest=contents.digest, line_count=contents.lines, repositories=contents.repositories)
                )
        tick.arrived = [self._now(file) for file in self.records.record_read(read)]
        self._faults("inbox-read")

    def _settle_needless(self, tick: Tick) -> None:
        """What was read and needs no run: not only just now, since the process may have died after it was read."""
        for file in [each for each in self._files.values() if each.state is InboxState.WAITING and not each.has_begun]:
            if not file.line_count:
                self._settle(tick, file, InboxState.APPLIED, "It holds no line.")
            elif file.digest == file.applied_digest:
                run = f": run {file.run_id}" if file.run_id else ""
                self._settle(tick, file, InboxState.APPLIED, f"The same bytes were applied under this name{run}.")

    def _read(self, file: InboxFile, left: int, until: float) -> tuple[Contents | None, int]:
        """The contents, None where the budget ends before the file; and how many bytes are left of it."""
        key = (self.folder.path / file.name, *file.signature)
        reader = _half_read.pop(key, None) or InboxReader(
            key[0],
            default_repository=self._default_repository,
            max_expansion=self._settings.max_expansion,
            max_line_bytes=self._settings.max_line_bytes,
        )
        with ExitStack() as stack:
            stack.callback(reader.close)
            while size := reader.read_block():
                left -= size
                if left <= 0 or time.monotonic() >= until:
                    stack.pop_all()
                    _put_aside(key, reader)
                    return None, left
            return reader.contents(), left

    def _take_turns(self, tick: Tick) -> None:
        files = list(self._files.values())
        on_their_way = sum(file.state is InboxState.REQUESTED for file in files)
        turns = take_turns(files, self.records.progress(), places=self._settings.inbox_runs - on_their_way)
        for name, reason in turns.late.items():
            file = self._files[name]
            place = self.folder.place_of(replace(file, state=InboxState.REFUSED))
            command = f"elysiactl index sync {shlex.quote(str(place))} --collection {self._settings.collection}"
            self._settle(tick, file, InboxState.REFUSED, f"{reason} Apply it by hand, if it still holds: {command}")
        for name, reason in turns.waits.items():
            tick.waits.setdefault(name, reason)
        if turns.next:
            asked = self.records.request(turns.next)
            self._faults("inbox-requested")
            tick.requests.update({run_key(file): file for file in asked})

    def _settle(self, tick: Tick, file: InboxFile, state: InboxState, reason: str) -> None:
        self._now(self.records.settle(file, state, reason=reason or None))
        self._faults("inbox-settled")
        if state is InboxState.REFUSED:
            tick.reports.append(f"{file.name} is set aside. {reason}")

    def _put_away(self, tick: Tick) -> None:
        """Moves what is settled. One that cannot be moved does not keep the others from being asked for."""
        for file in self._files.values():
            if file.is_settled and file.place is None:
                try:
                    place = self.folder.put_away(file)
                except ElysiaError as error:
                    tick.reports.append(str(error))
                    continue
                self._faults("inbox-moved")
                self.records.record_place(file.name, place)
