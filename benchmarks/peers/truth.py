"""What a collection really holds, object by object, against the documents that it should hold."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import weaviate
from weaviate.exceptions import WeaviateQueryError

from benchmarks.peers.documents import SourceDocument
from benchmarks.peers.embedder import embed, text_key


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The properties that a contender keeps a document's path and text in."""

    path: str = "path"
    text: str = "text"


@dataclass(frozen=True, kw_only=True)
class Held:
    """Objects of a collection, counted by what is wrong with them. All but ``objects`` should be 0."""

    objects: int
    stale: int
    """Objects with an older text of a document that is there."""
    left_behind: int
    """Objects of documents that were deleted."""
    missing: int
    """Documents of which no object has the text that it should have."""
    doubled: int
    """Objects beyond the first with the right text of the same document."""
    unsearchable: int
    """Objects with the right text and not the vector of it: no search by vector finds them as it should."""

    @property
    def is_true(self) -> bool:
        """Whether the collection holds what it should, once."""
        return not (self.stale or self.left_behind or self.missing or self.doubled or self.unsearchable)

    def __str__(self) -> str:
        if self.is_true:
            return f"{self.objects:,} objects, all right"
        wrong = {
            "stale": self.stale,
            "of deleted documents": self.left_behind,
            "missing": self.missing,
            "doubled": self.doubled,
            "without their vector": self.unsearchable,
        }
        return f"{self.objects:,} objects, {', '.join(f'{count:,} {what}' for what, count in wrong.items() if count)}"


def held(
    client: weaviate.WeaviateClient, collection: str, documents: list[SourceDocument], layout: Layout = Layout()
) -> Held:
    """Looks at every object of the collection."""
    wanted = {each.path: text_key(each.text) for each in documents}
    found: Counter[str] = Counter()
    objects = stale = left_behind = unsearchable = 0
    names = [layout.path, layout.text]
    some = client.collections.get(collection).iterator(return_properties=names, include_vector=True, cache_size=1000)
    for each in some:
        objects += 1
        path = str(each.properties[layout.path])
        if path not in wanted:
            left_behind += 1
        elif text_key(str(each.properties[layout.text])) != wanted[path]:
            stale += 1
        else:
            found[path] += 1
            unsearchable += not _is_vector_of(each.vector, str(each.properties[layout.text]))
    return Held(
        objects=objects,
        stale=stale,
        left_behind=left_behind,
        missing=len(wanted) - len(found),
        doubled=found.total() - len(found),
        unsearchable=unsearchable,
    )


def _is_vector_of(vectors: Mapping[str, object], text: str) -> bool:
    """Whether an object's only vector, whatever its name, is the embedder's of this text."""
    wanted = embed([text])[0]
    found = [np.asarray(each, dtype=np.float32) for each in vectors.values()]
    return len(found) == 1 and found[0].shape == wanted.shape and bool(np.allclose(found[0], wanted, atol=1e-3))


def count_objects(client: weaviate.WeaviateClient, collection: str) -> int:
    """Objects of a collection; 0 if it is not there, or just being made."""
    if not client.collections.exists(collection):
        return 0
    try:
        return client.collections.get(collection).aggregate.over_all(total_count=True).total_count or 0
    except WeaviateQueryError as error:
        if "non-existing index" not in str(error):
            raise
        return 0
