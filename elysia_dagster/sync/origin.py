"""Where a document's content is to be had again: in a run's spool, in the working tree, in git. Its SHA-256 tells."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from elysia_dagster.checkpoint import reconciling
from elysia_dagster.checkpoint.ledger import Key
from elysia_dagster.checkpoint.records import CollectionRecord, DocumentRow, RunRecord
from elysia_dagster.errors import InputError, LineError
from elysia_dagster.sync.confine import ConfinedFolder
from elysia_dagster.sync.content import Content, resolve_content
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.folders import is_working_tree
from elysia_dagster.sync.git import read_blob
from elysia_dagster.sync.locate import Locator
from elysia_dagster.sync.parse import ParsedLine, parse_record
from elysia_dagster.sync.planfile import PlannedChange
from elysia_dagster.sync.plans import RunPlan
from elysia_dagster.sync.request import SPOOL_NAME
from elysia_dagster.sync.scan import default_roots
from elysia_dagster.sync.spool import read_span

OPEN_RUNS = 8
"""Runs whose spool and plan are kept open at once."""


class _Source:
    """What one run was started with: its roots and, while they are there, its plan and its spool."""

    def __init__(self, engine: Engine, run: RunRecord) -> None:
        folder = engine.run_folder(run.run_id)
        roots = run.options.roots if run.options else ()
        self.plan: RunPlan | None = None
        self._spool = -1
        try:
            self._spool = os.open(folder / SPOOL_NAME, os.O_RDONLY | os.O_CLOEXEC)
            self.plan = RunPlan(folder)
        except (InputError, FileNotFoundError):  # dropped, or not made: there are other places
            pass
        self.locator = (
            Locator([Path(each) for each in roots], run.options.repo, self.plan.folders if self.plan else None)
            if roots and run.options
            else None
        )

    def close(self) -> None:
        """Closes what is open."""
        if self.locator is not None:
            self.locator.close()
        if self.plan is not None:
            self.plan.__exit__()
        if self._spool >= 0:
            os.close(self._spool)

    def changes(self, wanted: Sequence[tuple[int, Key]]) -> dict[Key, PlannedChange]:
        """The changes of these lines that ask for these documents."""
        if self.plan is None:
            return {}
        asked = set(wanted)
        lines = np.array(sorted({line for line, _ in wanted}), dtype=np.int32)
        found: dict[Key, PlannedChange] = {}
        for batch in range(self.plan.batches):
            here = self.plan.lines(batch)
            if not len(here) or here[-1] < lines[0] or here[0] > lines[-1] or not np.isin(here, lines).any():
                continue
            for change in self.plan.changes(batch):
                key = (change.repository, change.path)
                if (change.line, key) in asked:
                    found[key] = change
        return found

    def raw_line(self, change: PlannedChange) -> bytes:
        """The line of a change, as it stands in the spool."""
        return read_span(self._spool, change.offset, change.length)


class Origins:
    """Finds content again for a collection's documents; close it."""

    def __init__(self, engine: Engine, known: CollectionRecord) -> None:
        self._engine = engine
        self._known = known
        self._sources: dict[int, _Source] = {}
        self._here = Locator(default_roots(engine.settings.root), engine.settings.repo)
        self._commits = reconciling.commits_of(engine.database, known.collection_id)
        self.roots: dict[str, None] = dict.fromkeys(map(str, self._here.roots))
        """Every root that was looked under, in order."""

    def close(self) -> None:
        """Closes what is open."""
        for source in self._sources.values():
            source.close()
        self._sources.clear()
        self._here.close()

    def find(self, rows: Iterable[DocumentRow]) -> dict[Key, Content]:
        """The content of those documents of which it is to be had just as the ledger knows it.

        Raises ``ResourceExhausted``.
        """
        found: dict[Key, Content] = {}
        by_run: dict[int, list[DocumentRow]] = {}
        for row in rows:
            if row.content_hash is not None:
                by_run.setdefault(row.version[0], []).append(row)
        runs = reconciling.runs_of_sequences(
            self._engine.database, [each for each in by_run if each not in self._sources]
        )
        for sequence, some in sorted(by_run.items()):
            source = self._source(sequence, runs.get(sequence))
            changes = source.changes([(row.version[1], (row.repository, row.path)) for row in some]) if source else {}
            for row in some:
                key = (row.repository, row.path)
                for content in self._places(row, source, changes.get(key)):
                    if hashlib.sha256(content.data).hexdigest() == row.content_hash:
                        found[key] = content
                        break
        return found

    def commit_of(self, repository: str) -> str | None:
        """Where a repository stands in the collection."""
        return self._commits.get(repository)

    def is_gone(self, row: DocumentRow) -> bool:
        """Whether the document's repository lies here for certain, a working tree of its name, and lacks the file."""
        source = self._sources.get(row.version[0])
        for locator in (source.locator if source else None, self._here):
            folder = _folder(locator, row.repository)
            if folder is not None and folder.path.name == row.repository and is_working_tree(folder):
                return folder.kind_of(row.path)[0] == "missing"
        return False

    def _source(self, sequence: int, run: RunRecord | None) -> _Source | None:
        if sequence in self._sources:
            source = self._sources.pop(sequence)  # the longest unused comes first
        elif run is not None:
            if len(self._sources) >= OPEN_RUNS:
                self._sources.pop(next(iter(self._sources))).close()
            source = _Source(self._engine, run)
            self.roots |= dict.fromkeys(run.options.roots if run.options else ())
        else:
            return None
        self._sources[sequence] = source
        return source

    def _places(self, row: DocumentRow, source: _Source | None, change: PlannedChange | None) -> Iterator[Content]:
        """Content that may be the document's, the likeliest first."""
        most = self._engine.settings.max_document_bytes
        if source is not None and change is not None and change.is_record and not change.is_expanded:
            yield from _tried(lambda: _of_line(source, change, most))
        commits = [self._commits.get(row.repository)]
        if source is not None and source.plan is not None:
            commits.append(source.plan.commits.get(row.repository))
        for locator in (source.locator if source else None, self._here):
            folder = _folder(locator, row.repository)
            if folder is None:
                continue
            yield from _tried(lambda: _of_file(folder, row.path, most))  # noqa: B023  called within this turn
            if is_working_tree(folder):
                for commit in dict.fromkeys([*commits, "HEAD"]):
                    data = read_blob(folder.path, commit, row.path, max_bytes=most) if commit else None
                    if data is not None:
                        yield Content(data=data, modified_at=None)


def _folder(locator: Locator | None, repository: str) -> ConfinedFolder | None:
    try:
        return locator.folder(repository) if locator is not None else None
    except LineError:
        return None


def _of_line(source: _Source, change: PlannedChange, max_bytes: int) -> Content | None:
    parsed = parse_record(source.raw_line(change))
    if not isinstance(parsed, ParsedLine):
        return None
    found = resolve_content(
        parsed.record,
        path=change.path,
        folder=_folder(source.locator, change.repository),
        roots=source.locator.roots if source.locator is not None else (),  # a rebuild's lines carry all
        max_document_bytes=max_bytes,
    )
    return found if isinstance(found, Content) else None


def _of_file(folder: ConfinedFolder, path: str, max_bytes: int) -> Content:
    file = folder.read_file(path, max_bytes=max_bytes)
    return Content(data=file.data, modified_at=file.modified_at)


def _tried(place: Callable[[], Content | None]) -> Iterator[Content]:
    try:
        found = place()
    except LineError:
        return
    if found is not None:
        yield found
