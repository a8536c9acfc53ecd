"""What is known of the changesets that producers drop into a folder, and how far each repository has come by name."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "inbox_files",
        sa.Column("inbox", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("modified_ns", sa.BigInteger, nullable=False),
        sa.Column("first_seen_at", sa.Text, nullable=False),
        sa.Column("seen_at", sa.Text, nullable=False),
        sa.Column("digest", sa.Text),
        sa.Column("line_count", sa.Integer),
        sa.Column("repositories", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("next_attempt_at", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("applied_digest", sa.Text),
        sa.Column("settled_at", sa.Text),
        sa.Column("place", sa.Text),
        sa.PrimaryKeyConstraint("inbox", "name"),
    )
    open_files = sa.text("settled_at IS NULL OR place IS NULL")
    op.create_index(
        "idx_inbox_files_open",
        "inbox_files",
        ["inbox", "name"],
        sqlite_where=open_files,
        postgresql_where=open_files,
    )
    op.create_table(
        "inbox_repositories",
        sa.Column("inbox", sa.Text, nullable=False),
        sa.Column("repository", sa.Text, nullable=False),
        sa.Column("last_name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("inbox", "repository"),
    )
