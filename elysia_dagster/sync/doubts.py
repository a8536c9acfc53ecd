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


def verify_suspects(work: Work, repositories: list[str]) -> None:
    """Suspects that the store holds just as the ledger says are cleared, the others of ``repositories`` are mended.

    ``repositories`` are those that the run claims. What cannot be mended here, since its content is not to be had or
    the embedder is not, stays suspect and shows in status. Raises ``StoreUnavailable``, ``LeaseLost``.
    """
    assert work.collection is not None
    database = work.engine.database
    cleared: list[DocumentRow] = []
    wrong: list[Finding] = []
    for row in suspects.unsettled_documents(database, work.collection.collection_id, comparable=True):
        held = _held(work, row)
        if _is_right(row, held):
            cleared.append(row)
        elif row.repository in repositories:
            found = HeldDocument(repository=row.repository, path=row.path, hashes=held)
            wrong.append(Finding(differences={Difference.SUSPECT: 0}, held=found, row=row, is_right=False))
    if cleared:
        suspects.clear_suspicion(database, work.lease, cleared)
    work.engine.faults("suspects-verified")
    if wrong:
        with closing(Origins(work.engine, work.collection)) as origins:
            try:
                Mender(work, origins, stays_comparable=True).mend(wrong)
            except EmbedderUnavailable:  # all lines are settled: the check says what is left in doubt
                return
        work.engine.faults("suspects-mended")


def _held(work: Work, row: DocumentRow) -> dict[int, str]:
    """By chunk the write hash of what the store holds of a document."""
    assert work.collection is not None
    ids = {
        object_id(work.collection.name, row.repository, row.path, chunk): chunk
        for chunk in range(max(row.chunks, row.max_chunks))
    }
    held = work.store.fetch_hashes(work.collection.name, list(ids))
    return {ids[each]: write_hash or "" for each, write_hash in held.items()}


def _is_right(row: DocumentRow, held: dict[int, str]) -> bool:
    if set(held) != set(range(row.chunks)):
        return False
    return not row.chunks or document_write_hash([held[chunk] for chunk in range(row.chunks)]) == row.write_hash
