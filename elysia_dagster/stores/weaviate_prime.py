"""Makes a new collection's shards able to delete, whatever dies later.

A shard counts the lengths of ``content`` and saves the counts after each batch. A server that is killed within a
shard's very first batch starts with none, and every delete there then fails half way: ``subtract prop lengths: property
not found`` (``inverted/new_prop_length_tracker.go``, 1.38.11). The object is gone, its places in the indexes stay for
ever: counts by repository are too high, a search gets 5 objects of the 10 it asked for, one by words none (measured).
So before anything else is written, an object goes into each shard and out of it again: its counts are then saved.
"""

import uuid

from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter

from elysia_dagster.models import OBJECT_NAMESPACE
from elysia_dagster.stores.weaviate_connection import WeaviateConnection
from elysia_dagster.stores.weaviate_errors import ObjectsNotTaken, messages_of
from elysia_dagster.stores.weaviate_messages import Verdict, classify_object_message

PROBES_PER_SHARD = 16
"""Objects for each of several shards, of which the server chooses by a hash of the id: with three shards one is missed
once in ten million collections."""


PROBE_TEXT = "a"
"""Where the server makes the vectors, its module is asked for one of this."""


def prime_shards(
    connection: WeaviateConnection, collection: str, *, shards: int, consistency: ConsistencyLevel
) -> None:
    """Writes and removes an object or more in each shard, unless the collection holds anything else.

    Killed in the middle, it is done again by the next call, since the ids are the same. Raises ``StoreUnavailable``.
    """
    probes = _probes(collection, shards)

    def prime() -> None:
        handle = connection.collection(collection).with_consistency_level(consistency)
        held = handle.aggregate.over_all(total_count=True).total_count or 0
        if held > len(probes) or held > len(handle.query.fetch_objects_by_ids(probes, limit=len(probes)).objects):
            return  # it was primed when it was empty
        try:
            refused = handle.data.insert_many(
                [DataObject(uuid=each, properties={"content": PROBE_TEXT}) for each in probes]
            )
            told = [each.message for each in refused.errors.values()]
        except Exception as error:  # all of them
            told = messages_of(error)
            if not told:
                raise
        for message in told:
            if classify_object_message(message) is not Verdict.REJECTED:
                raise ObjectsNotTaken(message, others=told)
        done = handle.data.delete_many(where=Filter.by_id().contains_any(probes), verbose=True)
        if done.failed:
            raise ObjectsNotTaken(next((each.error for each in done.objects or () if each.error), "no reason given"))

    connection.call(prime, collection=collection)


def _probes(collection: str, shards: int) -> list[str]:
    """Ids that no document has: theirs are made of three or four parts."""
    count = 1 if shards <= 1 else PROBES_PER_SHARD * shards
    return [str(uuid.uuid5(OBJECT_NAMESPACE, f"{collection}\0{number}")) for number in range(count)]
