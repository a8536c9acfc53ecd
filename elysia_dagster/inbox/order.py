"""Whose turn it is: by name within each repository, and never before what came before it is settled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.inbox import InboxFile
from elysia_dagster.models import InboxState

PATIENCE_S = 3600.0
"""Seconds after which a file that still changes holds up no other any more; its name may then come too late."""


@dataclass(frozen=True, kw_only=True)
class Turns:
    """``next`` are to be asked for now, in order; ``late`` came too late, ``waits`` wait, each with the reason."""

    next: list[InboxFile] = field(default_factory=list)
    late: dict[str, str] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)


def take_turns(
    files: Sequence[InboxFile], progress: Mapping[str, str], *, places: int, moment: datetime | None = None
) -> Turns:
    """Decides for every file that is not settled. ``files`` are in order of name.

    ``progress`` is the last name that was applied to each repository; ``places`` how many runs may be asked for
    beyond those that are on their way.
    """
    now = moment or clock.now()
    turns = Turns()
    ahead: dict[str, InboxFile] = {}  # the first unsettled file of each repository
    for file in files:
        if file.has_begun and not file.is_settled:
            for repository in file.repositories or ():
                ahead.setdefault(repository, file)
    unread: InboxFile | None = None
    for file in files:
        if file.is_settled or file.state in (InboxState.REQUESTED, InboxState.HELD):
            continue
        if file.state is InboxState.ARRIVING:
            if unread is None and now - clock.parse(file.first_seen_at) < timedelta(seconds=PATIENCE_S):
                unread = file
            continue
        repositories = file.repositories or ()
        if not file.has_begun and (late := _too_late(file, progress)):
            turns.late[file.name] = late
            continue
        first = next((ahead[each] for each in repositories if ahead.get(each, file) is not file), None)
        if first is not None:
            shared = next(each for each in repositories if ahead.get(each, file) is first)
            turns.waits[file.name] = f"waits for {first.name} ({first.state.value}) in repository {shared}"
        elif unread is not None and not file.has_begun:
            turns.waits[file.name] = f"waits for {unread.name}, which has not arrived whole"
        elif file.next_attempt_at is not None and clock.parse(file.next_attempt_at) > now:
            turns.waits[file.name] = f"is asked for again at {file.next_attempt_at}: {file.reason}"
        elif len(turns.next) < places:
            turns.next.append(file)
        else:
            turns.waits[file.name] = "waits for a free place among the runs"
        for repository in repositories:
            ahead.setdefault(repository, file)
    return turns


def _too_late(file: InboxFile, progress: Mapping[str, str]) -> str:
    """Why a file must not be applied any more, '' where it may."""
    for repository in file.repositories or ():
        last = progress.get(repository)
        if last is not None and file.name.encode() < last.encode():
            return f"It came too late: {last}, which sorts after it, has been applied to repository {repository}."
    return ""
