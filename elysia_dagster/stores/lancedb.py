"""The embedded store: a folder of LanceDB tables, one for each collection. No server, no key.

What the adapter adds to LanceDB 0.40: one writer per table at a time (two processes that merge the same new ids at once
double them, without an error), files synced before a write returns, an index that follows the table's growth, retries
where a compaction takes a version away, and errors with a type.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
from lancedb.table import Table

from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.models import (
    CollectionInfo,
    MaintenanceReport,
    ScannedObject,
    SearchHit,
    SearchMode,
    SearchQuery,
    StoreObject,
)
from elysia_dagster.stores import lancedb_rows as rows
from elysia_dagster.stores.base import changed_hands
from elysia_dagster.stores.lancedb_errors import RETRY_FOR_S, missing_collection
from elysia_dagster.stores.lancedb_maintenance import ID_INDEX, TEXT_INDEX, Step, has_index, shape_of
from elysia_dagster.stores.lancedb_search import search_table
from elysia_dagster.stores.lancedb_tables import COMPACTION_LIMIT_S, LOCK_WAIT_S, TableFolder
from elysia_dagster.stores.objects import requests, why_rejected

IDS_PER_STATEMENT = 1000
"""Ids in one ``id IN (…)`` of a delete or a look-up."""

SCAN_BATCH_ROWS = 8192
"""Rows that a scan holds at a time."""

_SCANNED = ("id", "repository", "relative_path", "chunk_index", "content_hash", "write_hash")


class LanceDBStore:
    """``VectorStore`` in a folder of this machine, which the first ``ensure_collection`` makes.

    Many processes may use one folder at once; threads may share one store. It has no vectorizer: an object whose vector
    is None is stored without one.
    """

    rewrites_identical: bool = True
    takes_calls_at_once: bool = False
    request_timeout_s: float = LOCK_WAIT_S + RETRY_FOR_S + COMPACTION_LIMIT_S + 10.0

    def __init__(self, folder: str, *, most_objects: int = 200, most_bytes: int = 20_000_000) -> None:
        """Opens nothing yet; ``folder`` may begin with ``~``. The limits are of one commit."""
        path = Path(folder).expanduser().resolve()
        self.url = f"lancedb:{path}"
        self._tables = TableFolder(path, self.url)
        self._most_objects = most_objects
        self._most_bytes = most_bytes

    def describe(self, collection: str) -> CollectionInfo | None:
        """What the table's schema says, or None. Creates nothing, not even the folder."""
        try:
            return self._tables.read(collection, lambda table: _info(collection, table.schema))
        except CollectionMismatch:
            return None

    def ensure_collection(self, collection: str, *, incarnation: str, model_id: str, dimensions: int) -> CollectionInfo:
        """Makes a table, or completes what is there; of several processes at once one makes it."""
        schema = rows.table_schema(incarnation=incarnation, model_id=model_id, dimensions=dimensions)
        if self.describe(collection) is None:  # else no lock is waited for, which a compaction may hold
            self._tables.create(collection, schema)
        self._complete(collection, schema.remove(schema.get_field_index("vector")))
        created = self.describe(collection)
        if created is None:  # dropped between the two lines
            raise missing_collection(collection, self.url)
        return created

    def adopt_collection(
        self, collection: str, *, incarnation: str, model_id: str, dimensions: int, expected: str | None
    ) -> CollectionInfo:
        """Writes the new marks on the field ``id``: of a table's own metadata LanceDB changes nothing afterwards."""
        schema = rows.table_schema(incarnation=incarnation, model_id=model_id, dimensions=dimensions)
        known = (expected, incarnation)  # the second where an attempt got through that seemed to fail
        if self._tables.read(collection, lambda table: _info(collection, table.schema)).incarnation not in known:
            raise changed_hands(collection, self.url)
        self._complete(collection, schema)

        def mark(table: Table, _uncovered_writes: int) -> None:
            if _info(collection, table.schema).incarnation not in known:
                raise changed_hands(collection, self.url)
            _mark(table, incarnation=incarnation, model_id=model_id)

        self._tables.write(collection, mark)
        adopted = self.describe(collection)
        if adopted is None or adopted.incarnation != incarnation:  # dropped between the two lines
            raise changed_hands(collection, self.url)
        return adopted

    def drop_collection(self, collection: str, *, incarnation: str) -> None:
        """Removes a table; whoever reads it at the moment may be told that it is not there."""
        there = self.describe(collection)
        if there is not None and there.incarnation != incarnation:
            raise changed_hands(collection, self.url)
        self._tables.drop(collection)

    def _complete(self, collection: str, schema: pa.Schema) -> None:
        """Adds the columns of ``schema`` that a table lacks, empty. Raises ``CollectionMismatch`` for another type."""
        if self._tables.read(collection, lambda table: rows.missing_columns(collection, table.schema, schema)):
            self._tables.write(collection, partial(_add_columns, collection=collection, schema=schema))

    def vectorizer(self, collection: str) -> str | None:
        """None: LanceDB makes no vectors of its own."""
        return None

    def upsert(self, collection: str, objects: Sequence[StoreObject]) -> list[str | None]:
        """Writes what can be written and gives each object None or why it was rejected; of one id the last counts.

        What was acknowledged is on the disk. Raises ``ResourceExhausted`` on a full disk; then, or on an outage, some
        of the objects may have been written, and the same call again mends it.
        """
        schema = self._tables.read(collection, lambda table: table.schema)
        dimensions = rows.vector_dimensions(schema)
        reasons = [why_rejected(item, dimensions) for item in objects]
        accepted = {item.id: item for item, reason in zip(objects, reasons, strict=True) if reason is None}
        for request in requests(accepted.values(), most_objects=self._most_objects, most_bytes=self._most_bytes):
            self._tables.write(collection, partial(_merge, batch=rows.to_arrow(request, schema)))
        return reasons

    def delete_objects(self, collection: str, ids: Sequence[str]) -> None:
        """Removes objects by id, in slices of ``IDS_PER_STATEMENT``; the removal is on the disk when this returns."""
        for condition in _id_conditions(ids):
            # A delete that finds nothing would be a new version all the same.
            if self._tables.read(collection, partial(_count, condition=condition)):
                self._tables.write(collection, partial(_delete, condition=condition))

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        """Removes every row of the documents; the removal is on the disk when this returns."""
        for condition in _id_conditions(document_ids, column="document_id"):
            if self._tables.read(collection, partial(_count, condition=condition)):
                self._tables.write(collection, partial(_delete, condition=condition))

    def fetch_hashes(
        self, collection: str, ids: Sequence[str], expected: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """``write_hash`` by id; an id that is not there is left out. ``expected`` is no matter: there is one copy."""
        found: dict[str, str] = {}
        for condition in _id_conditions(ids):
            answer = self._tables.read(collection, partial(_hashes, condition=condition))
            found.update(zip(answer["id"].to_pylist(), answer["write_hash"].to_pylist(), strict=True))
        return found

    def count(self, collection: str, *, repository: str | None = None) -> int:
        """Rows of the table, or of one repository of it."""
        condition = None if repository is None else rows.repository_filter(repository)
        return self._tables.read(collection, partial(_count, condition=condition))

    def count_by_repository(self, collection: str) -> dict[str, int]:
        """One pass over one column of one version of the table, in bounded memory.

        Of a million rows it takes 0.35 s; a count with a condition, 15 ms for each repository.
        """
        return self._tables.read(collection, _count_by_repository)

    def scan(self, collection: str, *, repository: str | None = None) -> Iterator[ScannedObject]:
        """Every row of one version of the table, a batch of ``SCAN_BATCH_ROWS`` at a time, vectors left unread.

        A scan that takes longer than old versions are kept (15 minutes) may end in ``StoreUnavailable``.
        """
        batches = self._tables.read(collection, partial(_scan_batches, repository=repository))
        while True:
            with self._tables.translating(collection):
                batch = next(batches, None)
            if batch is None:
                return
            for row in batch.to_pylist():
                yield ScannedObject(**row)

    def search(self, collection: str, query: SearchQuery) -> list[SearchHit]:
        """The best chunks, best first.

        The first search by text builds the full-text index, under the lock; rows written later are found without it,
        if more slowly, until ``maintain``.
        """
        if query.mode is not SearchMode.VECTOR and not self._tables.read(collection, _has_text_index):
            self._tables.run_step(collection, Step.INDEX_TEXT, unless=_has_text_index)
        return self._tables.read(collection, partial(search_table, query=query))

    def maintain(self, collection: str) -> MaintenanceReport:
        """Compacts, refreshes or makes the indexes, drops versions older than 15 minutes. Writers wait meanwhile."""
        started = time.monotonic()
        before = self._tables.read(collection, shape_of)
        self._tables.run_step(collection, Step.OPTIMIZE, unless=lambda _table: False)
        self._tables.run_step(collection, Step.INDEX_TEXT, unless=_has_text_index)
        after = self._tables.read(collection, shape_of)
        details = {
            "rows": after.rows,
            "fragments_before": before.fragments,
            "fragments_after": after.fragments,
            "data_bytes_before": before.data_bytes,
            "data_bytes_after": after.data_bytes,
            "seconds": round(time.monotonic() - started, 3),
        }
        return MaintenanceReport(collection=collection, details=details)

    def close(self) -> None:
        """Forgets connection and handles; may be called twice."""
        self._tables.close()


def _merge(table: Table, uncovered_writes: int, *, batch: pa.Table) -> None:
    """Replaces and inserts rows in one commit. Safe to repeat: it looks at the table anew each time.

    The lock makes look-up and write one step, so rows that are all new are appended, without a join: 17 ms for 200 rows
    instead of 25 to 50 and, at a million rows, 160 (``merge_insert`` reads every id, or with the index every whole row
    that the index does not cover yet).
    """
    indexed = has_index(table, ID_INDEX)
    if indexed and table.count_rows(rows.ids_filter(batch["id"].to_pylist())) == 0:
        table.add(batch, on_bad_vectors="null")
        return
    # An uncovered fragment costs the indexed join 2.5 ms, a row the scanning one 0.16 µs (1024 dimensions).
    use_index = indexed and table.count_rows() > 15_600 * (uncovered_writes + 1)
    merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
    # Bad vectors were rejected before; "null" only lets those through that are None.
    merge.use_index(use_index).execute(batch, on_bad_vectors="null")


def _mark(table: Table, *, incarnation: str, model_id: str) -> None:
    marks = {rows.INCARNATION_KEY.decode(): incarnation, rows.MODEL_KEY.decode(): model_id}
    table.update_field_metadata({"path": "id", "metadata": marks})


def _add_columns(table: Table, _uncovered_writes: int, *, collection: str, schema: pa.Schema) -> None:
    if missing := rows.missing_columns(collection, table.schema, schema):
        table.add_columns(missing)


def _delete(table: Table, _uncovered_writes: int, *, condition: str) -> None:
    table.delete(condition)


def _count(table: Table, *, condition: str | None) -> int:
    return int(table.count_rows(condition))


def _count_by_repository(table: Table) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for batch in table.search().select(["repository"]).limit(None).to_batches(batch_size=SCAN_BATCH_ROWS):
        for each in batch.column("repository").value_counts():
            counts[each["values"].as_py()] += each["counts"].as_py()
    return dict(counts)


def _hashes(table: Table, *, condition: str) -> pa.Table:
    return table.search().where(condition).select(["id", "write_hash"]).limit(None).to_arrow()


def _scan_batches(table: Table, *, repository: str | None) -> Iterator[pa.RecordBatch]:
    query = table.search().select({**{name: name for name in _SCANNED}, "has_vector": "vector IS NOT NULL"})
    if repository is not None:
        query = query.where(rows.repository_filter(repository))
    return iter(query.limit(None).to_batches(batch_size=SCAN_BATCH_ROWS))


def _has_text_index(table: Table) -> bool:
    return has_index(table, TEXT_INDEX)


def _id_conditions(ids: Sequence[str], *, column: str = "id") -> Iterator[str]:
    distinct = list(dict.fromkeys(ids))
    for start in range(0, len(distinct), IDS_PER_STATEMENT):
        yield rows.ids_filter(distinct[start : start + IDS_PER_STATEMENT], column=column)


def _info(collection: str, schema: pa.Schema) -> CollectionInfo:
    index = schema.get_field_index("id")
    marks = {**(schema.metadata or {}), **((schema.field(index).metadata or {}) if index >= 0 else {})}
    incarnation, model_id = marks.get(rows.INCARNATION_KEY), marks.get(rows.MODEL_KEY)
    return CollectionInfo(
        name=collection,
        incarnation=None if incarnation is None else incarnation.decode(),
        model_id=None if model_id is None else model_id.decode(),
        dimensions=rows.vector_dimensions(schema),
    )
