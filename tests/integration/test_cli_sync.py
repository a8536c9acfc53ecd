"""``index sync`` and ``index search`` as people type them: inputs, reports, what goes to which stream."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

FILES = {
    "settle_py": "def settle_batch(lines):\n    return len(lines)\n",
    "read_py": "def read_changeset(path):\n    return open(path)\n",
    "notes_md": "# Notes\n\nEvery night.\n",
}


def git_ls_files(folder: Path, *options: str) -> bytes:
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return subprocess.run(["git", "ls-files", *options], cwd=folder, check=True, capture_output=True).stdout


def test_git_ls_files_as_a_process(shell: Any) -> None:
    shell.write(**FILES)
    done = shell.run("sync", "--stdin", "--collection", "Demo", "--verbose", stdin=git_ls_files(shell.repository))
    assert done.code == 0
    assert "completed: 3 lines into Demo" in done.out
    assert "3 indexed" in done.out
    assert "elysiactl:" not in done.out, "notes belong to standard error"
    assert "batch 1: 3 indexed" in done.err
    assert "3/3 lines settled, 0 failed" in done.err
    assert "completed:" not in done.err, "the report belongs to standard output"


def test_separated_by_nul_with_and_without_the_option(shell: Any) -> None:
    shell.write(**FILES)
    shell.write(über_py="x = 1\n")
    names = git_ls_files(shell.repository, "-z")
    with_option = shell.call("sync", "--stdin", "--null", "--json", stdin=names)
    assert with_option.code == 0
    assert json.loads(with_option.out)["outcomes"] == {"indexed": 4}
    without = shell.call("sync", "--stdin", "--json", stdin=names)
    assert json.loads(without.out)["outcomes"] == {"unchanged": 4}
    assert "separated by NUL" in without.err


def test_the_same_bytes_every_night_index_what_changed(shell: Any) -> None:
    shell.write(**FILES)
    names = git_ls_files(shell.repository)
    assert shell.call("sync", "--stdin", stdin=names).code == 0
    shell.write(notes_md="# Notes\n\nEvery morning, by the harbour.\n")
    night = json.loads(shell.call("sync", "--stdin", "--json", stdin=names).out)
    assert night["outcomes"] == {"indexed": 1, "unchanged": 2}
    assert night["resumed"] is False
    hits = json.loads(shell.call("search", "harbour", "--mode", "text", "--json").out)
    assert [hit["relative_path"] for hit in hits] == ["notes.md"]
    forced = json.loads(shell.call("sync", "--stdin", "--json", "--force", stdin=names).out)
    assert forced["outcomes"] == {"indexed": 3}


def test_a_self_contained_changeset_again_is_nothing_to_do(shell: Any, tmp_path: Path) -> None:
    changeset = tmp_path / "changes.jsonl"
    lines = [
        {"repo": "alpha", "path": "a.py", "op": "add", "content": "alpha = 1\n"},
        {"repo": "alpha", "new_changeset": {"commit": "c1", "branch": "main"}},
    ]
    changeset.write_text("".join(json.dumps(line) + "\n" for line in lines))
    first = shell.call("sync", str(changeset))
    assert first.code == 0
    assert "1 indexed, 1 changeset" in first.out
    again = shell.call("sync", str(changeset))
    assert again.code == 0
    assert again.out.startswith("Nothing to do: ")
    assert json.loads(shell.call("sync", str(changeset), "--json").out)["nothing_to_do"] is True


def test_a_changeset_whose_name_is_no_utf_8(shell: Any, tmp_path: Path) -> None:
    shell.write(**FILES)
    odd = Path(os.fsdecode(bytes(tmp_path / "caf") + b"\xe9.txt"))
    odd.write_text("read.py\n")
    assert shell.call("sync", str(odd)).code == 0
    assert "caf\\udce9.txt" in shell.call("status").out


def test_the_report_as_json(shell: Any) -> None:
    shell.write(**FILES)
    done = shell.call("sync", "--stdin", "--json", stdin=b"read.py\ngone.py\n")
    report = json.loads(done.out)
    assert done.code == 1
    assert set(report) >= {
        "run_id", "status", "counts", "outcomes", "checks", "commits", "gaps", "failures", "repair_command",
        "seconds", "lines_per_second",
    }  # fmt: skip
    assert report["status"] == "failed"
    assert report["counts"] == {"total_lines": 2, "processed_lines": 2, "success_count": 1, "error_count": 1}
    assert report["failures"][0]["file_path"] == "gone.py"
    assert report["repair_command"] == f"elysiactl index retry --run-id {report['run_id']}"


def test_quiet_prints_nothing_on_success(shell: Any) -> None:
    shell.write(**FILES)
    done = shell.call("sync", "--stdin", "--quiet", stdin=b"read.py\n")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_search(shell: Any, mode: str) -> None:
    shell.write(**FILES)
    shell.call("sync", "--stdin", stdin=b"settle.py\nread.py\nnotes.md\n")
    found = shell.call("search", "settle_batch lines", "--mode", mode, "-k", "1", "--repository", "demo", "--json")
    hits = json.loads(found.out)
    assert [set(hit) for hit in hits] == [{"repository", "relative_path", "start_line", "end_line", "score", "text"}]
    assert (hits[0]["repository"], hits[0]["relative_path"]) == ("demo", "settle.py")
    shown = shell.call("search", "settle_batch lines", "--mode", mode, "-k", "1")
    assert shown.out.startswith("1. demo/settle.py:1-2  (")
    assert "def settle_batch" in shown.out


def test_what_steers_a_terminal_is_made_visible(shell: Any) -> None:
    shell.write(evil_txt="harmless\x1b]0;title\x07 words\n")
    shell.call("sync", "--stdin", stdin=b"evil.txt\n\x1b[31mred.py\n")
    assert "\x1b" not in shell.call("search", "harmless words").out
    failed = shell.call("failed")
    assert "\x1b" not in failed.out
    assert "\\x1b[31mred.py" in failed.out


def snapshot(shell: Any) -> tuple[dict[str, bytes], dict[str, list[Any]]]:
    vectors = shell.state / "vectors"
    files = {str(path): path.read_bytes() for path in vectors.rglob("*") if path.is_file()}
    names = [name for (name,) in shell.query("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = {name: shell.query(f"SELECT * FROM {name}") for name in names if name != "sequences"}
    return files, rows


def test_a_dry_run_says_what_would_be_and_changes_nothing(shell: Any) -> None:
    shell.write(**FILES)
    fresh = shell.call("sync", "--stdin", "--dry-run", stdin=b"read.py\n")
    assert fresh.code == 0
    assert not (shell.state / "vectors").exists() or not list((shell.state / "vectors").iterdir())
    shell.call("sync", "--stdin", stdin=b"settle.py\nread.py\n")
    files, rows = snapshot(shell)
    shell.write(read_py="def read_more():\n    return 2\n")
    deletion = b'{"path": "settle.py", "op": "delete"}\n'
    lines = b"notes.md\nread.py\ngone.py\n" + deletion
    shown = shell.call("sync", "--stdin", "--dry-run", stdin=lines)
    assert shown.code == 0, "a line that would fail has not failed"
    for words in ("1 document added", "1 changed", "1 deleted", "1 failed", "2 chunks with"):
        assert words in shown.out
    assert "Would fail: line 3:" in shown.out
    preview = json.loads(shell.call("sync", "--stdin", "--dry-run", "--json", stdin=lines).out)
    assert [preview[name] for name in ("added", "changed", "deleted", "failed", "chunks")] == [1, 1, 1, 1, 2]
    assert preview["tokens"] > 0
    files_after, rows_after = snapshot(shell)
    assert files_after == files
    assert [run for run in rows_after.pop("sync_runs") if run in rows["sync_runs"]] == rows.pop("sync_runs")
    assert rows_after == rows
