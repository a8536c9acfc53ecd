"""Runs the migrations on an open connection, inside the caller's transaction: all of them or none."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade_schema(connection: Connection) -> None:
    """Brings the database to the newest revision. A database of the earlier system has its three tables and no
    revision: the first migration leaves tables that are there as they are."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
