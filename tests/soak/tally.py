"""What a soak has done and found, as a table."""

from collections import Counter
from dataclasses import dataclass, field

from soak.audit import EMBEDDED_TWICE

KINDS = ("lost", "doubled", "stale", "left over", EMBEDDED_TWICE, "untrue", "refused")
"""What may be found. ``untrue``: rows, counters, commits; ``refused``: a process that was not killed and yet failed."""


@dataclass
class Tally:
    """Counts over all stories; ``found`` by kind of finding, ``resumes`` by driver, ``kills`` by how."""

    stories: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    resumes: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    survived: int = 0
    runs: int = 0
    lines: int = 0
    objects: int = 0
    embedded: int = 0
    found: Counter[str] = field(default_factory=Counter)

    def table(self, *, store: str, seed: str, seconds: float) -> str:
        """For people: what was done, and below it what was found."""
        rows = [
            ("store", store),
            ("seed", seed),
            ("stories", self.stories),
            ("kills", self.kills.total()),
            *((f"  {how}", count) for how, count in sorted(self.kills.items())),
            ("aimed at, ended before", self.survived),
            ("starts and resumes", self.resumes.total()),
            *((f"  {driver}", count) for driver, count in sorted(self.resumes.items())),
            ("fault points killed at", f"{len(self.points)} different"),
            ("runs", self.runs),
            ("lines", self.lines),
            ("objects compared", self.objects),
            ("texts embedded", self.embedded),
            ("seconds", f"{seconds:.0f}"),
        ]
        rows += [(_title(kind), self.found[kind]) for kind in KINDS]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value:>12}" for name, value in rows)


def _title(kind: str) -> str:
    return f"{kind} beyond the batch in hand" if kind == EMBEDDED_TWICE else kind
