"""The project's errors as Dagster shows them: the sentence that the shell prints, before any stack."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster import DagsterExecutionInterruptedError, Failure, MetadataValue

from elysia_dagster.errors import ElysiaError, Interrupted, TransientError
from elysia_dagster.exhaustion import exhausted
from elysia_dagster.sync.engine import NOT_RETRIED

INTERRUPTS = (DagsterExecutionInterruptedError, KeyboardInterrupt)
"""How Dagster tells a step that the run is to end. Left to itself it would count them among what the retry policy
mends: a run that somebody terminated would go on after a few seconds, and succeed."""


@contextmanager
def failing_in_words() -> Iterator[None]:
    """Raises ``Failure`` in place of an ``ElysiaError`` and an interrupt; only an outage lets the step be tried again.

    Every other exception is a bug and propagates as it is. Also serves as a decorator.
    """
    try:
        yield
    except ElysiaError as error:
        raise _failure(error) from error
    except INTERRUPTS as error:
        raise _failure(
            Interrupted(
                "Interrupted; what is settled stays settled.",
                next_step="Launch the job again, or see what can be resumed: elysiactl index status",
            )
        ) from error
    except Exception as error:
        if known := exhausted(error):
            raise _failure(known) from error
        raise


def _failure(error: ElysiaError) -> Failure:
    entries: dict[str, Any] = {"error": type(error).__name__}
    entries.update((name, str(value)) for name, value in error.ids.items())
    if isinstance(error, TransientError) and "run_id" in error.ids:
        run_id = error.ids["run_id"]
        entries["to go on"] = MetadataValue.md(f"`elysiactl index resume --run-id {run_id}`")
        entries["to give it up"] = MetadataValue.md(f"`elysiactl index abandon --run-id {run_id}`")
    return Failure(
        description=str(error),
        metadata=entries,
        allow_retries=isinstance(error, TransientError) and not isinstance(error, NOT_RETRIED),
    )
