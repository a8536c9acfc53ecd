"""A checkpoint database with one collection, and short ways to open runs and take leases in it."""

import secrets
from typing import Any

from sqlalchemy import text

from elysia_dagster.checkpoint import claims, collections, ledger, lookup, runs
from elysia_dagster.checkpoint.claims import Lease
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.owner import Host, Owner, this_host
from elysia_dagster.checkpoint.records import CompletedLine, DocumentRow, FailedLine, Intent, RunOptions, RunRecord
from elysia_dagster.checkpoint.schema import metadata
from elysia_dagster.models import ErrorKind, Outcome

STORE = "recording:"
REPOSITORY = "repo"

ELSEWHERE = Host(name="elsewhere", boot_id="another", pid_namespace="pid:[1]")
"""A host that this one can tell nothing of."""

OPTIONS = RunOptions(
    roots=("/src",), repo="", null_separated=False, embedder="hashing", batch_size=200, force=False, max_retries=3
)


class Checkpoint:
    """Named transitions on ``database`` with sensible arguments."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.host = this_host()
        self.me = Owner.this_process(self.host)
        self.collection = self.register("Demo")

    def register(self, name: str) -> int:
        """The id of a collection of that name."""
        return collections.register_collection(
            self.database, store=STORE, name=name, incarnation=name, model="m", dimensions=4, chunker="c"
        ).collection_id

    def start(
        self, lines: int = 3, *, identity: str = "", dry_run: bool = False, collection: str = "Demo"
    ) -> RunRecord:
        """A new run of so many lines."""
        identity = identity or secrets.token_hex(8)
        return runs.start_run(
            self.database,
            run_id=runs.new_run_id(),
            identity=identity,
            digest="d",
            input_source="<stdin>",
            total_lines=lines,
            store=STORE,
            collection=collection,
            dry_run=dry_run,
            options=OPTIONS,
        )[0]

    def take(self, run: RunRecord, owner: Owner | None = None, *, label: str = "", seconds: float = 60.0) -> Lease:
        """The run's lease, for this process or another."""
        return claims.take_lease(
            self.database,
            lookup.load_run(self.database, run.run_id),
            collection_id=self.collection,
            owner=owner or self.me,
            label=label,
            seconds=seconds,
        )

    def held(self, lines: int = 3, **options: Any) -> Lease:
        """The lease of a new run that holds ``REPOSITORY`` as well."""
        return self.take(self.start(lines, **options))

    def claim(self, lease: Lease, *repositories: str) -> None:
        """Claims repositories for the run."""
        claims.claim_repositories(self.database, lease, frozenset(repositories))

    def claimed(self) -> dict[str, str]:
        """The run that holds each repository."""
        return dict(self.rows("SELECT repository, run_id FROM repository_claims"))

    def intend(self, lease: Lease, path: str, line: int, *, chunks: int = 1, content_hash: str = "h") -> int | None:
        """The verdict on one intended change."""
        intent = Intent(repository=REPOSITORY, path=path, line=line, content_hash=content_hash, chunks=chunks)
        verdict = ledger.intend_batch(self.database, lease, [intent])[REPOSITORY, path]
        return None if verdict is None else verdict.most

    def document(self, path: str) -> DocumentRow:
        """The ledger's row of a document."""
        return ledger.fetch_documents(self.database, self.collection, [(REPOSITORY, path)])[REPOSITORY, path]

    def run(self, lease: Lease) -> RunRecord:
        """The run as it stands."""
        return lookup.load_run(self.database, lease.run_id)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def execute(self, statement: str, **values: Any) -> None:
        """Changes rows behind the project's back."""
        with self.database.write() as connection:
            connection.execute(text(statement), values)

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        return {table: sorted(self.rows(f"SELECT * FROM {table}"), key=repr) for table in metadata.tables}


def completed(line: int, path: str = "a.py", outcome: Outcome = Outcome.INDEXED) -> CompletedLine:
    """A completed line."""
    return CompletedLine(line=line, path=path, operation="modify", repository=REPOSITORY, outcome=outcome)


def failed(
    line: int, path: str = "a.py", kind: ErrorKind = ErrorKind.RETRYABLE, *, message: str = "no", single: bool = True
) -> FailedLine:
    """A failed line."""
    return FailedLine(
        line=line,
        path=path,
        operation="modify",
        repository=REPOSITORY,
        message=message,
        kind=kind,
        payload="{}",
        single_document=single,
    )
