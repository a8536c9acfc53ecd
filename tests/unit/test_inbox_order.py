"""Whose turn it is among the files of an inbox: decided from their rows alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.inbox import InboxFile
from elysia_dagster.inbox.order import PATIENCE_S, Turns, take_turns
from elysia_dagster.models import InboxState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def file(name: str, *repositories: str, state: InboxState = InboxState.WAITING, **values: Any) -> InboxFile:
    """A file that has waited for a minute."""
    fields: dict[str, Any] = {
        "size_bytes": 1,
        "modified_ns": 1,
        "first_seen_at": clock.stamp(NOW - timedelta(minutes=1)),
        "seen_at": clock.stamp(NOW - timedelta(minutes=1)),
        "digest": "d",
        "line_count": 1,
        "attempt": 0,
        "tries": 0,
        "next_attempt_at": None,
        "run_id": None,
        "reason": None,
        "applied_digest": None,
        "settled_at": None,
        "place": None,
        **values,
    }
    return InboxFile(name=name, repositories=repositories, state=state, **fields)


def turns(*files: InboxFile, places: int = 10, **progress: str) -> Turns:
    """As decided at ``NOW``."""
    return take_turns(files, progress, places=places, moment=NOW)


def names(decided: Turns) -> list[str]:
    """The files whose turn it is."""
    return [each.name for each in decided.next]


def test_files_of_other_repositories_go_side_by_side() -> None:
    assert names(turns(file("a", "web"), file("b", "billing"), file("c", "shop", "till"))) == ["a", "b", "c"]


def test_a_file_waits_for_the_earlier_one_of_its_repository_and_says_which() -> None:
    decided = turns(file("a", "web"), file("b", "billing", "web"), file("c", "billing"), file("d", "shop"))
    assert names(decided) == ["a", "d"]
    assert decided.waits["b"] == "waits for a (waiting) in repository web"
    assert decided.waits["c"] == "waits for b (waiting) in repository billing"


def test_a_file_on_its_way_goes_before_one_of_a_lower_name() -> None:
    decided = turns(file("a", "web"), file("b", "web", state=InboxState.REQUESTED, tries=1))
    assert names(decided) == []
    assert decided.waits == {"a": "waits for b (requested) in repository web"}


def test_a_file_whose_run_has_ended_keeps_its_turn_while_it_waits_to_be_asked_for_again() -> None:
    later = clock.stamp(NOW + timedelta(seconds=30))
    again = file("b", "web", tries=1, next_attempt_at=later, reason="the store was down")
    decided = turns(file("a", "web"), again, file("c", "web"))
    assert names(decided) == []
    assert decided.waits["a"].startswith("waits for b")
    assert decided.waits["b"] == f"is asked for again at {later}: the store was down"
    assert decided.waits["c"].startswith("waits for b")
    assert names(turns(file("b", "web", tries=1, next_attempt_at=clock.stamp(NOW)))) == ["b"]


def test_a_name_before_the_last_that_was_applied_came_too_late() -> None:
    decided = turns(file("a", "billing", "web"), file("b", "web"), file("c", "web"), web="b")
    assert list(decided.late) == ["a"]
    assert "b, which sorts after it, has been applied to repository web" in decided.late["a"]
    assert names(decided) == ["b"], "the same name again is another changeset of the same producer"


def test_names_sort_by_their_bytes() -> None:
    assert list(turns(file("Z", "web"), web="é").late) == ["Z"]
    assert turns(file("é", "web"), web="Z").late == {}


def test_a_file_that_is_not_whole_holds_up_those_after_it_but_not_for_ever() -> None:
    arriving = file("b", state=InboxState.ARRIVING)
    decided = turns(file("a", "web"), arriving, file("c", "billing"))
    assert names(decided) == ["a"]
    assert decided.waits == {"c": "waits for b, which has not arrived whole"}
    old = file("b", state=InboxState.ARRIVING, first_seen_at=clock.stamp(NOW - timedelta(seconds=PATIENCE_S)))
    assert names(turns(old, file("c", "billing"))) == ["c"]


def test_no_more_are_asked_for_than_there_are_places_and_the_order_holds() -> None:
    decided = turns(file("a", "one"), file("b", "two"), file("c", "two"), places=1)
    assert names(decided) == ["a"]
    assert decided.waits["b"] == "waits for a free place among the runs"
    assert decided.waits["c"].startswith("waits for b")
    assert names(turns(file("a", "one"), places=0)) == []
    assert names(turns(file("a", "one"), places=-3)) == []


def test_settled_and_held_files_are_asked_for_no_more() -> None:
    decided = turns(
        file("a", "web", state=InboxState.HELD, tries=1),
        file("b", "web"),
        file("c", "shop", state=InboxState.APPLIED, tries=1),
        file("d", "shop"),
    )
    assert names(decided) == ["d"]
    assert decided.waits == {"b": "waits for a (held) in repository web"}
