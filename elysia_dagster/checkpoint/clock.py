"""Time as the checkpoint stores it: text, RFC 3339 in UTC with microseconds, which sorts as it reads."""

from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def stamp(moment: datetime | None = None) -> str:
    """``moment`` (or now) as it is stored, e.g. ``2026-01-02T03:04:05.000000+00:00``."""
    return (moment or now()).isoformat(timespec="microseconds")


def stamp_after(seconds: float) -> str:
    """The moment ``seconds`` from now, as it is stored."""
    return stamp(now() + timedelta(seconds=seconds))


def parse(text: str) -> datetime:
    """A stored moment; the earlier system's ``2026-01-02 03:04:05`` is read as UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
