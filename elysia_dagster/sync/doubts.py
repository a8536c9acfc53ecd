"""Documents in doubt, at the end of a run: compared with the store, cleared where they are right, else mended.

A process that was stopped past its lease may have written, late, over what a newer run had written. It says so (its
documents are ``suspect``), and the next run of these repositories puts it right. ``reconcile`` sees to the others.
"""

from contextlib import closing

from elysia_dagster.checkpoint import suspects
from elysia_dagster.checkpoint.records import DocumentRow
from elysia_dagster.errors import EmbedderUnavailable
from elysia_dagster.models import object_id
from elysia_dagster.sync.batch import document_write_hash
from elysia_dagster.sync.difference import Difference, Finding, HeldDocument
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.mend import Mender
from elysia_dagster.sync.origin import Origins
from elysia_dagster.sync.sending import LEASE_MARGIN_S


def verify_suspects(work: Work) -> None:
    """Suspects that the store holds just as the ledger says are cleared, the others are mended.

    Of the repositories that the run claims. Where a server that dies in a write leaves objects that its indexes lack,
    all are mended: their hashes do not tell. What cannot be mended here, since its content is not to be had or the
    embedder is not, stays suspect and shows in status. Raises ``StoreUnavailable``, ``LeaseLost``.
    """
    assert work.collection is not None
    after: DocumentRow | None = None
    while rows := suspects.comparable_suspects(
        work.engine.database, work.collection.collection_id, work.run.run_id, after=after
    ):
        if not _verify(work, rows):
            return
        after = rows[-1]
    work.engine.faults("suspects-verified")


def _verify(work: Work, rows: list[DocumentRow]) -> bool:
    """Clears or mends some of them; False where the embedder is not to be had."""
    assert work.collection is not None
    database = work.engine.database
    trusts_hashes = work.store.rewrites_identical
    cleared: list[DocumentRow] = []
    gone: list[str] = []
    wrong: list[Finding] = []
    for row, held in zip(rows, _held(work, rows), strict=True):
        if _is_right(row, held) and (trusts_hashes or not row.chunks):
            cleared.append(row)
            gone += _ids(work, row)[row.chunks :]
        else:
            found = HeldDocument(repository=row.repository, path=row.path, hashes=held)
            wrong.append(Finding(differences={Difference.SUSPECT: 0}, held=found, row=row, is_right=False))
    if gone and not trusts_hashes:  # what the index of ids lacks was not found, and may be there
        work.heartbeat.ensure(work.store.request_timeout_s + LEASE_MARGIN_S)
        work.store.delete_objects(work.collection.name, gone)
        work.engine.faults("suspects-rest-removed")
    if cleared:
        suspects.clear_suspicion(database, work.lease, cleared)
    work.engine.faults("suspects-cleared")
    if wrong:
        with closing(Origins(work.engine, work.collection)) as origins:
            try:
                Mender(work, origins, stays_comparable=True).mend(wrong)
            except EmbedderUnavailable:  # all lines are settled: the check says what is left in doubt
                return False
        work.engine.faults("suspects-mended")
    return True


def _ids(work: Work, row: DocumentRow) -> list[str]:
    assert work.collection is not None
    return [
        object_id(work.collection.name, row.repository, row.path, chunk)
        for chunk in range(max(row.chunks, row.max_chunks))
    ]


def _held(work: Work, rows: list[DocumentRow]) -> list[dict[int, str]]:
    """By chunk the write hash of what the store holds of each document, asked for all at once."""
    assert work.collection is not None
    ids = [_ids(work, row) for row in rows]
    held = work.store.fetch_hashes(work.collection.name, [each for some in ids for each in some])
    return [{chunk: held[each] or "" for chunk, each in enumerate(some) if each in held} for some in ids]


def _is_right(row: DocumentRow, held: dict[int, str]) -> bool:
    if set(held) != set(range(row.chunks)):
        return False
    return not row.chunks or document_write_hash([held[chunk] for chunk in range(row.chunks)]) == row.write_hash
