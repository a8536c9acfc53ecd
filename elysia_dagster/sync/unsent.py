"""Lines that need no store: blank, changeset records, unreadable, superseded. Found by the plan, settled after it.

They are written down beside the plan first, so that a killed process settles the rest of them when it comes back.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from elysia_dagster.checkpoint import lines
from elysia_dagster.checkpoint.claims import renew_lease
from elysia_dagster.checkpoint.records import CompletedLine, FailedLine
from elysia_dagster.errors import LineError
from elysia_dagster.models import ErrorKind, Outcome
from elysia_dagster.sync.confine import MAX_PATH_BYTES, MAX_REPOSITORY_BYTES
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.files import sync_folder
from elysia_dagster.sync.payload import described, payload_of
from elysia_dagster.sync.spool import OversizedLine

UNSENT_NAME = "plan-unsent.jsonl"

_SLICE_LINES = 2_000


class UnsentWriter:
    """Collects unsent lines in a file that appears under its name when ``finish`` is called."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_name(f".{path.name}.part")
        self._file: BinaryIO | None = None

    def restart(self) -> None:
        """Begins anew."""
        self.close()
        self._file = self._aside.open("wb")

    def blank(self, line: int) -> None:
        """An empty line."""
        self._write(line, outcome=Outcome.BLANK)

    def changeset(self, line: int, repository: str) -> None:
        """A ``new_changeset`` record."""
        self._write(line, outcome=Outcome.CHANGESET, operation="changeset", repository=repository)

    def superseded(self, *, line: int, path: str, operation: str, repository: str) -> None:
        """A line of which every change is overtaken by a later one of the same changeset."""
        self._write(line, outcome=Outcome.SUPERSEDED, path=path, operation=operation, repository=repository)

    def failed(self, line: int, raw: bytes, error: LineError, *, default: str) -> None:
        """A line that cannot be read, or names what may not be touched; ``default`` is the repository of a line that
        names none."""
        path, operation, repository = _told_by(raw, default)
        self._write(
            line,
            path=path,
            operation=operation,
            repository=repository,
            error=storable(str(error)),
            permanent=error.permanent,
            payload=payload_of(raw),
        )

    def oversized(self, line: int, raw: OversizedLine, limit: int) -> None:
        """A line that is too long to be held."""
        self._write(
            line,
            error=f"The line has {raw.size_bytes:,} bytes; the limit is {limit:,} (ELYSIACTL_MAX_LINE_BYTES).",
            permanent=True,
            payload=described(raw.start, raw.size_bytes, raw.sha256),
        )

    def finish(self) -> None:
        """Gives the file its name, its bytes on the disk."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        os.replace(self._aside, self._path)
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Removes what was not finished."""
        self.close()
        self._aside.unlink(missing_ok=True)

    def _write(self, line: int, *, outcome: Outcome | None = None, **fields: Any) -> None:
        assert self._file is not None
        if outcome is not None:
            fields["outcome"] = outcome.value
        self._file.write(orjson.dumps({"line": line, **fields}) + b"\n")


def _told_by(raw: bytes, default: str) -> tuple[str, str, str]:
    """Path, operation and repository as far as an unreadable line tells them; the last is '' where it may be any."""
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError:
        record = None
    if isinstance(record, dict):
        told = [record.get("path"), record.get("op"), record.get("repo") or default]
        path, operation, repository = (each if isinstance(each, str) else "" for each in told)
        return (
            storable(path, MAX_PATH_BYTES),
            storable(operation, MAX_REPOSITORY_BYTES) or "modify",
            storable(repository, MAX_REPOSITORY_BYTES),
        )
    text = raw[:512].decode("utf-8", "replace").strip()
    if text.startswith("{"):
        return "", "", ""
    return storable(text, MAX_PATH_BYTES), "modify", storable(default, MAX_REPOSITORY_BYTES)


def storable(text: str, most_bytes: int = 16_384) -> str:
    """Text from a line or about it, as every database takes it: 4,096 characters, no NUL, no lone surrogate.

    ``most_bytes`` where the column is part of an index.
    """
    data = text[:4096].replace("\0", "\\0").encode("utf-8", "replace")
    return data[:most_bytes].decode("utf-8", "ignore")


def iterate_unsent(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of the file beside a plan, each with ``line`` and ``outcome``, or ``error``."""
    path = folder / UNSENT_NAME
    if path.exists():
        with path.open("rb") as file:
            yield from map(orjson.loads, file)


def settle_unsent(work: Work, path: Path, *, leave: frozenset[int] = frozenset()) -> None:
    """Settles the lines of the file that are not settled yet, but ``leave``, in slices; removes the file at the end.

    Raises ``LeaseLost``, ``Interrupted``, and ``FailureBudgetSpent`` while there is a line left.
    """
    if not path.exists():
        return
    database = work.engine.database
    settled = lines.settled_lines_bitmap(database, work.run.run_id, work.run.total_lines)
    with open(path, "rb") as file:
        every = map(orjson.loads, file)
        rest = (fields for fields in every if not settled[fields["line"]] and fields["line"] not in leave)
        while slice_ := list(islice(rest, _SLICE_LINES)):
            work.pause_point()
            work.check_failures()
            failed = list(_failed(slice_))
            with database.write() as connection:
                lines.settle_lines(
                    connection,
                    work.lease,
                    completed=list(_completed(slice_)),
                    failed=failed,
                )
            work.budget.count(settled=len(slice_), failed=len(failed))
            work.engine.faults("unsent-settled")
    renew_lease(database, work.lease, durable=True)  # without this file nobody could settle those lines again
    path.unlink()
    work.engine.faults("unsent-removed")


def _completed(slice_: list[dict[str, Any]]) -> Iterator[CompletedLine]:
    for fields in slice_:
        if "outcome" in fields:
            yield CompletedLine(
                line=fields["line"],
                path=fields.get("path", ""),
                operation=fields.get("operation", ""),
                repository=fields.get("repository", ""),
                outcome=Outcome(fields["outcome"]),
            )


def _failed(slice_: list[dict[str, Any]]) -> Iterator[FailedLine]:
    for fields in slice_:
        if "error" in fields:
            yield FailedLine(
                line=fields["line"],
                path=fields.get("path", ""),
                operation=fields.get("operation", ""),
                repository=fields.get("repository", ""),
                message=fields["error"],
                kind=ErrorKind.PERMANENT if fields["permanent"] else ErrorKind.RETRYABLE,
                payload=fields["payload"],
            )
