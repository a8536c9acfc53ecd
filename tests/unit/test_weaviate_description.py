"""The marks in a collection's description: written, read back, and lost without harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_dagster.stores.weaviate_description import SENTENCE, Description, Marks, parse_description

MARKS = Marks(incarnation="one", model_id="hashing", dimensions=8)


@given(text=st.text(), tenants=st.dictionaries(st.text(), st.builds(Marks, incarnation=st.text(), model_id=st.text())))
def test_what_is_written_is_read_back(text: str, tenants: dict[str, Marks]) -> None:
    found = parse_description(str(Description(text=text.strip(), tenants=tenants)))
    assert found.tenants == tenants
    assert found.text == text.strip()


def test_it_begins_with_a_sentence_for_people() -> None:
    assert str(Description(tenants={"": MARKS})).startswith(SENTENCE)


def test_another_tenant_keeps_the_marks_of_the_first() -> None:
    both = Description(tenants={"a": MARKS}).marked("b", Marks(incarnation="two", model_id="m", dimensions=1))
    assert parse_description(str(both)).marks("a") == MARKS
    assert parse_description(str(both)).marks("b").incarnation == "two"
    assert parse_description(str(both)).marks("c") == Marks()


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "Our documents.",
        "elysia_dagster=",
        "elysia_dagster={",
        'elysia_dagster={"": 1}',
        'elysia_dagster={"": {"incarnation": "one"}}',
        'elysia_dagster={"": {"incarnation": "one", "model": "m", "dimensions": "many"}}',
        'elysia_dagster=["one"]',
    ],
)
def test_a_description_that_is_not_ours_has_no_marks_and_stays_as_it_is(text: str | None) -> None:
    found = parse_description(text)
    assert found.tenants == {}
    assert found.text == (text or "")


def test_what_somebody_wrote_behind_the_marks_stays() -> None:
    found = parse_description(f"{Description(text='Ours.', tenants={'': MARKS})} Ask Ann.")
    assert (found.text, found.marks("")) == ("Ours. Ask Ann.", MARKS)
