"""The rows of the checkpoint as the rest of the project sees them.

Those that are made for every line are named tuples: made in half the time of a frozen dataclass or less.
"""

import json
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import RowMapping

from elysia_dagster.models import DocumentState, ErrorKind, Outcome, RunStatus


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run was started with, kept so that a resume needs no option again."""

    roots: tuple[str, ...]
    repo: str
    null_separated: bool
    embedder: str
    batch_size: int
    force: bool
    max_retries: int
    max_failures: str = ""

    def to_json(self) -> str:
        """As ``sync_runs.options`` keeps it."""
        return json.dumps({**self.__dict__, "roots": list(self.roots)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "RunOptions":
        """The options that ``to_json`` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "roots": tuple(fields["roots"])})


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A row of ``sync_runs``. ``options`` and ``sequence`` are None for a run of the earlier system."""

    run_id: str
    started_at: str
    completed_at: str | None
    input_source: str | None
    total_lines: int
    processed_lines: int
    success_count: int
    error_count: int
    collection_name: str
    dry_run: bool
    status: RunStatus
    changeset_info: str | None
    sequence: int | None
    identity: str | None
    digest: str | None
    store: str | None
    options: RunOptions | None
    attempt: int
    self_contained: bool
    last_error: str | None
    lease_owner: str | None
    lease_label: str | None
    lease_since: str | None
    lease_heartbeat: str | None
    lease_expires_at: str | None
    lease_parked: bool
    lease_token: int

    @property
    def is_half_retried(self) -> bool:
        """Whether a retry reopened the run and did not bring it to its end: every line may be settled by now."""
        return self.status is RunStatus.RUNNING and self.attempt > 1

    @classmethod
    def from_row(cls, row: RowMapping) -> "RunRecord":
        """From a whole row. Raises ``ValueError`` for a status that this program does not know."""
        values = dict(row)
        values["status"] = RunStatus(values["status"])
        values["dry_run"] = bool(values["dry_run"])
        values["options"] = RunOptions.from_json(values["options"]) if values["options"] else None
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class CollectionRecord:
    """A row of ``collections``: what the ledger knows of a collection.

    ``rebuilt_from`` and ``replaced_by`` name other rows, see ``checkpoint/rebuilding.py``.
    """

    collection_id: int
    store: str
    name: str
    incarnation: str
    model: str
    dimensions: int
    chunker: str
    adopted_sequence: int = 0
    rebuilt_from: int | None = None
    replaced_by: int | None = None


class DocumentRow(NamedTuple):
    """A row of the ledger. ``version`` is (sequence of the run, line)."""

    repository: str
    path: str
    state: DocumentState
    version: tuple[int, int]
    content_hash: str | None
    write_hash: str | None
    chunker: str | None
    chunks: int
    max_chunks: int
    outcome: str | None


class Intent(NamedTuple):
    """What one change is about to do to the store: at most ``chunks`` chunks will exist for the document."""

    repository: str
    path: str
    line: int
    content_hash: str | None
    chunks: int


class Verdict(NamedTuple):
    """What an intent is answered: ``most`` chunks of the document may exist in the store from now on.

    ``before`` is the state that the document was in, None where the ledger had no row of it.
    """

    most: int
    before: DocumentState | None


class Settlement(NamedTuple):
    """What became of one document. Where nothing is written, the row must still say what was found: ``state`` and
    ``content_hash``."""

    repository: str
    path: str
    line: int
    state: DocumentState
    outcome: Outcome
    is_written: bool
    content_hash: str | None = None
    write_hash: str | None = None
    chunker: str | None = None
    chunks: int = 0
    max_chunks: int = 0


class CompletedLine(NamedTuple):
    """A line that is completed; ``detail`` says why it was skipped, or what else is worth knowing."""

    line: int
    path: str
    operation: str
    repository: str
    outcome: Outcome
    detail: str | None = None
    milliseconds: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedLine:
    """A line that failed in this attempt."""

    line: int
    path: str
    operation: str
    repository: str
    message: str
    kind: ErrorKind
    payload: str
    single_document: bool = False
