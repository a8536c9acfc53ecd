"""A LanceDB table after a loss of power: the newest versions may be torn, since LanceDB syncs nothing by itself.

Every write is synced before its caller settles it, and then noted: ``_versions/synced-<version>-<boot>`` is an empty
file whose name says which version is whole on the disk, and in which boot of the machine that was seen to. A later
version that a power loss has torn was settled by nobody: it is put aside, and whoever wrote it writes it again.

Torn is what cannot be read: the manifest, a data file, the index on ``id``. Bytes that a file system lost in the middle
of a file whose end it kept are not seen here.
"""

import logging
import os
import re
from pathlib import Path

import lancedb
from lancedb.table import Table

from elysia_dagster.checkpoint.owner import this_host
from elysia_dagster.stores.file_lock import exclusive_lock
from elysia_dagster.stores.lancedb_errors import damaged, why_unreadable
from elysia_dagster.stores.lancedb_rows import ids_filter

READ_AT_ONCE = 4_096
"""Rows that are held while a version is tried."""

LOCK_WAIT_S = 600.0
"""Seconds to wait for another process that tries the same table; a million rows take some."""

_NOTE = re.compile(r"synced-(\d+)-(.*)")
_NEWEST_FIRST = 2**64 - 1
"""Manifests are named by this less their version, in twenty digits, so that the newest comes first."""

_log = logging.getLogger(__name__)


def note_synced(versions: Path, present: set[str]) -> set[str]:
    """Notes the newest of the manifests ``present``, which are synced; the names that are in the folder then.

    The caller syncs the folder, which makes the note last. Raises ``OSError``.
    """
    newest = max((version for each in present if (version := _version(each))), default=0)
    note = f"synced-{newest}-{this_host().boot_id}"
    older = {each for each in present if _NOTE.fullmatch(each)} - {note}
    if newest and note not in present:
        os.close(os.open(versions / note, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        present = present | {note}
    for each in older:
        (versions / each).unlink(missing_ok=True)
    return present - older


def mend_torn(folder: Path, collection: str) -> None:
    """Puts torn versions of a table aside that were written before this boot and never synced.

    Costs a look at the table's folder of versions; a table that was written after its last sync and before this boot
    is read whole. Raises ``StoreUnavailable`` where what is left cannot be read either. An error that says nothing of
    the files (used-up handles or memory, a missing permission, a failing disk) goes through, and nothing is put aside.
    """
    versions = folder / f"{collection}.lance" / "_versions"
    if not _unsynced(versions):
        return
    with exclusive_lock(folder / f"{collection}.mending.lock", wait_s=LOCK_WAIT_S):
        while unsynced := _unsynced(versions):
            newest = unsynced[0]
            version = _version(newest) or 0
            # twice: another process may have been in the way of the first look
            reason = _why_torn(folder, collection, version) and _why_torn(folder, collection, version)
            if reason is None:
                return
            if _unsynced(versions)[:1] != [newest]:  # noted, or overtaken, by another process meanwhile
                continue
            aside = versions.parent / f"torn-{newest}"
            os.replace(versions / newest, aside)
            (versions / "latest_version_hint.json").unlink(missing_ok=True)
            _log.warning(
                "A power loss tore the newest version of %s (%s); it is put aside: %s", collection, reason, aside
            )
        is_empty = versions.is_dir() and not any(versions.glob("*.manifest"))
        if reason := "no version of it is left" if is_empty else _why_torn(folder, collection, None):
            raise damaged(collection, f"lancedb:{folder}", reason)


def _unsynced(versions: Path) -> list[str]:
    """The manifests beyond the last synced version, newest first, where that was seen to in an earlier boot."""
    try:
        present = os.listdir(versions)
    except FileNotFoundError:
        return []
    notes = [found for each in present if (found := _NOTE.fullmatch(each))]
    boot = this_host().boot_id
    if not notes or not boot or any(note[2] == boot for note in notes):
        return []
    synced = max(int(note[1]) for note in notes)
    later = [(version, each) for each in present if (version := _version(each)) is not None and version > synced]
    return [name for _, name in sorted(later, reverse=True)]


def _version(name: str) -> int | None:
    stem, _, ending = name.rpartition(".")
    return _NEWEST_FIRST - int(stem) if ending == "manifest" and len(stem) == 20 and stem.isdigit() else None


def _why_torn(folder: Path, collection: str, version: int | None) -> str | None:
    """Why the newest version of a table, which should be ``version``, cannot be read; None where it can.

    Raises what LanceDB does where that is about something else: the files may be whole.
    """
    try:
        table: Table = lancedb.connect(folder).open_table(collection)
        if version is not None and table.version != version:
            return f"it calls itself version {table.version}"
        for _ in table.search().limit(None).to_batches(batch_size=READ_AT_ONCE):
            pass
        table.count_rows(ids_filter(["none"]))  # by the index, where there is one
    except (RuntimeError, OSError, ValueError) as error:
        reason = why_unreadable(error)
        if reason is None:
            raise
        return reason
    return None
