"""Failed lines handed on: to pandas and other programs, and as a changeset that is applied."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from elysia_dagster.checkpoint import failures

NASTY = b'quoted "name", with comma\tand\xc3\xbc.py'


def fail_some(shell: Any) -> str:
    """A run with six failed lines of all kinds; its id."""
    lines = [
        b"late.py",
        NASTY,
        b"{broken",
        b'{"path": "in/line.py", "content": "x = 1\\n", "op": "nonsense"}',
        b"not \xff UTF-8.py",
        json.dumps({"path": "long.py", "op": "modify", "content": "x = 1\n" * 4000, "content_hash": "0" * 64}).encode(),
    ]
    done = shell.call("sync", "--stdin", stdin=b"".join(line + b"\n" for line in lines))
    assert done.code == 1, done.err
    return str(shell.query("SELECT run_id FROM sync_runs")[0][0])


def rows(shell: Any) -> list[dict[str, Any]]:
    """The failed lines as --json gives them."""
    found: list[dict[str, Any]] = json.loads(shell.call("failed", "--json").out)
    return found


@pytest.fixture(params=[2, 1000], ids=["many pages", "one page"])
def pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of so many rows."""
    monkeypatch.setitem(failures.failed_pages.__kwdefaults__, "rows", request.param)


@pytest.mark.usefixtures("pages")
def test_every_format_says_the_same(shell: Any, tmp_path: Path) -> None:
    fail_some(shell)
    stored = rows(shell)
    assert len(stored) == 6
    lines = [json.loads(line) for line in shell.call("failed", "--format", "jsonl").out.splitlines()]
    read = list(csv.DictReader(io.StringIO(shell.call("failed", "--format", "csv").out)))
    file = tmp_path / "failed.parquet"
    done = shell.call("failed", "--format", "parquet", "--output", str(file))
    assert (done.code, done.out, done.err) == (0, "", "")
    frame = pd.read_parquet(file)
    assert [str(kind) for kind in frame.dtypes[["line_number", "stale"]]] == ["Int64", "boolean"]
    for place, row in enumerate(stored):
        assert {name: row[name] for name in lines[place]} == lines[place]
        assert set(lines[place]) == set(row)
        for name, value in lines[place].items():
            assert read[place][name] == ("" if value is None else str(value)), name
            found = frame[name].iloc[place]
            assert (value is None and pd.isna(found)) or found == value, name


def test_a_file_is_whole_or_not_there(shell: Any, tmp_path: Path) -> None:
    run_id = fail_some(shell)
    file = tmp_path / "failed.csv"
    file.write_text("older")
    assert shell.call("failed", "--run-id", run_id, "--format", "csv", "--output", str(file)).code == 0
    assert len(pd.read_csv(file)) == 6
    before = file.read_bytes()
    assert shell.call("failed", "--run-id", "sync-x", "--format", "csv", "--output", str(file)).code == 2
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.glob("*failed*")] == ["failed.csv"], "something was left beside it"
    missing = shell.call("failed", "--format", "csv", "--output", str(tmp_path / "none" / "failed.csv"))
    assert (missing.code, "cannot be written: No such file" in missing.err) == (2, True)
    assert shell.call("failed", "--format", "csv", "--output", "/dev/null").code == 0
    assert not Path("/dev/null").is_file(), "a device was replaced by a file"


def test_what_makes_no_sense_is_said(shell: Any, tmp_path: Path) -> None:
    for arguments in (
        ["--json", "--format", "csv"],
        ["--as-changeset", "--format", "csv"],
        ["--output", str(tmp_path / "x")],
        ["--format", "xml"],
        ["--format", "csv", "--run-id", "sync-x"],
        ["--as-changeset", "--run-id", "sync-x"],
    ):
        assert shell.call("failed", *arguments).code == 2, arguments
    assert shell.call("failed", "--format", "csv").out.startswith("run_id,line_number,")
    assert shell.call("failed", "--as-changeset").out == ""
    assert not shell.state.exists(), "looking makes nothing"
    file = tmp_path / "none.parquet"
    assert shell.call("failed", "--format", "parquet", "--output", str(file)).code == 0
    assert len(pd.read_parquet(file)) == 0


def test_parquet_is_not_for_a_terminal(shell: Any) -> None:
    controller, terminal = pty.openpty()
    process = shell.start("failed", "--format", "parquet", stdout=terminal)
    os.close(terminal)
    _, err = process.communicate(timeout=60)
    os.close(controller)
    assert (process.returncode, "--output" in err) == (2, True)


def test_it_is_applied_by_a_pipe(shell: Any) -> None:
    fail_some(shell)
    typed = f"{sys.executable} -c 'from elysia_dagster.cli import main; main()' index"
    shell.write(late_py="y = 2\n")
    pipe = f"{typed} failed --as-changeset | {typed} sync --stdin --collection Demo"
    done = subprocess.run(["bash", "-c", pipe], check=False, capture_output=True, timeout=120)
    assert (done.returncode, b"1 indexed, 4 failed" in done.stdout) == (1, True), done.stderr
    assert b" | elysiactl index sync --stdin --collection Demo --store lancedb:" in done.stderr


