"""The tables of the checkpoint database, in SQLAlchemy Core.

``sync_runs``, ``completed_lines`` and ``failed_lines`` begin with the columns of the earlier system, which people query
with ``sqlite3``. Times are text, RFC 3339 in UTC with microseconds, so that they sort and read as they stand.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

sync_runs = Table(
    "sync_runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("started_at", Text),
    Column("completed_at", Text),
    Column("input_source", Text),
    Column("total_lines", Integer, server_default=text("0")),
    Column("processed_lines", Integer, server_default=text("0")),
    Column("success_count", Integer, server_default=text("0")),
    Column("error_count", Integer, server_default=text("0")),
    Column("collection_name", Text),
    Column("dry_run", Boolean, server_default=text("false")),
    Column("status", Text, server_default=text("'running'")),
    Column("changeset_info", Text),
    # what the promises need beyond the earlier columns
    Column("sequence", Integer),
    # none: nothing takes this run up again (the earlier system's, a forgotten collection's)
    Column("identity", Text),
    Column("digest", Text),
    Column("store", Text),
    Column("options", Text),
    Column("attempt", Integer, nullable=False, server_default=text("1")),
    Column("self_contained", Boolean, nullable=False, server_default=text("false")),
    Column("last_error", Text),
    Column("lease_owner", Text),
    Column("lease_label", Text),
    Column("lease_since", Text),
    Column("lease_heartbeat", Text),
    Column("lease_expires_at", Text),
    Column("lease_parked", Boolean, nullable=False, server_default=text("false")),
    Column("lease_token", Integer, nullable=False, server_default=text("0")),
)
Index(
    "uq_sync_runs_unfinished",
    sync_runs.c.identity,
    unique=True,
    sqlite_where=sync_runs.c.status == text("'running'"),
    postgresql_where=sync_runs.c.status == text("'running'"),
)
Index("uq_sync_runs_sequence", sync_runs.c.sequence, unique=True)
Index("idx_sync_runs_identity", sync_runs.c.identity, sync_runs.c.sequence)

completed_lines = Table(
    "completed_lines",
    metadata,
    Column("run_id", Text, ForeignKey("sync_runs.run_id")),
    Column("line_number", Integer),
    Column("file_path", Text),
    Column("operation", Text),
    Column("repository", Text),
    Column("completed_at", Text),
    Column("processing_time_ms", Integer),
    Column("outcome", Text),
    Column("detail", Text),
    PrimaryKeyConstraint("run_id", "line_number"),
)
Index("idx_completed_lines_run", completed_lines.c.run_id)

failed_lines = Table(
    "failed_lines",
    metadata,
    Column("run_id", Text, ForeignKey("sync_runs.run_id")),
    Column("line_number", Integer),
    Column("file_path", Text),
    Column("operation", Text),
    Column("repository", Text),
    Column("error_message", Text),
    Column("payload", Text),
    Column("retry_count", Integer, server_default=text("0")),
    Column("last_attempt", Text),
    Column("error_kind", Text),
    Column("next_retry_at", Text),
    # asked to be tried again in the run's present attempt: unsettled until settled anew
    Column("pending", Boolean, nullable=False, server_default=text("false")),
    # the line asks one thing of one document, so that a newer run's change of it answers the line
    Column("single_document", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("run_id", "line_number"),
)
Index("idx_failed_lines_run", failed_lines.c.run_id)
Index("idx_failed_retry", failed_lines.c.retry_count, failed_lines.c.last_attempt)
Index("idx_failed_document", failed_lines.c.repository, failed_lines.c.file_path)

collections = Table(
    "collections",
    metadata,
    Column("collection_id", Integer, primary_key=True),
    Column("store", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("chunker", Text, nullable=False),
    # the run that took it over, 0 for one of our own making: no run before it counts as applied
    Column("adopted_sequence", Integer, nullable=False, server_default=text("0")),
    Column("created_at", Text, nullable=False),
    # the collection that it is being rebuilt from: until the switch nothing but the rebuild writes it
    Column("rebuilt_from", Integer),
    # the collection that has taken its place, or is just about to: no changeset is applied to it any more
    Column("replaced_by", Integer),
    UniqueConstraint("store", "name"),
)

documents = Table(
    "documents",
    metadata,
    Column("collection_id", Integer, ForeignKey("collections.collection_id"), nullable=False),
    Column("repository", Text, nullable=False),
    # in the order of its bytes: what lies below a folder is a range
    Column("path", Text().with_variant(Text(collation="C"), "postgresql"), nullable=False),
    Column("state", Text, nullable=False),
    # the version: the newest change that has moved this row
    Column("version_sequence", Integer, nullable=False),
    Column("version_line", Integer, nullable=False),
    Column("content_hash", Text),
    Column("write_hash", Text),
    Column("chunker", Text),
    Column("chunks", Integer, nullable=False),
    # the most chunks that may exist in the store
    Column("max_chunks", Integer, nullable=False),
    Column("outcome", Text),
    PrimaryKeyConstraint("collection_id", "repository", "path"),
    sqlite_with_rowid=False,
)
IS_UNSETTLED = text("documents.state IN ('writing', 'suspect')")
"""For queries, with the values in the statement's text: SQLite uses a partial index for no parameter."""

