"""A thread that finds no memory to begin with: its starter is told, and does not wait for it for ever."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from sync_world import World

from elysia_dagster.exhaustion import FOR_A_THREAD_BYTES, check_memory_for_thread, exhausted
from elysia_dagster.models import RunStatus

LIMITED = f"""
import resource, threading
from elysia_dagster.exhaustion import check_memory_for_thread
pages = int(open("/proc/self/statm").read().split()[0])
in_use = pages * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + {FOR_A_THREAD_BYTES // 2}, resource.RLIM_INFINITY))
try:
    check_memory_for_thread()
except MemoryError:
    print("told")
resource.setrlimit(resource.RLIMIT_AS, (in_use + 2 * {FOR_A_THREAD_BYTES}, resource.RLIM_INFINITY))
check_memory_for_thread()
thread = threading.Thread(target=print, args=("began",))
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_below_a_limit_it_is_told_and_above_it_begins() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["told", "began"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_it_is_given_back() -> None:
    before = address_space()
    for _ in range(100):
        check_memory_for_thread()
    assert address_space() - before < 50 * FOR_A_THREAD_BYTES


def address_space() -> int:
    """What this process has of it, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@pytest.mark.parametrize("module", ["checkpoint.heartbeat", "sync.embed", "sync.background"])
def test_a_run_that_finds_none_charges_nobody_and_is_resumed(
    light_world: World, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """Of all the threads that a run begins."""

    def without_memory() -> None:
        raise MemoryError

    assert light_world.recording is not None
    light_world.recording.takes_calls_at_once = True
    with monkeypatch.context() as patched:
        patched.setattr(f"elysia_dagster.{module}.check_memory_for_thread", without_memory)
        with pytest.raises(MemoryError) as error:
            light_world.sync({"repo": "repo", "path": "a.py", "op": "add", "content": "a = 1\n"})
    assert "Memory is used up" in str(exhausted(error.value))
    assert light_world.query("SELECT status, processed_lines, lease_owner FROM sync_runs") == [("running", 0, None)]
    assert light_world.query("SELECT * FROM failed_lines") == []
    ((run_id,),) = light_world.query("SELECT run_id FROM sync_runs")
    assert light_world.resume(run_id).status is RunStatus.COMPLETED
