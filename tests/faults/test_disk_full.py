"""The server's disk fills up in the middle of a run: past its threshold it takes nothing more until there is room.

Its data lie in a memory file system of their own, whose use a file can move; a restart with a lower threshold would not
do, since a server that starts above it looks once, before its shards are there, and leaves them writable (1.38.11).
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.held import asking
from crash.oracle import COLLECTION
from crash.scenario import BASE, BATCH_SIZE, NEWER, delete, inline, text_of
from crash.within import apply, run_ids
from faults.weaviate_world import WeaviateWorld, assert_truth
from lacking import lacking
from waiting import wait_until
from weaviate_server import WeaviateServer

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.models import RunStatus

pytestmark = pytest.mark.weaviate

MEMORY = Path("/dev/shm")
ROOM_BYTES = 64 << 20
"""What a small collection needs, and whoever else uses that file system meanwhile."""


class Disk:
    """A folder of a file system whose use ``fill`` moves over the threshold and ``empty`` back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        used = shutil.disk_usage(folder)
        self.threshold = int(100 * (used.used + ROOM_BYTES) / used.total) + 1
        self._bytes = int(used.total * (self.threshold + 0.3) / 100) - used.used

    @property
    def fits(self) -> bool:
        """Whether there is room for all this; there is enough of it below the threshold."""
        free = shutil.disk_usage(self.folder).free
        return self.threshold < 90 and free > self._bytes + ROOM_BYTES

    def fill(self) -> None:
        """Passes the threshold."""
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self._bytes)

    def empty(self) -> None:
        """Goes back below it."""
        self._filler.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def disk(weaviate_binary: None) -> Iterator[Disk]:
    """The data folder's file system."""
    if not os.access(MEMORY, os.W_OK):
        lacking(f"{MEMORY} is not there")
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="weaviate-disk-") as folder:
        found = Disk(Path(folder))
        if not found.fits:
            lacking(f"{MEMORY} has no room to be filled by one per cent")
        yield found


@pytest.fixture(scope="module")
def filling_server(disk: Disk) -> Iterator[WeaviateServer]:
    """A server on that file system."""
    threshold = {"DISK_USE_READONLY_PERCENTAGE": str(disk.threshold)}
    with WeaviateServer(disk.folder / "server", environment=threshold) as server:
        yield server


@pytest.fixture
def world(filling_server: WeaviateServer, disk: Disk, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world whose store is not waited for long; the disk has room again after the test."""
    with WeaviateWorld(tmp_path, filling_server.url, store_retry_s=1.0) as opened:
        yield opened
    disk.empty()


def wait_for(world: WeaviateWorld, status: str) -> None:
    """The server looks at its disk twice a second."""
    wait_until(f"Shards that are {status}", lambda: asking(world.weaviate, shard_statuses) == {status}, patience_s=60)


def shard_statuses(client: object) -> set[str]:
    """Of the collection, as the server tells them."""
    return {each.status for each in client.collections.use(COLLECTION).config.get_shards()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("moment", ["embedded:1", "intended:2", "inserted:2", "verified:1"])
def test_full_in_the_middle_of_a_run(world: WeaviateWorld, disk: Disk, moment: str) -> None:
    """An outage, for as long as it is full; nothing is charged; with room again the same command completes."""
    lines = (*NEWER, delete(("gamma", "tail.py")), inline(("beta", "stay.py"), text_of("stay", 3)))
    apply(world, BASE)
    passed: list[str] = []

    def at(point: str) -> None:
        passed.append(point)
        if moment == f"{point}:{passed.count(point)}":
            disk.fill()
            wait_for(world, "READONLY")

    world.engine.faults = at
    assert_outage(world, lines)
    settled = world.query("SELECT line_number FROM completed_lines WHERE run_id = ?", run_ids(world)[-1])
    world.engine.faults = lambda _point: None
    assert_outage(world, lines)
    assert world.query("SELECT line_number FROM completed_lines WHERE run_id = ?", run_ids(world)[-1]) == settled
    disk.empty()
    wait_for(world, "READY")
    run = apply(world, lines, batch_size=BATCH_SIZE)
    assert (run.run_id, run.status) == (run_ids(world)[1], RunStatus.COMPLETED), "the same run goes on"
    assert_truth(world, BASE, lines)


def assert_outage(world: WeaviateWorld, lines: tuple[object, ...]) -> None:
    """Exit 3, a reason, and no line is charged."""
    with pytest.raises(StoreUnavailable) as error:
        apply(world, lines, batch_size=BATCH_SIZE)  # type: ignore[arg-type]
    assert error.value.exit_code == 3
    assert COLLECTION in str(error.value)
    assert "read-only" in str(error.value)
    assert world.query("SELECT * FROM failed_lines") == [], "a full disk was charged to a line"
    counted = "SELECT status, processed_lines, error_count, lease_owner FROM sync_runs ORDER BY sequence DESC LIMIT 1"
    ((rows,),) = world.query("SELECT COUNT(*) FROM completed_lines WHERE run_id = ?", run_ids(world)[-1])
    assert world.query(counted) == [("running", rows, 0, None)]
