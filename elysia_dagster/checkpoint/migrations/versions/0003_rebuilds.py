"""Which collection is made anew from which, and which has taken another's place."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("collections", sa.Column("rebuilt_from", sa.Integer))
    op.add_column("collections", sa.Column("replaced_by", sa.Integer))
