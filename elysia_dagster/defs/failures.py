"""The project's errors as Dagster shows them: the sentence that the shell prints, before any stack."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import Failure

from elysia_dagster.errors import ElysiaError, Interrupted, LeaseLost, RepositoriesHeld, TransientError

NOT_RETRIED = (RepositoriesHeld, LeaseLost, Interrupted)
"""Transient, but somebody else's work or somebody's wish: a second try in a few seconds would only be in the way."""


@contextmanager
def failing_in_words() -> Iterator[None]:
    """Raises ``Failure`` in place of an ``ElysiaError``; only an outage lets the step's retry policy try again.

    Every other exception is a bug and propagates as it is.
    """
    try:
        yield
    except ElysiaError as error:
        raise Failure(
            description=str(error),
            metadata={"error": type(error).__name__, **{name: str(value) for name, value in error.ids.items()}},
            allow_retries=isinstance(error, TransientError) and not isinstance(error, NOT_RETRIED),
        ) from error
