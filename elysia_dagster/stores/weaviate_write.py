"""Writes on Weaviate: one ``insert_many`` for each request, every object's answer, and what follows a lost answer."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.query import Filter
from weaviate.collections import Collection
from weaviate.collections.classes.filters import _Filters
from weaviate.exceptions import WeaviateDeleteManyError

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import StoreObject
from elysia_dagster.stores.weaviate_connection import WeaviateConnection
from elysia_dagster.stores.weaviate_errors import (
    ObjectsNotTaken,
    is_refused_content,
    is_too_large,
    is_unknown_state,
    messages_of,
)
from elysia_dagster.stores.weaviate_messages import Verdict, classify_object_message
from elysia_dagster.stores.weaviate_objects import to_data_object

IDS_PER_REQUEST = 1000
"""Ids in one filter of a delete or a look-up."""

Reasons = dict[str, str]
"""Why objects were rejected, by id."""

_Key = TypeVar("_Key", str, int)


class WeaviateWriter:
    """Inserts and deletes in one collection.

    Raises ``StoreUnavailable`` where the server does not do its work until ``until``, a time of ``time.monotonic``, and
    ``Interrupted`` between two of many small requests where this process is asked to stop.
    """

    def __init__(
        self,
        connection: WeaviateConnection,
        collection: str,
        *,
        vector_name: str | None,
        consistency: ConsistencyLevel,
        until: float,
    ) -> None:
        self._connection = connection
        self._name = collection
        self._vector_name = vector_name
        self._consistency = consistency
        self._until = until

    def insert(self, objects: Sequence[StoreObject], *, in_doubt: bool = False) -> Reasons:
        """Writes one request's objects; halves it where it is too large or refused as a whole for its content.

        ``in_doubt``: an earlier request with these objects may have been applied in part.
        """
        self._check_time()

        def attempt() -> Reasons:
            nonlocal in_doubt
            if in_doubt:
                self._remove_written(objects)
            try:
                return self._insert_once(objects)
            except Exception as error:
                in_doubt = in_doubt or is_unknown_state(error)
                raise

        try:
            return self._connection.call(attempt, collection=self._name)
        except Exception as error:
            if not (is_too_large(error) or is_refused_content(error)):
                raise
            if len(objects) == 1:
                return {objects[0].id: " ".join(str(error).split())[:300]}
        middle = len(objects) // 2
        first = self.insert(objects[:middle], in_doubt=in_doubt)
        return first | self.insert(objects[middle:], in_doubt=in_doubt)

    def delete(self, where: str, values: Sequence[str]) -> None:
        """Removes the objects whose id (``where`` ``id``), or property, is one of ``values``, however many.

        The server removes at most ``QUERY_MAXIMUM_RESULTS`` (by default 10,000) at a call and does not say that it
        stopped there, so it is called until nothing matches.
        """
        for first in range(0, len(values), IDS_PER_REQUEST):
            some = list(values[first : first + IDS_PER_REQUEST])
            step = self._delete_ids if where == "id" else partial(self._delete_documents, where)
            self._connection.call(partial(step, some), collection=self._name)

    def _delete_documents(self, where: str, values: list[str]) -> None:
        while self._delete_once(Filter.by_property(where).contains_any(values)):
            self._check_time()

    def _delete_ids(self, ids: list[str]) -> None:
        """By a filter first, and then one by one what that did not find and is there all the same.

        A filter goes by the inverted index. A server that was killed while it wrote may hold objects that its indexes
        lack (1.38.11, SIGKILL some milliseconds into an insert of 200: 189 held, 163 found by id, none by vector), and
        only requests for a single id see those. It may have been killed under another process: a run that is resumed
        deletes what it does not find in the index, and then writes it. So every id that did not match is asked for, at
        0.5 ms each; to delete it unasked takes twice that. Where one replica answers for all, nothing is asked.
        """
        matched = self._delete_once(Filter.by_id().contains_any(ids))
        data = self._handle().data
        for each in sorted(set(ids) - matched):
            self._check_time()
            self._connection.check_stop()
            if self._consistency is ConsistencyLevel.ONE or data.exists(each):
                data.delete_by_id(each)

    def _delete_once(self, chosen: _Filters) -> set[str]:
        """The ids of what matched. A removal that failed is never the object's own fault."""
        try:
            done = self._handle().data.delete_many(where=chosen, verbose=True)
        except WeaviateDeleteManyError as error:  # of a shard that does not delete, the server cannot tell why
            if names := self._read_only_shards():
                raise ObjectsNotTaken(f"store is read-only: shard {', '.join(names)}") from error
            raise
        if done.failed:
            told = next((each.error for each in done.objects or () if each.error), "no reason given")
            if classify_object_message(told) is Verdict.REJECTED:
                raise self._outage(f"{done.failed} of {done.matches} objects were not removed: {told}")
            raise ObjectsNotTaken(told)
        return {str(each.uuid) for each in done.objects or ()}

    def _read_only_shards(self) -> list[str]:
        return [each.name for each in self._handle().config.get_shards() if each.status == "READONLY"]

    def _insert_once(self, objects: Sequence[StoreObject]) -> Reasons:
        handle = self._handle()
        made = [to_data_object(each, self._vector_name) for each in objects]
        try:
            answer = handle.data.insert_many(made)
        except Exception as error:
            messages = messages_of(error)
            if not messages:
                raise
            return self._all_rejected(objects, messages)
        return _judged({objects[place].id: each.message for place, each in answer.errors.items()})

    def _all_rejected(self, objects: Sequence[StoreObject], messages: list[str]) -> Reasons:
        """The client keeps each object's own message to itself when all failed: smaller requests bring them out."""
        _judged(dict(enumerate(messages)))
        if len(objects) == 1 or len(messages) == 1:
            return {each.id: messages[0] for each in objects}
        self._check_time()
        self._connection.check_stop()
        middle = len(objects) // 2
        return self._insert_once(objects[:middle]) | self._insert_once(objects[middle:])

    def _remove_written(self, objects: Sequence[StoreObject]) -> None:
        """Removes what a request whose answer is not known has written, and nothing that was there before.

        An object that is there as it should be may lack its places in the indexes, and the same insert again gives it
        none, since it finds nothing changed. An older version stays: it has its places, since one whose write was
        interrupted goes before anything is inserted. Asked by id, past the indexes, one by one (see ``_delete_ids``).
        """
        written = []
        for each in objects:
            self._check_time()
            self._connection.check_stop()
            held = self._connection.object(self._name, each.id, self._consistency)
            if held is not None and held.get("write_hash") == each.write_hash:
                written.append(each.id)
        if written:
            self._delete_ids(written)

    def _handle(self) -> Collection[Any, Any]:
        return self._connection.collection(self._name).with_consistency_level(self._consistency)

    def _check_time(self) -> None:
        if time.monotonic() > self._until:
            raise self._outage("it takes too long")

    def _outage(self, detail: str) -> StoreUnavailable:
        server = self._connection.address.url
        return StoreUnavailable(
            f"The server {server} cannot write to collection {self._name} now: {detail}.",
            next_step="See that its nodes are up and its shards writable, then run the same command again: nothing was "
            "charged to a line.",
            store=server,
            collection=self._name,
        )


def _judged(reasons: dict[_Key, str]) -> dict[_Key, str]:
    """The reasons, unless one of them is no rejection. Raises ``ObjectsNotTaken``."""
    for message in reasons.values():
        if classify_object_message(message) is not Verdict.REJECTED:
            raise ObjectsNotTaken(message, others=reasons.values())
    return reasons
