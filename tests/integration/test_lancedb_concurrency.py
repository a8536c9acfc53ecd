"""Many processes on one LanceDB folder: nothing lost, nothing doubled, nothing left locked."""

import importlib.util
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.stores.file_lock import exclusive_lock
from elysia_dagster.stores.lancedb import LanceDBStore

SCRIPT = Path(__file__).with_name("lancedb_process.py")
BATCHES = 4

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def process() -> ModuleType:
    """The script's own functions, to say what it must have written."""
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the script in a role; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def start_process(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-W", "error", str(SCRIPT), str(tmp_path), *arguments]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(child)
        return child

    yield start_process
    for child in running:
        child.kill()
        child.communicate()


def go(folder: Path, children: "list[subprocess.Popen[str]]") -> None:
    """Lets all children begin at once, when the last one is ready."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", child.communicate()[1]
    (folder / "go").touch()


def finish(children: "list[subprocess.Popen[str]]") -> list[str]:
    """Waits for children that must end well; their last lines."""
    outputs = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0] * len(children), [errors for _, errors in outputs]
    return [output.strip().splitlines()[-1] for output, _ in outputs]


def stored(folder: Path, collection: str) -> Counter[tuple[str, str]]:
    """How often each (id, write hash) is in the table."""
    store = LanceDBStore(str(folder / "vectors"))
    return Counter((item.id, item.write_hash) for item in store.scan(collection))


def test_eight_writers_and_a_maintainer_lose_and_double_nothing(
    tmp_path: Path, start: Start, process: ModuleType
) -> None:
    writers = [start("write", f"repo{number}", str(BATCHES)) for number in range(8)]
    maintainer = start("maintain")
    go(tmp_path, [*writers, maintainer])
    incarnations = finish(writers)
    (tmp_path / "stop").touch()
    incarnations += finish([maintainer])
    assert len(set(incarnations)) == 1, "the table was created more than once"
    expected = {
        (item.id, item.write_hash): 1
        for number in range(8)
        for batch in range(BATCHES)
        for item in process.batch_of(f"repo{number}", batch)[:-1]
    }
    assert stored(tmp_path, process.COLLECTION) == expected


def test_writers_of_the_same_new_ids_do_not_double_them(tmp_path: Path, start: Start, process: ModuleType) -> None:
    # Deletes of the one may fall between write and look of the other, so these only write.
    writers = [start("endless", "same") for _ in range(3)]
    go(tmp_path, writers)
    for child in writers:
        assert child.stdout is not None
        while child.stdout.readline() != "9\n":
            assert child.poll() is None, child.communicate()[1]
    for child in writers:
        child.terminate()
        child.wait()
    counts = stored(tmp_path, process.COLLECTION)
    assert set(counts.values()) == {1}
    assert {(item.id, item.write_hash) for batch in range(10) for item in process.batch_of("same", batch)} <= set(
        counts
    )


def test_a_killed_writer_leaves_what_was_acknowledged_and_no_lock(
    tmp_path: Path, start: Start, process: ModuleType
) -> None:
    (tmp_path / "go").touch()
    expected: set[tuple[str, str]] = set()
    for kill in range(3):
        repository = f"killed{kill}"
        child = start("endless", repository)
        assert child.stdout is not None
        for line in child.stdout:
            if line == f"{3 + kill}\n":
                break
        time.sleep(0.004 * kill)  # so that the signal falls into different moments of a write
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
        acknowledged = 3 + kill + len(rest.split())
        expected |= {
            (item.id, item.write_hash)
            for batch in range(acknowledged + 1)
            for item in process.batch_of(repository, batch)
        }
        started = time.monotonic()
        store = LanceDBStore(str(tmp_path / "vectors"))
        after = process.batch_of("after", kill)
        assert store.upsert(process.COLLECTION, after) == [None] * len(after)
        assert time.monotonic() - started < 10.0, "the killed writer's lock was still held"
        expected |= {(item.id, item.write_hash) for item in after}
    counts = stored(tmp_path, process.COLLECTION)
    assert set(counts.values()) == {1}
    assert expected <= set(counts)
    # Beyond what was acknowledged there may be the one batch in hand of each, whole or not at all.
    surplus = Counter(write_hash.rpartition(":")[0] for _, write_hash in set(counts) - expected)
    assert all(count == process.ROWS for count in surplus.values())
    assert len(surplus) <= 3


def test_the_lock_waits_for_its_holder_but_not_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "table.lock"
    with exclusive_lock(path, wait_s=1.0) as held:
        held.write_number(1234)
        held.write_number(7)
        with pytest.raises(StoreUnavailable, match="run the same command again"), exclusive_lock(path, wait_s=0.05):
            pass
    with exclusive_lock(path, wait_s=0.0) as held:
        assert held.read_number() == 7


def test_a_child_that_inherits_the_lock_keeps_it_after_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "table.lock"
    parent = (
        "import subprocess, sys, time; from pathlib import Path\n"
        "from elysia_dagster.stores.file_lock import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1]), wait_s=1) as held:\n"
        "    subprocess.Popen([sys.executable, '-c', 'input()'], pass_fds=[held.fd], stdin=0)\n"
        "    print('started', flush=True)\n"
        "    time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", parent, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "started\n"
    child.kill()
    child.wait()
    with pytest.raises(StoreUnavailable), exclusive_lock(path, wait_s=0.05):
        pass
    child.stdin.close()  # the grandchild's input ends, and so does it
    child.stdout.close()
    with exclusive_lock(path, wait_s=10.0):
        pass
