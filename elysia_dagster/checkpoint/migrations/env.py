"""Alembic's entry: migrations run on the connection that ``upgrade_schema`` hands over."""

from alembic import context

from elysia_dagster.checkpoint.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the transaction is the caller's, on SQLite too
)
context.run_migrations()
