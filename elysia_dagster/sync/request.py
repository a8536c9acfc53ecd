"""What a start asks for, and what it hands to the next stages."""

from dataclasses import dataclass
from pathlib import Path

from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.errors import UsageError

SPOOL_NAME = "changeset.jsonl"


@dataclass(frozen=True, kw_only=True)
class SyncRequest:
    """What a start asks for. ``changeset`` None reads ``stream`` (standard input).

    ``adopt`` takes over a collection that is not this checkpoint's; two starts that differ in it alone
    are the same run. ``rebuilds`` is the number of the collection that is made anew by it, in the ledger; ``source``
    says where ``stream`` comes from. ``digest``, where it is given, is the SHA-256 in hex that the decompressed bytes
    must have.
    """

    changeset: Path | None
    collection: str
    roots: tuple[Path, ...]
    repo: str = ""
    store: str = ""
    embedder: str = ""
    batch_size: int = 200
    max_retries: int = 3
    max_failures: str = ""
    null_separated: bool = False
    dry_run: bool = False
    force: bool = False
    adopt: bool = False
    rebuilds: int | None = None
    source: str = "<stdin>"
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class ChangesetManifest:
    """What the next stages work on. ``resumed`` says that an earlier process began the run; ``finished`` that there
    is nothing to do, because the same bytes were applied and nothing has changed since. ``planned_before`` and
    ``settled_before`` say how far earlier starts had come."""

    run_id: str
    total_lines: int
    digest: str
    input_source: str
    resumed: bool = False
    finished: bool = False
    planned_before: bool = False
    settled_before: int = 0


def manifest_of(run: RunRecord, *, resumed: bool, finished: bool = False) -> ChangesetManifest:
    """The manifest of a run that is there."""
    return ChangesetManifest(
        run_id=run.run_id,
        total_lines=run.total_lines,
        digest=run.digest or "",
        input_source=run.input_source or "",
        resumed=resumed,
        finished=finished,
    )


def check_collection_name(name: str) -> None:
    """Raises ``UsageError`` for a name that one of the stores could not keep apart from another (Weaviate's rule)."""
    if not (name[:1].isascii() and name[:1].isupper() and name.replace("_", "a").isalnum() and name.isascii()):
        raise UsageError(
            f"{name!r} cannot name a collection.",
            next_step="A name begins with an upper-case letter, then letters, digits and '_'.",
        )
