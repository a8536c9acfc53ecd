"""Every exit code, and the one sentence that comes with it."""

import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from elysia_dagster.embedders import openai
from elysia_dagster.settings import Settings
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.plan import plan_batches
from elysia_dagster.sync.read import read_changeset
from elysia_dagster.sync.request import SyncRequest

COMMAND = [sys.executable, "-c", "from elysia_dagster.cli import main; main()", "index"]


def refused(result: Any, code: int) -> str:
    """The one sentence of a command that gave nothing else."""
    assert result.code == code, result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    lines: list[str] = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("elysiactl: ")
    return lines[0]


def runs_of(shell: Any) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = shell.query("SELECT status FROM sync_runs")
    return rows


def test_2_for_wrong_usage_before_anything_is_made(shell: Any) -> None:
    assert "No changeset was given" in refused(shell.call("sync"), 2)
    assert "Both" in refused(shell.call("sync", "a.jsonl", "--stdin"), 2)
    assert "--sdtin" in refused(shell.call("sync", "--sdtin"), 2)
    assert "--batch-size" in refused(shell.call("sync", "a.jsonl", "--batch-size", "0"), 2)
    assert "Add --run-id" in refused(shell.call("retry", "--line", "3"), 2)
    assert "--summary" in refused(shell.call("status", "--summary", "--failed"), 2)
    assert "--yes" in refused(shell.call("forget"), 2)
    assert "Nothing was indexed yet" in refused(shell.call("search", "words"), 2)
    assert not shell.state.exists()


def test_2_for_a_changeset_that_cannot_be_read_and_no_run_opened(shell: Any, tmp_path: Path) -> None:
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(b"read.py\n" * 10_000)[:-20])
    assert "cannot be read: No such file" in refused(shell.call("sync", "missing.jsonl"), 2)
    assert "is a folder" in refused(shell.call("sync", str(tmp_path)), 2)
    assert "is broken" in refused(shell.call("sync", str(torn)), 2)
    assert "A store of the kind 'nowhere' is not known" in refused(
        shell.call("sync", str(torn), "--store", "nowhere:at-all"), 2
    )
    assert "'unheard'" in refused(shell.call("sync", str(torn), "--embedder", "unheard"), 2)
    assert "cannot name a collection" in refused(shell.call("sync", str(torn), "--collection", "demo"), 2)
    assert "is not a folder" in refused(shell.call("sync", str(torn), "--root", "nowhere"), 2)
    outside = shell.call("sync", "--stdin", stdin=b"/etc/hostname\n/etc/hosts\n")
    assert "Add --root /etc" in refused(outside, 2)
    assert runs_of(shell) == []
    assert list((shell.state / "work").iterdir()) == []


