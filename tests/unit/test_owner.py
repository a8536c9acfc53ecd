"""Who holds a lease, and whether that process still lives: told from its pid, its start time, its host and boot."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from elysia_dagster.checkpoint.owner import Liveness, Owner, this_host

HOST = this_host()
ME = Owner.this_process(HOST)


def test_this_process_lives_and_is_named_the_same_every_time() -> None:
    assert Owner.this_process() == ME
    assert ME.pid == os.getpid()
    assert ME.liveness(HOST) is Liveness.ALIVE
    assert str(ME) == f"process {os.getpid()} on {HOST.name}"
    assert Owner.from_json(ME.to_json()) == ME


def test_a_process_is_dead_once_it_has_ended_waited_for_or_not() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner.of(process.pid)
    assert owner.liveness(HOST) is Liveness.ALIVE
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert owner.liveness(HOST) is Liveness.DEAD, "a zombie does nothing any more"
    process.communicate()
    assert owner.liveness(HOST) is Liveness.DEAD
    assert Owner.of(process.pid).started == ""
    assert Owner.of(process.pid).liveness(HOST) is Liveness.DEAD


@pytest.mark.parametrize(
    ("owner", "liveness"),
    [
        (replace(ME, started="1"), Liveness.DEAD),  # a later process has got its pid
        (replace(ME, host=replace(HOST, boot_id="an earlier one")), Liveness.DEAD),
        (replace(ME, host=replace(HOST, pid_namespace="another container")), Liveness.UNKNOWN),
        (replace(ME, host=replace(HOST, name="elsewhere")), Liveness.UNKNOWN),
        (replace(ME, host=replace(HOST, name="elsewhere", boot_id="x")), Liveness.UNKNOWN),
    ],
)
def test_what_can_be_told_of_others(owner: Owner, liveness: Liveness) -> None:
    assert owner.liveness(HOST) is liveness
