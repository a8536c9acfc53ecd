"""The errors of the project, one tree.

``ElysiaError``                what went wrong, and (``next_step``) what to type next
    ``TransientError``         the world may mend: an outage, a claim held by another run; nothing is charged to a line
        ``StoreUnavailable``   the vector store did not answer (exit 3)
        ``EmbedderUnavailable``the embedder did not answer (exit 3)
        ``ResourceExhausted``  disk, memory or file handles used up (exit 3)
        ``RepositoriesHeld``   another run holds a repository or the run itself (exit 4)
        ``LeaseLost``          this process was overtaken: its token is no longer the run's (exit 4)
        ``Interrupted``        SIGINT or SIGTERM; the run can be resumed (exit 130)
    ``PermanentError``         trying the same again gives the same (exit 2)
        ``UsageError``         a wrong option, setting or combination of them
        ``InputError``         the changeset itself cannot be read
        ``ChangesetReplaced``  another file lies under the changeset's name than the one that was asked for
        ``CollectionMismatch`` the collection is not the one that the ledger knows
        ``CheckpointError``    the checkpoint database cannot be used
        ``FailureBudgetSpent`` more lines failed than the run allows; resumable, once the cause is mended
        ``CollectFailed``      the command that produces changesets failed
        ``LineError``          one line cannot be applied; it goes to ``failed_lines``

An error from a library is translated in the adapter that called it and nowhere else; an unknown exception is a bug and
propagates.
"""

from typing import Any


class ElysiaError(Exception):
    """Base of all errors of the project.

    ``message`` is one sentence that names the line, file or run; ``next_step`` is what the reader should type.
    Instances pickle with all their attributes, since Dagster hands errors between processes.
    """

    exit_code = 2

    def __init__(self, message: str, *, next_step: str = "", **ids: Any) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.ids = ids

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.next_step, self.ids)


def _rebuild(kind: type[ElysiaError], message: str, next_step: str, ids: dict[str, Any]) -> ElysiaError:
    return kind(message, next_step=next_step, **ids)


class TransientError(ElysiaError):
    """The same command may succeed later; nothing was charged to any line."""

    exit_code = 3


class StoreUnavailable(TransientError):
    """The vector store is unreachable or cannot write now."""


class EmbedderUnavailable(TransientError):
    """The embedder is unreachable or refuses work now."""


class ResourceExhausted(TransientError):
    """Disk, memory or file handles are used up."""


class RepositoriesHeld(TransientError):
    """Another run holds a repository of this run, or another process works on this run."""

    exit_code = 4


class LeaseLost(TransientError):
    """Another process took this run over while this one was paused."""

    exit_code = 4


class Interrupted(TransientError):
    """The process was asked to stop; what is settled stays settled."""

    exit_code = 130


class PermanentError(ElysiaError):
    """The same command fails again until something is changed."""


class UsageError(PermanentError):
    """A wrong option or setting."""


class InputError(PermanentError):
    """The changeset cannot be read as a whole."""


class ChangesetReplaced(PermanentError):
    """Under the changeset's name lies another file than the one that was asked for."""


class CollectionMismatch(PermanentError):
    """The collection in the store is not the one that the ledger knows."""


class CheckpointError(PermanentError):
    """The checkpoint database is missing, newer than this program, or cannot be written."""


class FailureBudgetSpent(PermanentError):
    """More lines failed than ``max_failures`` allows: the run stopped, and waits for somebody to mend the cause.

    Exit 2, not 3: a script that repeats what is 3 until it succeeds would spend the budget over and over.
    """


class CollectFailed(PermanentError):
    """The producer command did not end well; nothing of its output is in the inbox."""


class LineError(PermanentError):
    """One change of one line cannot be applied.

    ``permanent`` says that no second try can mend it (an unreadable line, undecodable content).
    """

    def __init__(self, message: str, *, permanent: bool = False, next_step: str = "", **ids: Any) -> None:
        super().__init__(message, next_step=next_step, permanent=permanent, **ids)
        self.permanent = permanent
