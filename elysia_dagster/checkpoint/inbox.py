"""What is known of each file of an inbox, and how far each repository has come: the transitions of ``inbox_files``."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, insert, select, text, update

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.schema import inbox_files, inbox_repositories
from elysia_dagster.errors import CheckpointError
from elysia_dagster.models import InboxState

SETTLED = (InboxState.APPLIED, InboxState.REFUSED)
_ROWS = 500
"""Rows of one statement."""

_IS_OPEN: Any = text("(settled_at IS NULL OR place IS NULL)")


def _slices(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _ROWS] for start in range(0, len(names), _ROWS))


Signature = tuple[int, int]
"""Size in bytes and time of modification in ns: what tells that a file is still the same."""


def inbox_name(folder: Path, collection: str, store: str) -> str:
    """An inbox is a folder and where its changesets go: applied to one collection, a file is not yet applied to
    another. ``store`` as it is set, '' for the default."""
    return f"{folder} into {collection}{f' at {store}' if store else ''}"


@dataclass(frozen=True, slots=True)
class InboxFile:
    """A row of ``inbox_files``; times are as stored. ``repositories`` and ``digest`` are None until it is read.

    Ten thousand of them may be made in a tick: by position, which keyword arguments would double the time of.
    """

    name: str
    size_bytes: int
    modified_ns: int
    first_seen_at: str
    seen_at: str
    digest: str | None
    line_count: int | None
    repositories: tuple[str, ...] | None
    state: InboxState
    attempt: int
    tries: int
    next_attempt_at: str | None
    run_id: str | None
    reason: str | None
    applied_digest: str | None
    settled_at: str | None
    place: str | None

    @classmethod
    def from_row(cls, row: Row[Any]) -> "InboxFile":
        """A row of ``_COLUMNS``. Raises ``ValueError`` for a state that is none."""
        values = list(row)
        values[_STATE] = InboxState(values[_STATE])
        if values[_REPOSITORIES] is not None:
            values[_REPOSITORIES] = tuple(orjson.loads(values[_REPOSITORIES]))
        return cls(*values)

    @property
    def signature(self) -> Signature:
        """Of the file as it was last seen."""
        return self.size_bytes, self.modified_ns

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in SETTLED

    @property
    def has_begun(self) -> bool:
        """Whether a run was asked for: some of it may be applied."""
        return self.tries > 0


def _may_be_withdrawn(file: InboxFile) -> bool:
    """Whether a file that is no longer there is given up by that: nothing of it is under way, or could be resumed."""
    if file.state is InboxState.HELD:
        return file.run_id is None
    return file.state in (InboxState.ARRIVING, InboxState.WAITING)


_COLUMNS = [inbox_files.c[each.name] for each in fields(InboxFile)]
_NAMES = [column.name for column in _COLUMNS]
_STATE = _NAMES.index("state")
_REPOSITORIES = _NAMES.index("repositories")


class InboxRecords:
    """The rows of one inbox. Every method that writes is one transaction."""

    def __init__(self, database: Database, inbox: str) -> None:
        self._database = database
        self._inbox = inbox

    def record_seen(self, seen: Mapping[str, Signature], *, keeps_settled: bool) -> None:
        """Compares with what lies in the folder now: what is new or changed is arriving, what was withdrawn is
        forgotten. A file that a run was asked for stays as it is. ``keeps_settled``: settled files stay in the folder.
        """
        known = {file.name: file for file in self._select(_IS_OPEN)}
        missing = [name for name in seen if name not in known]
        known |= {file.name: file for names in _slices(missing) for file in self._named(names)}
        now = clock.stamp()
        new: list[str] = []
        changed: list[str] = []
        for name, signature in seen.items():
            file = known.get(name)
            if file is None:
                new.append(name)
            elif self._is_another_drop(file, signature, now, keeps_settled=keeps_settled):
                changed.append(name)
        withdrawn = [file.name for file in known.values() if file.name not in seen and _may_be_withdrawn(file)]
        if not (new or changed or withdrawn):
            return
        with self._database.write() as connection:
            self._insert(connection, {name: seen[name] for name in new}, now)
            self._arrive_again(connection, {name: seen[name] for name in changed}, known, now)
            self._forget(connection, [known[name] for name in withdrawn])

    @staticmethod
    def _is_another_drop(file: InboxFile, signature: Signature, now: str, *, keeps_settled: bool) -> bool:
        if file.state in (InboxState.REQUESTED, InboxState.HELD):
            return False  # its run refuses other bytes than were read, and what is settled is moved if it is the same
        if file.is_settled and file.place is not None and not (keeps_settled and file.place):
            return True  # that one was moved away, or is gone
        if file.state is InboxState.ARRIVING and file.seen_at > now:
            return True  # the clock was set back meanwhile
        return file.signature != signature

    def _insert(self, connection: Connection, seen: Mapping[str, Signature], now: str) -> None:
        rows = [
            {
                "inbox": self._inbox,
                "name": name,
                "size_bytes": size,
                "modified_ns": modified,
                "first_seen_at": now,
                "seen_at": now,
                "state": InboxState.ARRIVING.value,
            }
            for name, (size, modified) in seen.items()
        ]
        if rows:
            connection.execute(insert(inbox_files), rows)

    def _arrive_again(
        self, connection: Connection, seen: Mapping[str, Signature], known: Mapping[str, InboxFile], now: str
    ) -> None:
        rows = [
            {
                "its_name": name,
                "size_bytes": size,
                "modified_ns": modified,
                "first_seen_at": now if known[name].is_settled else min(now, known[name].first_seen_at),
            }
            for name, (size, modified) in seen.items()
        ]
        if rows:
            connection.execute(
                update(inbox_files)
                .where(inbox_files.c.inbox == self._inbox, inbox_files.c.name == bindparam("its_name"))
                .values(
                    seen_at=now,
                    state=InboxState.ARRIVING.value,
                    digest=None,
                    line_count=None,
                    repositories=None,
                    tries=0,
                    next_attempt_at=None,
                    reason=None,
                    settled_at=None,
                    place=None,
                    size_bytes=bindparam("size_bytes"),
                    modified_ns=bindparam("modified_ns"),
                    first_seen_at=bindparam("first_seen_at"),
                ),
                rows,
            )

    def _forget(self, connection: Connection, files: Sequence[InboxFile]) -> None:
        """One that has been applied, or asked for, before keeps its row: its attempts go on counting."""
        for file in files:
            if file.attempt:
                self._update(
                    connection,
                    file.name,
                    state=InboxState.REFUSED.value,
                    reason="It was taken out of the inbox.",
                    settled_at=clock.stamp(),
                    place="",
                )
                if file.run_id is not None:
                    self._advance(connection, file)
        names = [file.name for file in files if not file.attempt]
        for some in _slices(names):
            connection.execute(
                delete(inbox_files).where(inbox_files.c.inbox == self._inbox, inbox_files.c.name.in_(some))
            )

    def open_files(self) -> dict[str, InboxFile]:
        """Those that are not settled, or are settled and not yet moved; by name, in order of its UTF-8."""
        files = {file.name: file for file in self._select(_IS_OPEN)}
        return {name: files[name] for name in sorted(files, key=str.encode)}

    def every_file(self, *, most: int) -> list[InboxFile]:
        """The files that were seen last, those that are not settled first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(*_COLUMNS)
                .where(inbox_files.c.inbox == self._inbox)
                .order_by(inbox_files.c.settled_at.is_not(None), inbox_files.c.settled_at.desc(), inbox_files.c.name)
                .limit(most)
            )
            return [InboxFile.from_row(row) for row in rows]

    def _named(self, names: Iterable[str]) -> list[InboxFile]:
        return self._select(inbox_files.c.name.in_(list(names)))

    def _select(self, condition: ColumnElement[bool]) -> list[InboxFile]:
        with self._database.read() as connection:
            rows = connection.execute(select(*_COLUMNS).where(inbox_files.c.inbox == self._inbox, condition))
            return [InboxFile.from_row(row) for row in rows]

    def progress(self) -> dict[str, str]:
        """The name of the last file that was applied to each repository."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(inbox_repositories.c.repository, inbox_repositories.c.last_name).where(
                    inbox_repositories.c.inbox == self._inbox
                )
            )
            return {repository: name for repository, name in rows}  # noqa: C416  a row is no pair to a type checker

    def record_read(self, files: Sequence[InboxFile]) -> list[InboxFile]:
        """Digest, number of lines and repositories of files that were read: they are waiting from now on."""
        rows = [
            {
                "its_name": file.name,
                "digest": file.digest,
                "line_count": file.line_count,
                "repositories": json.dumps(file.repositories),
            }
            for file in files
        ]
        if rows:
            with self._database.write() as connection:
                connection.execute(
                    update(inbox_files)
                    .where(inbox_files.c.inbox == self._inbox, inbox_files.c.name == bindparam("its_name"))
                    .values(
                        state=InboxState.WAITING.value,
                        digest=bindparam("digest"),
                        line_count=bindparam("line_count"),
                        repositories=bindparam("repositories"),
                    ),
                    rows,
                )
        return [replace(file, state=InboxState.WAITING) for file in files]

    def request(self, files: Sequence[InboxFile]) -> list[InboxFile]:
        """A run is about to be asked for, for each. From now on it is asked for under the same key until it is there.

        Returns the files as they are now. Raises ``CheckpointError`` for one that does not wait.
        """
        asked = []
        with self._database.write() as connection:
            for file in files:
                values: dict[str, Any] = {
                    "attempt": file.attempt + 1,
                    "tries": file.tries + 1,
                    "next_attempt_at": None,
                    "reason": None,
                }
                if not file.has_begun:  # what an earlier file of this name became says nothing of this one
                    values["run_id"] = None
                changed = connection.execute(
                    update(inbox_files)
                    .where(
                        *self._is(file.name),
                        inbox_files.c.state == InboxState.WAITING.value,
                        inbox_files.c.attempt == file.attempt,
                    )
                    .values(state=InboxState.REQUESTED.value, **values)
                )
                if changed.rowcount != 1:
                    raise CheckpointError(
                        f"{file.name} of the inbox is not waiting any more.",
                        next_step="Another sensor seems to work on the same inbox: let one of them alone run.",
                    )
                asked.append(replace(file, state=InboxState.REQUESTED, **values))
        return asked

    def wait_again(self, file: InboxFile, *, reason: str, seconds: float) -> InboxFile:
        """The run it had has ended before every line was settled: it is asked for again after so long."""
        return self._move(file, InboxState.WAITING, reason=reason, next_attempt_at=clock.stamp_after(seconds))

    def hold(self, file: InboxFile, *, reason: str) -> InboxFile:
        """Nothing is asked for any more until somebody has gone on with its run, or has given it up."""
        return self._move(file, InboxState.HELD, reason=reason)

    def link_run(self, file: InboxFile, run_id: str) -> InboxFile:
        """The sync run that the file became."""
        return self._move(file, file.state, run_id=run_id)

    def settle(self, file: InboxFile, state: InboxState, *, reason: str | None) -> InboxFile:
        """Nothing more happens to the file but being moved. Where a run has worked on it, its repositories have come
        as far as its name."""
        values: dict[str, Any] = {"reason": reason, "settled_at": clock.stamp()}
        if state is InboxState.APPLIED:
            values["applied_digest"] = file.digest
        with self._database.write() as connection:
            self._update(connection, file.name, state=state.value, **values)
            if state is InboxState.APPLIED or file.run_id is not None:
                self._advance(connection, file)
        return replace(file, state=state, **values)

    def _move(self, file: InboxFile, state: InboxState, **values: Any) -> InboxFile:
        with self._database.write() as connection:
            self._update(connection, file.name, state=state.value, **values)
        return replace(file, state=state, **values)

    def _advance(self, connection: Connection, file: InboxFile) -> None:
        table = inbox_repositories
        for repository in file.repositories or ():
            here = (table.c.inbox == self._inbox, table.c.repository == repository)
            last = connection.execute(select(table.c.last_name).where(*here)).scalar_one_or_none()
            if last is None:
                connection.execute(insert(table).values(inbox=self._inbox, repository=repository, last_name=file.name))
            elif last.encode() < file.name.encode():
                connection.execute(update(table).where(*here).values(last_name=file.name))

    def record_place(self, name: str, place: str) -> None:
        """Where a settled file lies from now on; '' for one that is gone."""
        with self._database.write() as connection:
            self._update(connection, name, place=place)

    def _is(self, name: str) -> tuple[ColumnElement[bool], ...]:
        return inbox_files.c.inbox == self._inbox, inbox_files.c.name == name

    def _update(self, connection: Connection, name: str, **values: Any) -> None:
        connection.execute(update(inbox_files).where(*self._is(name)).values(**values))


def drop_settled_files(database: Database, before: str) -> int:
    """Removes the rows of files that were settled before a stored moment, once they are moved; how many.

    How far each repository has come stays: a name that was forgotten still comes too late.
    """
    with database.write() as connection:
        return connection.execute(
            delete(inbox_files).where(
                inbox_files.c.settled_at < before,
                inbox_files.c.place.is_not(None),
                inbox_files.c.state.in_([state.value for state in SETTLED]),
            )
        ).rowcount
