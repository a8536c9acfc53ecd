"""When a process is killed: at a random moment of the time that such a process takes, or at a random fault point."""

from dataclasses import dataclass, field
from random import Random

CLI, DAGSTER = "cli", "dagster"


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What a soak's stories are like: shares of all draws, of 1.

    ``most_lines`` of a changeset or so, ``dagster`` of the starts, ``spared`` of the processes that nobody aims at,
    ``server`` of the kills on a server's store that are the server's (half of them together with the process);
    ``reach`` is the latest moment that is aimed at, in lives of a process that nobody kills.
    """

    most_lines: int = 26
    dagster: float = 0.15
    spared: float = 0.08
    server: float = 0.1
    reach: float = 1.05


SHORT = Habits(most_lines=7, dagster=0.03, spared=0.03, server=0.05, reach=0.8)
"""The suite's: small changesets, few starts of Dagster's, which take ten times as long, few kills that come late."""


@dataclass
class Pace:
    """How long processes that nobody kills take, and how many fault points they pass: means over what was seen.

    By kind, and whether they begin a changeset or go on with a run, which takes less.
    """

    seconds: dict[tuple[str, bool], float] = field(
        default_factory=lambda: {(CLI, True): 0.6, (CLI, False): 0.5, (DAGSTER, True): 2.0, (DAGSTER, False): 2.0}
    )
    points: dict[tuple[str, bool], float] = field(
        default_factory=lambda: {(CLI, True): 45.0, (CLI, False): 25.0, (DAGSTER, True): 45.0, (DAGSTER, False): 25.0}
    )

    def saw(self, kind: tuple[str, bool], seconds: float, points: int) -> None:
        """Takes one more into account, the newest most."""
        self.seconds[kind] += 0.3 * (seconds - self.seconds[kind])
        self.points[kind] += 0.3 * (points - self.points[kind])


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What is killed: the process at a fault point (``fault``, for ``worker.passing``) or after ``after_s`` seconds of
    its life, and the server after ``server_s``. Nothing where none is given."""

    fault: str = ""
    after_s: float | None = None
    server_s: float | None = None

    @classmethod
    def draw(
        cls, chance: Random, pace: Pace, habits: Habits, kind: tuple[str, bool], *, has_server: bool, spared: bool
    ) -> "Aim":
        """A process of that kind, and perhaps the server. Draws as often whatever comes of it."""
        aims, where, what, how, later = (chance.random() for _ in range(5))
        if spared or aims < habits.spared:
            return cls()
        seconds = where * habits.reach * pace.seconds[kind]
        if has_server and what < habits.server:
            return cls(server_s=seconds, after_s=seconds + 4.0 * later if how < 0.5 else None)
        if how < 0.5:
            return cls(after_s=seconds)
        return cls(fault=f"kill:*:{1 + int(where * habits.reach * pace.points[kind])}")

    def __str__(self) -> str:
        words = [self.fault] if self.fault else []
        words += [f"killed after {self.after_s:.2f} s"] if self.after_s is not None else []
        words += [f"server killed after {self.server_s:.2f} s"] if self.server_s is not None else []
        return " and ".join(words) or "not killed"
