"""The three tables as the earlier system made them; one that it did make is taken as it is."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    there = set(sa.inspect(op.get_bind()).get_table_names())
    if "sync_runs" not in there:
        op.create_table(
            "sync_runs",
            sa.Column("run_id", sa.Text, primary_key=True),
            sa.Column("started_at", sa.Text),
            sa.Column("completed_at", sa.Text),
            sa.Column("input_source", sa.Text),
            sa.Column("total_lines", sa.Integer, server_default=sa.text("0")),
            sa.Column("processed_lines", sa.Integer, server_default=sa.text("0")),
            sa.Column("success_count", sa.Integer, server_default=sa.text("0")),
            sa.Column("error_count", sa.Integer, server_default=sa.text("0")),
            sa.Column("collection_name", sa.Text),
            sa.Column("dry_run", sa.Boolean, server_default=sa.text("false")),
            sa.Column("status", sa.Text, server_default=sa.text("'running'")),
            sa.Column("changeset_info", sa.Text),
        )
    if "completed_lines" not in there:
        op.create_table(
            "completed_lines",
            sa.Column("run_id", sa.Text, sa.ForeignKey("sync_runs.run_id")),
            sa.Column("line_number", sa.Integer),
            sa.Column("file_path", sa.Text),
            sa.Column("operation", sa.Text),
            sa.Column("repository", sa.Text),
            sa.Column("completed_at", sa.Text),
            sa.Column("processing_time_ms", sa.Integer),
            sa.PrimaryKeyConstraint("run_id", "line_number"),
        )
    if "failed_lines" not in there:
        op.create_table(
            "failed_lines",
            sa.Column("run_id", sa.Text, sa.ForeignKey("sync_runs.run_id")),
            sa.Column("line_number", sa.Integer),
            sa.Column("file_path", sa.Text),
            sa.Column("operation", sa.Text),
            sa.Column("repository", sa.Text),
            sa.Column("error_message", sa.Text),
            sa.Column("payload", sa.Text),
            sa.Column("retry_count", sa.Integer, server_default=sa.text("0")),
            sa.Column("last_attempt", sa.Text),
            sa.PrimaryKeyConstraint("run_id", "line_number"),
        )
    op.create_index("idx_completed_lines_run", "completed_lines", ["run_id"], if_not_exists=True)
    op.create_index("idx_failed_lines_run", "failed_lines", ["run_id"], if_not_exists=True)
    op.create_index("idx_failed_retry", "failed_lines", ["retry_count", "last_attempt"], if_not_exists=True)
