"""``index unlock``: what it shows, when it asks, and when it will not."""

import json
import os
import pty
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from elysia_dagster.checkpoint import clock
from elysia_dagster.checkpoint.owner import Host, Owner, this_host

ELSEWHERE = Owner(host=Host(name="build-7", boot_id="another", pid_namespace="pid:[1]"), pid=4711, started="1")


def hold(shell: Any, owner: Owner, *, seconds: float = 600.0, repository: str = "demo") -> str:
    """A run that ``owner`` works on, and claims a repository for; its id."""
    shell.write(read_py="x = 1\n")
    assert shell.call("sync", "--stdin", stdin=b"read.py\n").code == 0
    with closing(sqlite3.connect(shell.state / "sync_checkpoints.db")) as connection, connection:
        ((run_id,),) = connection.execute("SELECT run_id FROM sync_runs")
        moment, end = clock.stamp(), clock.stamp_after(seconds)
        connection.execute(
            "UPDATE sync_runs SET status = 'running', completed_at = NULL, lease_owner = ?, lease_since = ?,"
            " lease_heartbeat = ?, lease_expires_at = ?, lease_token = lease_token + 1",
            [owner.to_json(), moment, moment, end],
        )
        connection.execute(
            "INSERT INTO repository_claims SELECT collection_id, ?, ?, ? FROM collections", [repository, run_id, moment]
        )
    return str(run_id)


def lease(shell: Any) -> tuple[Any, ...]:
    """Owner and token of the one run."""
    ((owner, token),) = shell.query("SELECT lease_owner, lease_token FROM sync_runs")
    return owner, token


def test_it_shows_who_holds_what(shell: Any) -> None:
    assert shell.call("unlock").out == "Nobody holds anything: there are no runs yet.\n"
    assert not shell.state.exists()
    run_id = hold(shell, ELSEWHERE)
    before = lease(shell)
    shown = shell.call("unlock")
    assert shown.code == 0
    for words in (run_id, "process 4711 on build-7", "cannot be told from this host", "demo"):
        assert words in shown.out
    assert lease(shell) == before


@pytest.mark.parametrize("by", ["run", "repository"])
def test_without_a_terminal_it_wants_yes(shell: Any, by: str) -> None:
    run_id = hold(shell, ELSEWHERE)
    named = ["--run-id", run_id] if by == "run" else ["--repository", "demo"]
    before = lease(shell)
    refused = shell.call("unlock", *named, stdin=b"build-7\n")
    assert (refused.code, "add --yes" in refused.err) == (2, True)
    assert lease(shell) == before
    held = shell.call("sync", "--stdin", stdin=b"read.py\n")
    assert held.code == 4

    done = shell.call("unlock", *named, "--yes")
    assert done.code == 0
    assert f"Run {run_id} is free; 0 documents of it" in done.out
    assert f"elysiactl index resume --run-id {run_id}" in done.out
    assert lease(shell) == (None, before[1] + 1)
    assert shell.query("SELECT * FROM repository_claims") == []
    again = shell.call("unlock", *named, "--yes")
    assert (again.code, again.out.startswith("Nobody ")) == (0, True), "asked twice, it is as free as before"
    assert shell.call("resume", "--run-id", run_id).code == 0


@pytest.mark.parametrize(("typed", "code"), [("build-7\n", 0), ("yes\n", 2), ("\n", 2), ("\x04", 2), ("\x03", 130)])
def test_on_a_terminal_it_asks(shell: Any, typed: str, code: int) -> None:
    run_id = hold(shell, ELSEWHERE)
    before = lease(shell)
    controller, terminal = pty.openpty()
    process = shell.start("unlock", "--run-id", run_id, stdin=terminal, start_new_session=True)
    os.close(terminal)
    asked = ""
    while "to take the run from it: " not in asked:
        piece = process.stderr.read(1)
        assert piece, asked
        asked += piece
    if typed == "\x03":  # no terminal of its own sends it
        process.send_signal(2)
    else:
        os.write(controller, typed.encode())
    out, _ = process.communicate(timeout=60)
    os.close(controller)
    assert process.returncode == code
    assert "build-7" in asked
    assert ("is free" in out) == (code == 0)
    assert (lease(shell) == before) == (code != 0)


def test_a_living_process_of_this_host_is_to_be_stopped(shell: Any) -> None:
    run_id = hold(shell, Owner.of(os.getppid()))
    before = lease(shell)
    refused = shell.call("unlock", "--run-id", run_id, "--yes")
    assert (refused.code, f"kill {os.getppid()}" in refused.err) == (4, True)
    assert lease(shell) == before
    assert " yes " in shell.call("unlock").out


def test_a_dead_one_may_be_taken_from_too(shell: Any) -> None:
    run_id = hold(shell, Owner(host=this_host(), pid=4711, started="long ago"))
    done = shell.call("unlock", "--run-id", run_id, "--yes")
    assert (done.code, "alive        no\n" in done.out) == (0, True)


def test_what_is_not_held_is_said(shell: Any) -> None:
    assert shell.call("unlock", "--run-id", "sync-x").code == 2
    run_id = hold(shell, ELSEWHERE, seconds=-5)
    assert "UTC (it has)" in shell.call("unlock", "--run-id", run_id, "--yes").out
    assert shell.call("unlock", "--run-id", "sync-x", "--yes").code == 2
    assert shell.call("unlock", "--repository", "none", "--yes").out == "Nobody claims repository none.\n"
    assert shell.call("unlock", "--run-id", run_id, "--repository", "demo").code == 2
    assert shell.call("resume", "--run-id", run_id).code == 0
    assert shell.call("unlock", "--run-id", run_id).out == f"Nobody holds run {run_id}: it is completed.\n"
    assert shell.call("unlock").out == "Nobody holds anything.\n"


def test_a_sign_of_life_while_it_asks_counts(shell: Any) -> None:
    """The process was thought dead, and renews its lease while the person still reads."""
    run_id = hold(shell, ELSEWHERE)
    controller, terminal = pty.openpty()
    process = shell.start("unlock", "--run-id", run_id, stdin=terminal)
    os.close(terminal)
    asked = ""
    while "to take the run from it: " not in asked:
        asked += process.stderr.read(1)
    time.sleep(0.001)
    with closing(sqlite3.connect(shell.state / "sync_checkpoints.db")) as connection, connection:
        connection.execute("UPDATE sync_runs SET lease_heartbeat = ?", [clock.stamp()])
    before = lease(shell)
    os.write(controller, b"build-7\n")
    _, err = process.communicate(timeout=60)
    os.close(controller)
    assert (process.returncode, "it is alive" in err) == (2, True)
    assert lease(shell) == before
    assert json.loads(before[0])["pid"] == 4711
