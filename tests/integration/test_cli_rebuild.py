"""``index rebuild`` from the shell: what it prints, and what its exit codes say."""

import json
import shlex
from typing import Any


def commands(text: str) -> list[list[str]]:
    """Every command of ours that a text names, in words."""
    found = [each.partition("elysiactl index ")[2] for each in text.splitlines()]
    return [shlex.split(each) for each in found if each]


def test_from_one_collection_to_the_other(shell: Any) -> None:
    shell.write(read_py="def read():\n    return 1\n", late_py="def late():\n    return 2\n")
    assert shell.call("sync", "--stdin", stdin=b"read.py\nlate.py\n").code == 0
    shell.write(late_py="def late():\n    return 3\n")

    done = shell.call("rebuild", "--into", "Demo2", "--switch")
    assert done.code == 1
    assert "Demo2 agrees with Demo in 1 document; 1 differ." in done.out
    assert "Content not to be had, or changed since: 1 document" in done.out
    (again,) = commands(done.out)
    assert again[:3] == ["sync", "--collection", "Demo"]
    assert shell.call(*again).code == 0, "the command can be typed as it stands"

    done = shell.call("rebuild", "--into", "Demo2")
    assert done.code == 0
    assert "is being rebuilt from Demo." in shell.call("status", "--summary").out
    (switch,) = commands(done.out)
    assert "--switch" in switch
    done = shell.call(*switch, "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert (report["switched"], report["agreeing"], report["aliases"], report["runs"]) == (True, 2, None, [])

    old = shell.call("search", "late", "--mode", "text", "-k", "1")
    assert (old.code, "it was rebuilt as --collection Demo2." in old.err) == (0, True)
    done = shell.call(*switch, "--drop-old")
    assert done.code == 0
    assert "export ELYSIACTL_COLLECTION=Demo2" in done.out
    assert done.out.rstrip().endswith("Demo is dropped.")
    assert "takes no changeset: Demo2 replaces it." in shell.call("status", "--summary").out
    gone = shell.call("search", "late", "--mode", "text")
    assert (gone.code, "It was rebuilt as --collection Demo2." in gone.err) == (2, True)
    refused = shell.call("sync", "--stdin", stdin=b"read.py\n")
    assert refused.code == 2
    assert "Collection Demo was rebuilt as Demo2" in refused.err
    assert shell.call("sync", "--stdin", "--collection", "Demo2", stdin=b"read.py\nlate.py\n").code == 0
    assert shell.query("SELECT outcome, COUNT(*) FROM completed_lines GROUP BY outcome") == [
        ("indexed", 5),  # two, one that was sent again, two carried over
        ("unchanged", 2),
    ]
    found = shell.call("search", "late", "--collection", "Demo2", "--mode", "text", "-k", "1")
    assert "return 3" in found.out


def test_failed_lines_of_a_replaced_collection_are_no_changeset(shell: Any) -> None:
    """The new collection may hold what is newer, and its ledger alone could tell."""
    shell.write(read_py="def read():\n    return 1\n")
    assert shell.call("sync", "--stdin", stdin=b"read.py\n").code == 0
    old = b'{"path": "late.py", "content": "old = 1\\n", "content_hash": "' + b"0" * 64 + b'"}\n'
    assert shell.call("sync", "--stdin", stdin=old).code == 1
    (run_id,) = shell.query("SELECT run_id FROM failed_lines")[0]
    assert shell.call("rebuild", "--into", "Demo2").code == 0
    before = shell.call("failed", "--as-changeset")
    assert (before.code, before.out.encode()) == (0, old), "no other has taken its place yet"
    assert shell.call("rebuild", "--into", "Demo2", "--switch").code == 0
    newer = b'{"path": "late.py", "content": "new = 1\\n"}\n'
    assert shell.call("sync", "--stdin", "--collection", "Demo2", stdin=newer).code == 0

    every = shell.call("failed", "--as-changeset")
    assert (every.code, every.out) == (1, "")
    assert f"Left out, run {run_id}: Collection Demo was rebuilt as Demo2 in lancedb:" in every.err
    one = shell.call("failed", "--as-changeset", "--run-id", run_id)
    assert (one.code, one.out) == (2, "")
    assert "could undo what is newer" in one.err
    assert f"index failed --run-id {run_id} --format jsonl" in one.err


def test_usage(shell: Any) -> None:
    assert shell.call("rebuild").code == 2
    alone = shell.call("rebuild", "--into", "Demo2", "--alias", "Readers")
    assert (alone.code, "--alias belongs to a switch" in alone.err) == (2, True)
    nothing = shell.call("rebuild", "--into", "Demo2")
    assert (nothing.code, "knows no collection Demo" in nothing.err) == (2, True)
    assert shell.call("rebuild", "--into", "demo2").code == 2
