"""What goes from the store once a batch's new chunks are in it: by id, or whatever there is of a document."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from elysia_dagster.checkpoint.records import CollectionRecord, Verdict
from elysia_dagster.models import DocumentState, document_id, object_id
from elysia_dagster.sync.batch import PreparedChange


@dataclass(frozen=True, kw_only=True)
class Leftovers:
    """Ids of objects, and of documents of which every object goes."""

    objects: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)


def leftovers_of(collection: CollectionRecord, removals: Iterable[tuple[PreparedChange, Verdict]]) -> Leftovers:
    """Chunks from the new count to the most that may exist; all of them for a document that goes.

    By id where the ledger is sure how many there are, by document too where it is not: what a server that was killed
    holds of an interrupted write may be found by its id alone. LanceDB has an index on ids alone
    (measured, lancedb 0.40; 200 documents of 5 chunks by their ids and by document: 10 and 6 ms at 20,000 rows, 13 and
    17 at 200,000, 27 and 66 at a million; a single one 3 and 4, 4 and 12, 6 and 43). With an index on ``document_id``
    the two are alike (28 and 49, 3 and 4 at a million), but every write pays for its upkeep, twice that of the ids'. To
    Weaviate 1.38 it is one (20,000 objects: 0.4 to 0.5 s, and 0.2 to 0.6 s).
    """
    found = Leftovers()
    for change, verdict in removals:
        document = (collection.name, change.planned.repository, change.planned.path)
        found.objects.extend(object_id(*document, index) for index in range(len(change.chunks), verdict.most))
        if not (change.chunks or _is_sure(collection, verdict)):
            found.documents.append(document_id(*document))
    return found


def _is_sure(collection: CollectionRecord, verdict: Verdict) -> bool:
    """Whether nothing beyond ``verdict.most`` can be in the store."""
    if verdict.before is None:  # into a collection of our own making nothing is written that was not intended
        return not collection.adopted_sequence
    return verdict.before in (DocumentState.PRESENT, DocumentState.ABSENT)
