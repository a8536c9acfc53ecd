"""The folder itself: which of its files count, and where settled ones go."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.inbox import InboxFile, Signature
from elysia_dagster.errors import UsageError
from elysia_dagster.exhaustion import exhausted
from elysia_dagster.models import InboxState

DONE_NAME = "done"
FAILED_NAME = "failed"
REASON_SUFFIX = ".reason.txt"
_SUFFIXES = frozenset({".jsonl", ".gz", ".zst"})
_TAKEN = ", ".join(sorted(_SUFFIXES))
_UNFINISHED = frozenset({".tmp", ".part"})


class InboxFolder:
    """``keeps_settled``: settled files stay where they are, and are known by size and time."""

    def __init__(self, path: Path, *, keeps_settled: bool = False) -> None:
        self.path = path
        self.keeps_settled = keeps_settled

    def look(self) -> tuple[dict[str, Signature], dict[str, str]]:
        """The changesets that lie there with size and time, and by name why a file will never count.

        Names with ``.tmp``, ``.part`` or a leading dot are another's unfinished work; a symbolic link is not followed.
        Raises ``UsageError`` for a folder that is not there or may not be read, ``ResourceExhausted``.
        """
        seen: dict[str, Signature] = {}
        strange: dict[str, str] = {}
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if _is_unfinished(entry.name):
                        continue
                    with suppress(FileNotFoundError):
                        about = entry.stat(follow_symlinks=False)
                        if Path(entry.name).suffix not in _SUFFIXES:
                            if stat.S_ISREG(about.st_mode):
                                strange[f"{entry.name!a}"] = f"is left alone: its name ends in none of {_TAKEN}."
                        elif not stat.S_ISREG(about.st_mode):
                            strange[f"{entry.name!a}"] = "is no regular file, and is left alone."
                        elif not _is_text(entry.name):
                            strange[f"{entry.name!a}"] = "is left alone: its name is no UTF-8."
                        else:
                            seen[entry.name] = (about.st_size, about.st_mtime_ns)
        except OSError as error:
            if known := exhausted(error):
                raise known from error
            raise UsageError(
                f"The inbox {self.path} cannot be read: {error.strerror}.",
                next_step=f"Make it (mkdir -p {self.path}), or set ELYSIACTL_INBOX to another folder.",
            ) from error
        return seen, dict(sorted(strange.items()))

    def place_of(self, file: InboxFile) -> Path:
        """Where a settled file goes. One that is there already stays, and the newer one's name gets the moment at which
        it came."""
        if self.keeps_settled:
            return self.path / file.name
        folder = self.path / (DONE_NAME if file.state is InboxState.APPLIED else FAILED_NAME)
        place = folder / file.name
        stamped = folder / f"{clock.parse(file.first_seen_at):%Y%m%dT%H%M%S.%f}-{file.name}"
        return stamped if os.path.lexists(place) else place

    def put_away(self, file: InboxFile) -> str:
        """Moves a settled file and says why it was refused beside it; where it lies now.

        '' where it is gone, or where another one of its name, which is not read yet, has taken its place. May be
        called again after a process died between the move and the note of it. Raises ``UsageError`` where the folder
        cannot be written, ``ResourceExhausted``.
        """
        source = self.path / file.name
        place = self.place_of(file)
        if place == source:
            return str(source)
        try:
            place.parent.mkdir(exist_ok=True)
            try:
                about = source.lstat()
            except FileNotFoundError:
                moved = next((each for each in (place, place.parent / file.name) if each.exists()), None)
                return str(moved or "")
            if (about.st_size, about.st_mtime_ns) != file.signature:
                return ""
            if file.state is InboxState.REFUSED:
                (place.parent / f"{place.name}{REASON_SUFFIX}").write_text(f"{file.reason}\n")
            os.rename(source, place)
        except OSError as error:
            if known := exhausted(error):
                raise known from error
            raise UsageError(
                f"{source} is settled and cannot be moved to {place.parent}: {error.strerror}.",
                next_step="Mend the folder's owner and mode, or set ELYSIACTL_INBOX_SETTLED=keep.",
            ) from error
        return str(place)


def _is_unfinished(name: str) -> bool:
    return name.startswith(".") or not _UNFINISHED.isdisjoint(Path(name).suffixes)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
