"""Folders that were removed as a whole: the fence of documents that the ledger had never seen when the folder went.

Without it a late run of before could bring back a document below the folder, since no row of the document says that a
newer change took it away.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from elysia_dagster.checkpoint.claims import Lease, check_token
from elysia_dagster.checkpoint.database import Database
from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.schema import completed_lines, removed_folders


class RemovedFolders:
    """The removed folders of some repositories, as they stand under the claim of whoever asks."""

    def __init__(self, rows: Iterable[tuple[str, str, int, int]]) -> None:
        self._by_repository: dict[str, dict[str, tuple[int, int]]] = {}
        for repository, path, sequence, line in rows:
            folders = self._by_repository.setdefault(repository, {})
            folders[path] = max(folders.get(path, (0, 0)), (sequence, line))

    def newest_above(self, repository: str, path: str) -> tuple[int, int]:
        """The version of the newest change that removed a folder above the document; (0, 0) where none did."""
        newest = (0, 0)
        folders = self._by_repository.get(repository)
        while folders and path:
            path = path.rpartition("/")[0]
            newest = max(newest, folders.get(path, newest))
        return newest


def load_removed_folders(database: Database, collection_id: int, repositories: Sequence[str]) -> RemovedFolders:
    """The folders of these repositories that were ever removed as a whole."""
    found: list[tuple[str, str, int, int]] = []
    with database.read() as connection:
        for start in range(0, len(repositories), 500):
            rows = connection.execute(
                select(
                    removed_folders.c.repository,
                    removed_folders.c.path,
                    removed_folders.c.version_sequence,
                    removed_folders.c.version_line,
                ).where(
                    removed_folders.c.collection_id == collection_id,
                    removed_folders.c.repository.in_(list(repositories[start : start + 500])),
                )
            )
            found += [(row[0], row[1], row[2], row[3]) for row in rows]
    return RemovedFolders(found)


def record_removed_folders(database: Database, lease: Lease, folders: Sequence[tuple[str, str, int]]) -> None:
    """Says, before anything of it is done, that lines of this run remove (repository, folder, line).

    Raises ``LeaseLost``.
    """
    if not folders:
        return
    with database.write() as connection:
        check_token(connection, lease)
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        for repository, path, line in folders:
            connection.execute(
                insert(removed_folders)
                .values(
                    collection_id=lease.collection_id,
                    repository=repository,
                    path=path,
                    version_sequence=lease.sequence,
                    version_line=line,
                )
                .on_conflict_do_update(
                    index_elements=["collection_id", "repository", "path", "version_sequence"],
                    set_={"version_line": line},
                    where=removed_folders.c.version_line < line,
                )
            )


def take_back_removed_folders(connection: Connection, run: RunRecord) -> None:
    """A run that is given up no longer removes what its unsettled lines named, in the caller's transaction."""
    connection.execute(
        delete(removed_folders).where(
            removed_folders.c.version_sequence == run.sequence,
            removed_folders.c.version_line.not_in(
                select(completed_lines.c.line_number).where(completed_lines.c.run_id == run.run_id)
            ),
        )
    )
