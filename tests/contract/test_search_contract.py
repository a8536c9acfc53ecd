"""What a search must find in every store: by vector, by text, by both, in one repository or all."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from elysia_dagster.errors import UsageError
from elysia_dagster.models import SearchMode, SearchQuery, StoreObject
from elysia_dagster.stores.base import VectorStore

MakeObject = Callable[..., StoreObject]
BASIS = np.eye(8, dtype=np.float32)


@pytest.fixture
def filled(store: VectorStore, collection: str, make: MakeObject) -> VectorStore:
    """Four documents in two repositories, each about one word and one direction."""
    store.upsert(
        collection,
        [
            make("lease.py", content="renew the lease of a claim", vector=BASIS[0], start_line=3, end_line=9),
            make("batch.py", content="settle a batch in one transaction", vector=BASIS[1]),
            make("near.py", content="something else entirely", vector=(BASIS[0] + BASIS[2]) / np.float32(2**0.5)),
            make("lease.rs", content="lease expiry", vector=BASIS[3], repository="it's other"),
        ],
    )
    return store


def paths(store: VectorStore, collection: str, query: SearchQuery) -> list[str]:
    """The paths of the hits, whose scores must not rise."""
    hits = store.search(collection, query)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    return [hit.relative_path for hit in hits]


def test_vector_search_ranks_by_cosine(filled: VectorStore, collection: str) -> None:
    query = SearchQuery(text="ignored", vector=BASIS[0] * 7, mode=SearchMode.VECTOR, limit=2)
    first, second = filled.search(collection, query)
    assert (first.repository, first.relative_path, first.start_line, first.end_line, first.text) == (
        "repo",
        "lease.py",
        3,
        9,
        "renew the lease of a claim",
    )
    assert first.score == pytest.approx(1.0, abs=1e-5)
    assert second.relative_path == "near.py"
    assert second.score == pytest.approx(0.7071, abs=1e-3)


def test_text_search_ranks_by_words(filled: VectorStore, collection: str) -> None:
    assert paths(filled, collection, SearchQuery(text="Transaction", mode=SearchMode.TEXT)) == ["batch.py"]
    found = paths(filled, collection, SearchQuery(text="lease claim", mode=SearchMode.TEXT))
    assert found == ["lease.py", "lease.rs"]
    assert paths(filled, collection, SearchQuery(text="nowhere", mode=SearchMode.TEXT)) == []


def test_hybrid_search_finds_what_either_side_finds_and_favours_both(filled: VectorStore, collection: str) -> None:
    found = paths(filled, collection, SearchQuery(text="lease", vector=BASIS[0], mode=SearchMode.HYBRID))
    assert found[0] == "lease.py"
    assert {"near.py", "lease.rs"} <= set(found)
    assert len(found) == len(set(found))
    assert len(paths(filled, collection, SearchQuery(text="lease", vector=BASIS[0], limit=1))) == 1


@pytest.mark.parametrize("mode", SearchMode)
def test_the_repository_is_filtered_before_the_ranking(filled: VectorStore, collection: str, mode: SearchMode) -> None:
    query = SearchQuery(text="lease", vector=BASIS[0], mode=mode, limit=1, repository="it's other")
    assert paths(filled, collection, query) == ["lease.rs"]
    assert paths(filled, collection, replace(query, repository="nobody")) == []
    assert paths(filled, collection, replace(query, repository="lone \ud800")) == []


@pytest.mark.parametrize("mode", SearchMode)
def test_what_is_written_replaced_or_deleted_is_found_at_once(
    filled: VectorStore, collection: str, make: MakeObject, mode: SearchMode
) -> None:
    query = SearchQuery(text="zebra", vector=BASIS[5], mode=mode, limit=1)
    filled.search(collection, query)  # the indexes are made here, the row comes after
    late = make("late.py", content="a zebra", vector=BASIS[5])
    filled.upsert(collection, [late])
    assert paths(filled, collection, query) == ["late.py"]
    filled.maintain(collection)
    assert paths(filled, collection, query) == ["late.py"]
    filled.upsert(collection, [replace(late, content="an okapi", vector=BASIS[6])])
    assert "a zebra" not in [hit.text for hit in filled.search(collection, query)]
    okapi = replace(query, text="okapi", vector=BASIS[6])
    assert paths(filled, collection, okapi) == ["late.py"]
    filled.delete_objects(collection, [late.id])
    assert "late.py" not in paths(filled, collection, okapi)


@pytest.mark.parametrize(
    "text", ["", " ", '"', "'", "\0", "a AND (b", "x:y^2~*", "%", "🧬", "lone \ud800", "if not in"]
)
@pytest.mark.parametrize("mode", [SearchMode.TEXT, SearchMode.HYBRID])
def test_any_text_can_be_searched_for(filled: VectorStore, collection: str, text: str, mode: SearchMode) -> None:
    filled.search(collection, SearchQuery(text=text, vector=BASIS[0], mode=mode))


@pytest.mark.parametrize("mode", SearchMode)
def test_an_empty_collection_has_no_hits(store: VectorStore, collection: str, mode: SearchMode) -> None:
    assert store.search(collection, SearchQuery(text="lease", vector=BASIS[0], mode=mode)) == []


@pytest.mark.parametrize("vector", [None, np.ones(7, np.float32), np.full(8, np.nan, np.float32)])
def test_a_search_by_vector_without_a_usable_one_is_refused(
    filled: VectorStore, collection: str, vector: np.ndarray | None
) -> None:
    with pytest.raises(UsageError, match="vector"):
        filled.search(collection, SearchQuery(text="lease", vector=vector, mode=SearchMode.HYBRID))
