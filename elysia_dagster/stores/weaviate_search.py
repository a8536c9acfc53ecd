"""Searches in a Weaviate collection: by vector, by text, or both with their scores fused by the server."""

import re
from typing import Any

import numpy as np
from weaviate.classes.query import Filter, HybridFusion, MetadataQuery
from weaviate.collections import Collection
from weaviate.exceptions import WeaviateQueryError

from elysia_dagster.errors import CollectionMismatch, UsageError
from elysia_dagster.models import SearchHit, SearchMode, SearchQuery
from elysia_dagster.stores.objects import encodable
from elysia_dagster.stores.weaviate_read import MOST_RESULTS

_RETURNED = ["repository", "relative_path", "start_line", "end_line", "content"]

_LACKING = re.compile(r"no such prop with name '(\w+)'")
"""The server's words for a property that a collection lacks (1.38.11)."""


def search_collection(
    handle: Collection[Any, Any], query: SearchQuery, *, vector_name: str | None, dimensions: int, makes_vectors: bool
) -> list[SearchHit]:
    """The best objects, best first.

    Scores: vector 1 - cosine distance; text BM25 of ``content``; hybrid the sum of 1 / (60 + rank). Where the
    store makes the vectors itself it gets the text. Raises ``UsageError`` for a missing or wrong vector,
    ``CollectionMismatch`` for a collection that lacks a property.
    """
    if query.limit <= 0 or (query.repository is not None and not encodable(query.repository)):
        return []
    if query.mode is not SearchMode.VECTOR and (not encodable(query.text) or not query.text.strip()):
        return []
    if query.mode is not SearchMode.TEXT and not makes_vectors:
        _check_vector(query, dimensions)
    limit = min(query.limit, MOST_RESULTS)
    while True:
        try:
            objects = _ask(handle, query, limit, vector_name)
        except WeaviateQueryError as error:
            if lacking := _LACKING.search(str(error)):
                raise CollectionMismatch(
                    f"Collection {handle.name} has no property {lacking[1]}: it is another program's.",
                    next_step="Take it over with elysiactl index sync --adopt, or search another --collection.",
                    collection=handle.name,
                ) from error
            raise
        exact = [each for each in objects if query.repository in (None, each.properties.get("repository"))]
        is_all = len(exact) == len(objects) or len(objects) < limit or limit == MOST_RESULTS
        if is_all or len(exact) >= query.limit:
            return [_hit(each) for each in exact[: query.limit]]
        limit = min(4 * limit, MOST_RESULTS)  # a repository whose name differs in white space is in the way


def _ask(handle: Collection[Any, Any], query: SearchQuery, limit: int, vector_name: str | None) -> list[Any]:
    chosen: dict[str, Any] = {
        "limit": limit,
        "filters": None if query.repository is None else Filter.by_property("repository").equal(query.repository),
        "return_properties": _RETURNED,
    }
    target: dict[str, Any] = {} if query.mode is SearchMode.TEXT else {"target_vector": vector_name}
    answer: Any
    if query.mode is SearchMode.TEXT:
        answer = handle.query.bm25(
            query.text, query_properties=["content"], return_metadata=MetadataQuery(score=True), **chosen
        )
    elif query.mode is SearchMode.HYBRID:
        answer = handle.query.hybrid(
            query.text,
            query_properties=["content"],
            vector=None if query.vector is None else query.vector.tolist(),
            fusion_type=HybridFusion.RANKED,
            alpha=0.5,
            return_metadata=MetadataQuery(score=True),
            **target,
            **chosen,
        )
    elif query.vector is None:
        answer = handle.query.near_text(query.text, return_metadata=MetadataQuery(distance=True), **target, **chosen)
    else:
        answer = handle.query.near_vector(
            query.vector.tolist(), return_metadata=MetadataQuery(distance=True), **target, **chosen
        )
    return list(answer.objects)


def _check_vector(query: SearchQuery, dimensions: int) -> None:
    vector = query.vector
    if vector is None or vector.ndim != 1 or (dimensions and vector.shape != (dimensions,)) or not _is_finite(vector):
        raise UsageError(
            f"A {query.mode.value} search needs a finite vector of shape ({dimensions},), not "
            f"{'none' if vector is None else vector.shape}.",
            next_step="Search with the embedder that this collection was made with, or use text mode.",
        )


def _is_finite(vector: np.ndarray) -> bool:
    return bool(np.isfinite(vector).all())


def _hit(found: Any) -> SearchHit:
    """Of an object that another program wrote nothing may be there but its text."""
    metadata = found.metadata
    score = metadata.score if metadata.distance is None else 1.0 - metadata.distance
    return SearchHit(
        repository=found.properties.get("repository") or "",
        relative_path=found.properties.get("relative_path") or "",
        start_line=int(found.properties.get("start_line") or 0),
        end_line=int(found.properties.get("end_line") or 0),
        score=float(score),
        text=found.properties.get("content") or "",
    )
