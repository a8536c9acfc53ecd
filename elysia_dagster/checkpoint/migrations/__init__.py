"""The steps that bring an earlier checkpoint database to the present schema, run by Alembic."""
