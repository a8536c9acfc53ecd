"""Searches in a LanceDB table: by vector, by text, or both with their ranks fused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from lancedb.query import MatchQuery
from lancedb.table import Table

from elysia_dagster.errors import UsageError
from elysia_dagster.models import SearchHit, SearchMode, SearchQuery
from elysia_dagster.stores.lancedb_rows import repository_filter, vector_dimensions
from elysia_dagster.stores.objects import encodable

RANK_OFFSET = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

FUSED_AT_LEAST = 50
"""Hits taken from each side of a hybrid search, at least, so that one found low on both can rise."""

_COLUMNS = ["id", "repository", "relative_path", "start_line", "end_line", "content"]

_Ranked = list[tuple[dict[str, Any], float]]


def search_table(table: Table, query: SearchQuery) -> list[SearchHit]:
    """The best rows, best first. For text and hybrid the full-text index must be there.

    Scores: vector 1 - cosine distance; text BM25; hybrid the sum of 1 / (60 + rank). Rows without a vector, or with one
    of zeros, have no cosine and are found by text alone. Raises ``UsageError`` for a missing or wrong vector.
    """
    if query.limit <= 0:
        return []
    if query.mode is SearchMode.TEXT:
        return _hits(_by_text(table, query, query.limit))
    if query.mode is SearchMode.VECTOR:
        return _hits(_by_vector(table, query, query.limit))
    depth = max(FUSED_AT_LEAST, 4 * query.limit)
    return _hits(fused([_by_vector(table, query, depth), _by_text(table, query, depth)])[: query.limit])


def fused(rankings: Sequence[_Ranked]) -> _Ranked:
    """Reciprocal rank fusion of several rankings of rows, by ``id``; equal scores keep the order of arrival."""
    rows: dict[str, dict[str, Any]] = {}
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, (row, _score) in enumerate(ranking, start=1):
            rows.setdefault(row["id"], row)
            scores[row["id"]] = scores.get(row["id"], 0.0) + 1.0 / (RANK_OFFSET + rank)
    return [(rows[key], scores[key]) for key in sorted(scores, key=lambda key: -scores[key])]


def _by_vector(table: Table, query: SearchQuery, limit: int) -> _Ranked:
    dimensions = vector_dimensions(table.schema)
    vector = query.vector
    if vector is None or vector.shape != (dimensions,) or not np.isfinite(vector).all():
        raise UsageError(
            f"A {query.mode.value} search needs a finite vector of shape ({dimensions},), not "
            f"{'none' if vector is None else vector.shape}.",
            next_step="Search with the embedder that this collection was made with, or use text mode.",
        )
    request: Any = table.search(vector.astype(np.float32), vector_column_name="vector", query_type="vector")
    rows = _filtered(request.distance_type("cosine"), query).limit(limit).select([*_COLUMNS, "_distance"])
    return [(row, 1.0 - row["_distance"]) for row in rows.to_arrow().to_pylist()]


def _by_text(table: Table, query: SearchQuery, limit: int) -> _Ranked:
    if not encodable(query.text):
        return []
    # A MatchQuery takes the words as they are; a bare string would give quotes a meaning.
    words = MatchQuery(query.text, "content")  # type: ignore[call-arg]  # its defaults are pydantic fields
    request = table.search(words, query_type="fts")
    rows = _filtered(request, query).limit(limit).select([*_COLUMNS, "_score"])
    return [(row, row["_score"]) for row in rows.to_arrow().to_pylist()]


def _filtered(request: Any, query: SearchQuery) -> Any:
    # Before the ranking, not after: else a repository whose chunks rank low would have no hits at all.
    return request if query.repository is None else request.where(repository_filter(query.repository), prefilter=True)


def _hits(ranked: _Ranked) -> list[SearchHit]:
    return [
        SearchHit(
            repository=row["repository"],
            relative_path=row["relative_path"],
            start_line=row["start_line"],
            end_line=row["end_line"],
            score=score,
            text=row["content"],
        )
        for row, score in ranked
    ]
