"""The rows that every contender is measured on, how large each is, and what is said of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.peers.contenders import Contender, Killed, KillPoint, Rejected, Synced
from benchmarks.peers.documents import SourceDocument, one_percent_later
from benchmarks.peers.orders import RunResult


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Documents of each row."""

    first: int = 10_000
    changed: int = 3_000
    killed: int = 5_000
    rejected: int = 1_000

    @classmethod
    def quick(cls) -> "Amounts":
        """Enough to see that it works."""
        return cls(first=600, changed=600, killed=600, rejected=600)

    @property
    def most(self) -> int:
        """Documents that are needed at all."""
        return max(self.first, self.changed, self.killed, self.rejected)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A row of one contender: as said, and as found."""

    row: str
    contender: str
    text: str
    result: Synced | Killed | Rejected


ROWS = ("first_sync", "unchanged", "changed", "killed_embedded", "killed_stored", "rejected")
"""In this order; ``unchanged`` needs ``first_sync``."""


def measure(
    contenders: Sequence[Contender],
    documents: list[SourceDocument],
    amounts: Amounts,
    only: list[str] | None = None,
) -> Iterator[Measured]:
    """Every row of every contender, each as soon as it is known. They take turns row by row, so that what else the
    machine does meets all alike; collections are dropped when a row needs them no more."""
    for row in ROWS:
        if only is None or row in only:
            for contender in contenders:
                result = _one(contender, row, documents, amounts)
                yield Measured(row=row, contender=contender.name, text=describe(result), result=result)
                if row != "first_sync":
                    contender.drop()


def _one(
    contender: Contender, row: str, documents: list[SourceDocument], amounts: Amounts
) -> Synced | Killed | Rejected:
    before = documents[: amounts.changed]
    rows: dict[str, Callable[[], Synced | Killed | Rejected]] = {
        "first_sync": lambda: contender.first_sync(documents[: amounts.first]),
        "unchanged": lambda: contender.unchanged(documents[: amounts.first]),
        "changed": lambda: contender.changed(before, one_percent_later(before)),
        "killed_embedded": lambda: contender.killed(documents[: amounts.killed], KillPoint.EMBEDDED),
        "killed_stored": lambda: contender.killed(documents[: amounts.killed], KillPoint.STORED),
        "rejected": lambda: contender.rejected(documents[: amounts.rejected]),
    }
    return rows[row]()


def describe(result: Synced | Killed | Rejected) -> str:
    """A result in a sentence."""
    if isinstance(result, Synced):
        return (
            f"{result.documents:,} documents in {result.run.seconds:.2f} s (imports {result.run.start_s:.1f} s), "
            f"{result.per_second:,.0f}/s; {result.run.embedded:,} embedded; {result.after}{_said(result.run)}"
        )
    if isinstance(result, Killed):
        return (
            f"{result.documents:,} documents, killed at {result.embedded_before:,} embedded and "
            f"{result.objects_before:,} stored: {result.embedded_twice:,} embedded twice; "
            f"again {result.again.seconds:.2f} s; {result.after}{_said(result.again)}"
        )
    first = result.first.error or ("success" if not result.first.logged else "success, and an error in the log")
    return (
        f"{result.documents:,} documents, the first run reported {first} and left {result.then}; "
        f"again: {result.again.embedded:,} embedded; {result.after}{_said(result.again)}"
    )


def _said(run: RunResult) -> str:
    return f"; reported {run.error}" if run.error else ""
