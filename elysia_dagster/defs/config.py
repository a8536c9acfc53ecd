"""What a Dagster run can be told. A field that is left out means the setting of the process that runs the step."""

from pathlib import Path

from dagster import Config
from pydantic import Field

from elysia_dagster.errors import UsageError
from elysia_dagster.settings import Settings
from elysia_dagster.sync.request import SyncRequest
from elysia_dagster.sync.scan import default_roots


class ReadChangesetConfig(Config):
    """What to apply to which collection: ``changeset`` for a new changeset, or ``run_id`` to go on with a run."""

    changeset: str | None = Field(
        default=None, description="The changeset: a file of JSON lines or paths, plain, .gz or .zst."
    )
    digest: str = Field(
        default="",
        description="SHA-256 in hex that the changeset's decompressed bytes must have: another file under its name is "
        "refused. Set by the inbox.",
    )
    run_id: str | None = Field(
        default=None, description="Go on with this unfinished sync run from its spool; no changeset is read."
    )
    collection: str | None = Field(default=None, description="Collection to write (ELYSIACTL_COLLECTION).")
    root: list[str] | None = Field(
        default=None,
        description="Folders that hold the repositories (ELYSIACTL_ROOT; else the working directory of the run).",
    )
    repo: str | None = Field(default=None, description="Repository of lines that name none (ELYSIACTL_REPO).")
    store: str | None = Field(
        default=None, description="Store URL: lancedb:<folder> or weaviate:<address> (the store resource)."
    )
    embedder: str | None = Field(
        default=None, description="hashing, openai:<model>, fastembed:<model> or store (the embedder resource)."
    )
    batch_size: int | None = Field(
        default=None, description="Changes embedded, written and settled together (ELYSIACTL_BATCH_SIZE)."
    )
    max_retries: int | None = Field(
        default=None, description="Times that a failed line is tried again (ELYSIACTL_MAX_RETRY_ATTEMPTS)."
    )
    max_failures: str | None = Field(
        default=None,
        description='Lines ("25") or percent of them ("2.5%") that may fail before the run stops, resumable; with '
        "run_id, in place of what the run began with (ELYSIACTL_MAX_FAILURES).",
    )
    dry_run: bool = Field(default=False, description="Only say what would be done; nothing is changed.")
    force: bool = Field(default=False, description="Embed and write unchanged documents again.")
    adopt: bool = Field(
        default=False, description="Take over a collection that is there and was not made by this checkpoint."
    )
    null: bool = Field(default=False, description="The changeset is a list of paths separated by NUL.")


class CleanupCheckpointsConfig(Config):
    """How long finished runs are kept."""

    keep_days: float | None = Field(
        default=None, description="Days that finished runs are kept (ELYSIACTL_CHECKPOINT_CLEANUP_DAYS)."
    )


class FinalizeRunConfig(Config):
    """What a run with failed lines means for the job."""

    fail_on_failed_lines: bool = Field(
        default=True, description="Fail the job when lines failed; the rest of the changeset is applied either way."
    )


def request_of(config: ReadChangesetConfig, settings: Settings) -> SyncRequest:
    """The request that a new changeset makes. Raises ``UsageError`` where the config makes no sense."""
    if not config.changeset:
        raise UsageError(
            "Neither a changeset nor a run is named.",
            next_step="Set changeset (a file) or run_id (an unfinished run) in the config of read_changeset.",
        )
    batch_size = settings.batch_size if config.batch_size is None else config.batch_size
    max_retries = settings.max_retry_attempts if config.max_retries is None else config.max_retries
    if batch_size < 1 or max_retries < 0:
        raise UsageError(
            f"batch_size is {batch_size} and max_retries {max_retries}.",
            next_step="batch_size must be at least 1, max_retries at least 0.",
        )
    return SyncRequest(
        changeset=Path(config.changeset).expanduser(),
        collection=settings.collection if config.collection is None else config.collection,
        roots=tuple(Path(root).expanduser().absolute() for root in config.root or []) or default_roots(settings.root),
        repo=settings.repo if config.repo is None else config.repo,
        store=config.store or settings.store,
        embedder=config.embedder or settings.embedder,
        batch_size=batch_size,
        max_retries=max_retries,
        max_failures=settings.max_failures if config.max_failures is None else config.max_failures,
        null_separated=config.null,
        dry_run=config.dry_run,
        force=config.force,
        adopt=config.adopt,
        digest=config.digest,
    )
