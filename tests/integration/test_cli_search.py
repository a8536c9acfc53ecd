"""``index search`` in the wrong store: the ledger knows the right one."""

from pathlib import Path
from typing import Any


def test_a_collection_of_another_store_is_told_with_that_store(shell: Any, tmp_path: Path) -> None:
    shell.write(read_py="x = 1\n")
    shell.call("sync", "--stdin", stdin=b"read.py\n")
    elsewhere = tmp_path / "elsewhere"
    said = shell.call("search", "x", "--store", f"lancedb:{elsewhere}")
    assert said.code == 2
    assert "It is in lancedb:" in said.err
    assert "name that with --store" in " ".join(said.err.split())
    assert not elsewhere.exists()