def test_2_for_a_wrong_setting(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELYSIACTL_BATCH_SIZE", "many")
    assert "ELYSIACTL_BATCH_SIZE='many' is not a number" in refused(shell.call("sync", "--stdin", stdin=b""), 2)
    monkeypatch.delenv("ELYSIACTL_BATCH_SIZE")
    monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_URL", "no url, secret")
    sentence = refused(shell.call("status"), 2)
    assert "ELYSIACTL_CHECKPOINT_DB_URL" in sentence
    assert "secret" not in sentence


def test_2_for_a_collection_that_is_not_ours(shell: Any) -> None:
    shell.write(read_py="x = 1\n")
    shell.call("sync", "--stdin", stdin=b"read.py\n")
    forgot = shell.call("forget", "--yes")
    assert forgot.out == "Forgot Demo with 1 document.\n"
    assert "still holds a collection Demo" in forgot.err
    assert "was not made by this checkpoint" in refused(shell.call("sync", "--stdin", stdin=b"read.py\n"), 2)


def test_2_for_a_search_with_another_embedder(shell: Any) -> None:
    shell.write(read_py="x = 1\n")
    shell.call("sync", "--stdin", stdin=b"read.py\n")
    assert "There is no collection Other" in refused(shell.call("search", "x", "--collection", "Other"), 2)
    with_other = shell.call("search", "x", "--embedder", "openai:small")
    assert "--mode text" in refused(with_other, 2)


def test_1_then_0_when_the_missing_file_has_come(shell: Any) -> None:
    shell.write(read_py="x = 1\n")
    first = shell.call("sync", "--stdin", stdin=b"read.py\nlate.py\n{\n")
    assert first.code == 1
    assert "Line 2, late.py: " in first.out
    assert "does not exist" in first.out
    assert "elysiactl index retry --run-id sync-" in first.out
    still = shell.call("retry")
    assert still.code == 1
    shell.write(late_py="y = 2\n")
    mended = shell.call("retry")
    assert mended.code == 1, "the line that is no JSON is left"
    assert "1 failed" in mended.out
    assert mended.out.rstrip().endswith("--permanent")
    nothing_eligible = shell.call("retry")
    assert nothing_eligible.code == 1
    assert "--permanent" in nothing_eligible.err
    run_id = shell.query("SELECT run_id FROM sync_runs")[0][0]
    assert shell.call("retry", "--run-id", run_id, "--line", "3").code == 1
    assert shell.query("SELECT line_number, retry_count FROM failed_lines") == [(3, 1)]
    assert "are failed lines" in refused(shell.call("retry", "--run-id", run_id, "--line", "1"), 2)


def test_retry_completes_a_run(shell: Any) -> None:
    assert shell.call("sync", "--stdin", stdin=b"late.py\n").code == 1
    assert shell.query("SELECT status, error_count FROM sync_runs") == [("failed", 1)]
    shell.write(late_py="y = 2\n")
    done = json.loads(shell.call("retry", "--json").out)
    assert [(run["status"], run["outcomes"]) for run in done["runs"]] == [("completed", {"indexed": 1})]
    assert shell.query("SELECT status, error_count, success_count FROM sync_runs") == [("completed", 0, 1)]
    nothing = shell.call("retry")
    assert (nothing.code, nothing.out) == (0, "")
    assert "There is no failed line" in nothing.err


def test_3_while_the_embedder_is_unreachable_and_nothing_is_charged(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(openai, "_CHECK_BUDGET_S", 0.2)
    monkeypatch.setenv("ELYSIACTL_OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    monkeypatch.setenv("ELYSIACTL_OPENAI_API_KEY", "sk-hidden")
    shell.write(read_py="x = 1\n")
    out = shell.call("sync", "--stdin", "--embedder", "openai:small@8", "--verbose", stdin=b"read.py\n")
    assert out.code == 3
    assert "did not answer" in out.err
    assert "because of" in out.err, "--verbose names what is behind it"
    assert "sk-hidden" not in out.err
    assert shell.query("SELECT status, processed_lines FROM sync_runs") == [("running", 0)]
    assert shell.query("SELECT * FROM failed_lines") == []
    assert refused(shell.call("resume"), 3)


def test_3_when_standard_output_takes_no_more(shell: Any) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "status"], check=False, stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


def test_a_reader_that_goes_away_changes_nothing(shell: Any) -> None:
    shell.write(read_py="x = 1\n")
    reading, writing = os.pipe()
    os.close(reading)
    done = shell.start("sync", "--stdin", stdin=subprocess.PIPE, stdout=writing)
    os.close(writing)
    _, err = done.communicate("read.py\ngone.py\n", timeout=60)
    assert done.returncode == 1, "the exit code is still the run's"
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_4_while_another_process_holds_the_run_or_its_repositories(shell: Any) -> None:
    shell.write(read_py="x = 1\n", other_py="y = 1\n")
    with closing(Engine.open(Settings.from_environment())) as engine:
        request = SyncRequest(changeset=None, collection="Demo", roots=(shell.repository,))
        begun = read_changeset(engine, request, io.BufferedReader(io.BytesIO(b"read.py\n"))).run_id
        with engine.work_on(begun) as work:
            plan_batches(work)
            same = shell.run("sync", "--stdin", stdin=b"read.py\n")
            sentence = refused(same, 4)
            assert f"held by process {os.getpid()} on " in sentence
            assert " since " in sentence
            overlapping = shell.call("sync", "--stdin", stdin=b"other.py\n")
            assert overlapping.code == 4
            assert f"Repository demo is held by run {begun}" in overlapping.err
            assert "running" in shell.call("status").out
            assert "is held by" in refused(shell.call("abandon", "--run-id", begun), 4)
            assert shell.call("resume", "--run-id", begun).code == 4
            others = shell.call("resume")
            assert f"Left out: run {begun} is being worked on by process {os.getpid()}" in others.err
            assert others.code == 4, "the other run still meets the claim of the one that is worked on"
    assert "waits to be resumed" in shell.call("status").out
    resumed = shell.call("resume")
    assert resumed.code == 0, resumed.err
    assert resumed.out.count("Resumed run ") == 2
    assert runs_of(shell) == [("completed",), ("completed",)]


def test_resume_of_all_leaves_out_what_cannot_be_gone_on_with_here(shell: Any) -> None:
    shell.write(read_py="x = 1\n", other_py="y = 1\n")
    names = []
    with closing(Engine.open(Settings.from_environment())) as engine:
        request = SyncRequest(changeset=None, collection="Demo", roots=(shell.repository,))
        for line in (b"read.py\n", b"other.py\n"):
            names.append(read_changeset(engine, request, io.BufferedReader(io.BytesIO(line))).run_id)
        shutil.rmtree(shell.state / "work" / names[0])
        with engine.work_on(names[1]):
            nothing = shell.call("resume")
            assert nothing.code == 0, nothing.err
            assert f"Left out: the input of run {names[0]} is not in" in nothing.err
            assert f"Left out: run {names[1]} is being worked on by process" in nothing.err
            assert nothing.out == ""
    other = shell.call("resume", "--json")
    assert other.code == 0, other.err
    assert [run["run_id"] for run in json.loads(other.out)["runs"]] == [names[1]]
    assert refused(shell.call("resume", "--run-id", names[0]), 2)
    assert shell.call("sync", "--stdin", stdin=b"read.py\n").code == 0


def test_70_for_a_bug(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_settings: Settings) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Settings, "find_database", broken)
    sentence = refused(shell.call("search", "words"), 70)
    assert "KeyError" in sentence
    assert "--verbose" in sentence
    said = shell.call("search", "words", "--verbose")
    assert said.code == 70
    assert "Traceback" in said.err
