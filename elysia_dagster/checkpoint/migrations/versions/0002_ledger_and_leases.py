"""What the promises need: identity, order and lease of a run, outcomes, the ledger of documents, claims."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

FALSE = sa.text("false")


def upgrade() -> None:
    _extend_runs_and_lines()
    _create_ledger()
    _create_claims()


def _extend_runs_and_lines() -> None:
    for column in (
        sa.Column("sequence", sa.Integer),
        sa.Column("identity", sa.Text),
        sa.Column("digest", sa.Text),
        sa.Column("store", sa.Text),
        sa.Column("options", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("self_contained", sa.Boolean, nullable=False, server_default=FALSE),
        sa.Column("last_error", sa.Text),
        sa.Column("lease_owner", sa.Text),
        sa.Column("lease_label", sa.Text),
        sa.Column("lease_since", sa.Text),
        sa.Column("lease_heartbeat", sa.Text),
        sa.Column("lease_expires_at", sa.Text),
        sa.Column("lease_parked", sa.Boolean, nullable=False, server_default=FALSE),
        sa.Column("lease_token", sa.Integer, nullable=False, server_default=sa.text("0")),
    ):
        op.add_column("sync_runs", column)
    running = sa.text("status = 'running'")
    op.create_index(
        "uq_sync_runs_unfinished",
        "sync_runs",
        ["identity"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_index("uq_sync_runs_sequence", "sync_runs", ["sequence"], unique=True)
    op.create_index("idx_sync_runs_identity", "sync_runs", ["identity", "sequence"])
    op.add_column("completed_lines", sa.Column("outcome", sa.Text))
    op.add_column("completed_lines", sa.Column("detail", sa.Text))
    op.add_column("failed_lines", sa.Column("error_kind", sa.Text))
    op.add_column("failed_lines", sa.Column("next_retry_at", sa.Text))
    op.add_column("failed_lines", sa.Column("pending", sa.Boolean, nullable=False, server_default=FALSE))
    op.add_column("failed_lines", sa.Column("single_document", sa.Boolean, nullable=False, server_default=FALSE))
    op.create_index("idx_failed_document", "failed_lines", ["repository", "file_path"])


def _create_ledger() -> None:
    op.create_table(
        "collections",
        sa.Column("collection_id", sa.Integer, primary_key=True),
        sa.Column("store", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("incarnation", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.Column("chunker", sa.Text, nullable=False),
        sa.Column("adopted_sequence", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.UniqueConstraint("store", "name"),
    )
    op.create_table(
        "documents",
        _collection(),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("path", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version_sequence", sa.Integer, nullable=False),
        sa.Column("version_line", sa.Integer, nullable=False),
        sa.Column("content_hash", sa.Text),
        sa.Column("write_hash", sa.Text),
        sa.Column("chunker", sa.Text),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("max_chunks", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.PrimaryKeyConstraint("collection_id", "repository", "path"),
        sqlite_with_rowid=False,
    )
    unsettled = sa.text("state IN ('writing', 'suspect')")
    op.create_index(
        "idx_documents_unsettled",
        "documents",
        ["collection_id", "version_sequence"],
        sqlite_where=unsettled,
        postgresql_where=unsettled,
    )
    absent = sa.text("state = 'absent'")
    op.create_index(
        "idx_documents_absent",
        "documents",
        ["collection_id", "version_sequence"],
        sqlite_where=absent,
        postgresql_where=absent,
    )
    op.create_table(
        "repository_changesets",
        _collection(),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("commit_id", sa.Text),
        sa.Column("parent", sa.Text),
        sa.Column("branch", sa.Text),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("incomplete", sa.Boolean, nullable=False),
        sa.Column("gap", sa.Text),
        sa.Column("moved_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "repository"),
    )
    op.create_table(
        "removed_folders",
        _collection(),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("version_sequence", sa.Integer, nullable=False),
        sa.Column("version_line", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "repository", "path", "version_sequence"),
    )
    op.create_table(
        "sequences",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
    )


def _create_claims() -> None:
    op.create_table(
        "run_repositories",
        sa.Column("run_id", sa.Text, sa.ForeignKey("sync_runs.run_id"), nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        _collection(),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "repository"),
    )
    op.create_index("idx_run_repositories", "run_repositories", ["collection_id", "repository", "sequence"])
    op.create_table(
        "repository_claims",
        _collection(),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, sa.ForeignKey("sync_runs.run_id"), nullable=False),
        sa.Column("claimed_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "repository"),
    )
    op.create_index("idx_repository_claims_run", "repository_claims", ["run_id"])
    op.create_table(
        "dagster_steps",
        sa.Column("dagster_run_id", sa.Text, nullable=False),
        sa.Column("step_key", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("dagster_run_id", "step_key"),
    )


def _collection() -> sa.Column[int]:
    return sa.Column("collection_id", sa.Integer, sa.ForeignKey("collections.collection_id"), nullable=False)