Index(
    "idx_documents_unsettled",
    documents.c.collection_id,
    documents.c.version_sequence,
    sqlite_where=text("state IN ('writing', 'suspect')"),
    postgresql_where=text("state IN ('writing', 'suspect')"),
)
Index(
    "idx_documents_absent",
    documents.c.collection_id,
    documents.c.version_sequence,
    sqlite_where=text("state = 'absent'"),
    postgresql_where=text("state = 'absent'"),
)

repository_changesets = Table(
    "repository_changesets",
    metadata,
    Column("collection_id", Integer, ForeignKey("collections.collection_id"), nullable=False),
    Column("repository", Text, nullable=False),
    Column("commit_id", Text),
    Column("parent", Text),
    Column("branch", Text),
    Column("record", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("incomplete", Boolean, nullable=False),
    Column("gap", Text),
    Column("moved_at", Text, nullable=False),
    PrimaryKeyConstraint("collection_id", "repository"),
)

removed_folders = Table(
    "removed_folders",
    metadata,
    Column("collection_id", Integer, ForeignKey("collections.collection_id"), nullable=False),
    Column("repository", Text, nullable=False),
    # '' for the whole repository
    Column("path", Text, nullable=False),
    Column("version_sequence", Integer, nullable=False),
    Column("version_line", Integer, nullable=False),
    PrimaryKeyConstraint("collection_id", "repository", "path", "version_sequence"),
)

run_repositories = Table(
    "run_repositories",
    metadata,
    Column("run_id", Text, ForeignKey("sync_runs.run_id"), nullable=False),
    Column("repository", Text, nullable=False),
    Column("collection_id", Integer, ForeignKey("collections.collection_id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    PrimaryKeyConstraint("run_id", "repository"),
)
Index(
    "idx_run_repositories",
    run_repositories.c.collection_id,
    run_repositories.c.repository,
    run_repositories.c.sequence,
)

repository_claims = Table(
    "repository_claims",
    metadata,
    Column("collection_id", Integer, ForeignKey("collections.collection_id"), nullable=False),
    Column("repository", Text, nullable=False),
    Column("run_id", Text, ForeignKey("sync_runs.run_id"), nullable=False),
    Column("claimed_at", Text, nullable=False),
    PrimaryKeyConstraint("collection_id", "repository"),
)
Index("idx_repository_claims_run", repository_claims.c.run_id)

dagster_steps = Table(
    "dagster_steps",
    metadata,
    Column("dagster_run_id", Text, nullable=False),
    Column("step_key", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("recorded_at", Text, nullable=False),
    PrimaryKeyConstraint("dagster_run_id", "step_key"),
)

sequences = Table(
    "sequences",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
)

inbox_files = Table(
    "inbox_files",
    metadata,
    # the folder and where its changesets go: two inboxes can share a database
    Column("inbox", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    Column("first_seen_at", Text, nullable=False),
    # since when size and time are what they are
    Column("seen_at", Text, nullable=False),
    # SHA-256 of the decompressed bytes; none before the file has been read
    Column("digest", Text),
    Column("line_count", Integer),
    # a JSON list
    Column("repositories", Text),
    Column("state", Text, nullable=False),
    # Dagster runs that were asked for under this name, ever: a part of the run key, so it never goes back
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    # those of this drop, for the backoff
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", Text),
    # the sync run that it became
    Column("run_id", Text),
    Column("reason", Text),
    # the digest of what was last applied under this name
    Column("applied_digest", Text),
    Column("settled_at", Text),
    # where the settled file lies now; none until it has been moved
    Column("place", Text),
    PrimaryKeyConstraint("inbox", "name"),
)
Index(
    "idx_inbox_files_open",
    inbox_files.c.inbox,
    inbox_files.c.name,
    sqlite_where=text("settled_at IS NULL OR place IS NULL"),
    postgresql_where=text("settled_at IS NULL OR place IS NULL"),
)

inbox_repositories = Table(
    "inbox_repositories",
    metadata,
    Column("inbox", Text, nullable=False),
    Column("repository", Text, nullable=False),
    # the last file, by name, that was applied to the repository
    Column("last_name", Text, nullable=False),
    PrimaryKeyConstraint("inbox", "repository"),
)
