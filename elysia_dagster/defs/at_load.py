"""The settings that definitions are made with: crons, intervals, names."""

from elysia_dagster.errors import UsageError
from elysia_dagster.settings import Settings


def settings_at_load() -> Settings:
    """The environment's settings; the defaults where one of them cannot be read.

    A code location that does not load tells an operator little: what uses the settings reads them again when it runs,
    and fails with the sentence that names the variable.
    """
    try:
        return Settings.from_environment()
    except UsageError:
        return Settings()
