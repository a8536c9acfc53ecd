"""What the sentences mean that a Weaviate server gives for one object of a batch, or in place of a status code.

A batch answer has a text for each object that was not taken, and no code. A text that the object itself causes is a
rejection; one that the state of the server causes is an outage that came dressed as a rejection. Files named below are
those of the server's source, 1.38.11.
"""

import re
from enum import Enum


class Verdict(Enum):
    """Whose fault it is that an object was not taken."""

    OUTAGE = "outage"  # the server's state: trying the same again later may help
    REJECTED = "rejected"  # the object's own: the same again gives the same
    MISSING = "missing"  # the collection or tenant is not there
    FORBIDDEN = "forbidden"  # the key may not do that


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in patterns), re.IGNORECASE)


# First: a rejection can quote the object, and what it quotes is no message of the server.
_REJECTED = _any_of(
    r"^invalid [\w\[\]]+( array)? property '",
    r"vectors? with length \d+",
    r"vector lengths don't match",
    r"^invalid UUID",
)
_FORBIDDEN = _any_of(r"forbidden action", r"user is not authenticated", r"invalid api key", r"unauthori[sz]ed")
_MISSING = _any_of(
    r"could not find class",
    r"class \S+ not (found|present) in schema",
    r"class not found",
    r"tenant not found",
    r"tenant not active",
)
_OUTAGE = _any_of(
    r"cannot reach enough replicas",
    r"cannot achieve consistency level",
    r"leader not found",
    r"not the leader",
    r"read-only",
    r"not enough memory",
    r"memory pressure",
    r"no space left on device",
    r"shutting down",
    r"shutdown",
    r"connection (refused|reset)",
    r"\bEOF\b",
    r"context (deadline exceeded|canceled)",
    r"broken pipe|i/o timeout|no such host",
    r"\b(429|5\d\d)\b.*(too many requests|unexpected|status)|(status|failed with status):? (429|5\d\d)",
)


def classify_object_message(message: str) -> Verdict:
    """Whose fault a per-object text is. One never seen before is a rejection of that object alone."""
    for pattern, verdict in (
        (_REJECTED, Verdict.REJECTED),
        (_FORBIDDEN, Verdict.FORBIDDEN),
        (_MISSING, Verdict.MISSING),
        (_OUTAGE, Verdict.OUTAGE),
    ):
        if pattern.search(message):
            return verdict
    return Verdict.REJECTED