@pytest.mark.usefixtures("pages")
def test_a_changeset_of_what_failed_is_applied(shell: Any, tmp_path: Path) -> None:
    """By the command that is printed: lines as they stood, and none that was not kept whole."""
    run_id = fail_some(shell)
    file = tmp_path / "again.jsonl"
    done = shell.call("failed", "--as-changeset", "--output", str(file))
    assert done.code == 1
    sent = [b"late.py", NASTY, b"{broken", b'{"path": "in/line.py", "content": "x = 1\\n", "op": "nonsense"}']
    assert "Left out, line 6, long.py: only 16,384 of its 28,134 bytes" in done.err
    assert f"elysiactl index retry --run-id {run_id} --line 6" in done.err
    shell.write(late_py="y = 2\n")
    (shell.repository / NASTY.decode()).write_text("z = 3\n")
    (command,) = [line for line in done.err.splitlines() if "Apply them: " in line]
    _, _, typed = command.partition("Apply them: ")
    assert file.read_bytes().split(b"\n") == [*sent, b"not \xff UTF-8.py", b""]
    assert shell.call(*typed.split()[2:]).code == 1
    assert shell.query("SELECT path FROM documents WHERE state = 'present' ORDER BY path") == [
        ("late.py",),
        (NASTY.decode(),),
    ]
    older = shell.query(f"SELECT line_number FROM failed_lines WHERE run_id = '{run_id}' ORDER BY 1")
    assert [number for (number,) in older] == [3, 4, 5, 6], "what has been applied is answered"


def test_a_line_whose_document_has_changed_since_is_left_out(shell: Any) -> None:
    """A changeset is the newest of all: a line of old content would undo what came after it."""
    old = '{"path": "%s", "content": "old = 1\\n", "content_hash": "' + "0" * 64 + '"}\n'
    names = ["renamed.py -> doc.py", "gone/doc.py", "stays.py", "gone.py"]
    assert shell.call("sync", "--stdin", stdin="".join(old % name for name in names).encode()).code == 1
    newer = b'{"path": "doc.py", "content": "new = 1\\n"}\n{"path": "gone/", "op": "delete"}\n'
    assert shell.call("sync", "--stdin", stdin=newer).code == 0
    done = shell.call("failed", "--as-changeset")
    assert [json.loads(line)["path"] for line in done.out.splitlines()] == names[2:]
    assert done.code == 1
    for path in ("doc.py", "gone/doc.py"):
        assert f"{path}: a newer run has changed or removed its document since" in done.err


def test_lines_separated_by_nul_stay_so(shell: Any, tmp_path: Path) -> None:
    name = "two\nlines.py"
    assert shell.call("sync", "--stdin", "--null", stdin=f"{name}\0late.py\0".encode()).code == 1
    file = tmp_path / "again"
    done = shell.call("failed", "--as-changeset", "--output", str(file))
    assert (done.code, file.read_bytes()) == (0, f"{name}\0late.py\0".encode())
    assert f"index sync {file} " in done.err
    assert done.err.rstrip().endswith("--null")
    (shell.repository / name).write_text("x = 1\n")
    shell.write(late_py="y = 1\n")
    assert shell.call(*done.err.partition("elysiactl index ")[2].split()).code == 0
    assert rows(shell) == []


def test_lines_of_two_places_are_given_one_run_at_a_time(shell: Any, tmp_path: Path) -> None:
    first = fail_some(shell)
    assert shell.call("sync", "--stdin", "--collection", "Other", stdin=b"other.py\n").code == 1
    done = shell.call("failed", "--as-changeset")
    assert (done.code, done.out) == (2, "")
    assert f"Name one: elysiactl index failed --as-changeset --run-id {first}" in done.err
    file = tmp_path / "one.jsonl"
    assert shell.call("failed", "--as-changeset", "--run-id", first, "--output", str(file)).code == 1
    assert file.read_bytes().startswith(b"late.py\n")
    assert len(shell.call("failed", "--format", "jsonl").out.splitlines()) == 7


def test_a_reader_that_goes_away_is_no_error(shell: Any) -> None:
    fail_some(shell)
    process = shell.start("failed", "--format", "jsonl")
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_other_formats_load_no_pandas(shell: Any) -> None:
    fail_some(shell)
    script = (
        "import sys; from elysia_dagster.cli import run; "
        "codes = [run(['index', 'failed', *more]) for more in ([], ['--format', 'jsonl'], ['--as-changeset'])]; "
        "heavy = [name for name in ('pandas', 'pyarrow', 'numpy', 'lancedb', 'dagster') if name in sys.modules]; "
        "print(codes, heavy, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)
    assert done.stderr.splitlines()[-1] == b"[0, 0, 1] []"
