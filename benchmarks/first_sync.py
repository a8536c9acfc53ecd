"""A first sync from the shell into LanceDB, against a bare loop of the same chunker, embedder and ``merge_insert``.

Both are processes of their own, timed from start to end; beside it stands the ratio with what each takes to start
taken off (for the shell: syncing an empty changeset). Turns alternate; each side counts its best.
"""

import json
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.corpus import copy_corpus
from benchmarks.figures import Figure, Scale, in_process_of_its_own, timed_command
from benchmarks.world import COLLECTION, REPOSITORY_NAME, write_lines

MUST_RATIO = 0.8


class Corpus:
    """Documents in a repository, the changeset that names them all, and an empty one."""

    def __init__(self, base: Path, documents: int) -> None:
        self.base = base
        self.root = base / "root"
        paths = copy_corpus(self.root, documents)
        self.documents = documents
        self.paths = base / "paths.json"
        self.paths.write_text(json.dumps(paths))
        self.changeset = write_lines(base / "changeset.txt", paths)
        self.empty = write_lines(base / "empty.txt", [""])
        self._turn = 0

    def state(self) -> Path:
        """A new state folder."""
        self._turn += 1
        return self.base / f"state{self._turn}"

    def bare_loop(self) -> dict[str, Any]:
        """The other way: ``seconds`` beyond imports, ``whole_s`` from start to end."""
        began = time.perf_counter()
        answer = in_process_of_its_own(
            "bare_loop", root=self.root, paths=self.paths, folder=self.base / f"bare{self._turn}"
        )
        self._turn += 1
        return {**answer, "whole_s": time.perf_counter() - began}

    def by_shell(self, changeset: Path, state: Path) -> float:
        """Seconds of ``elysiactl index sync``, start to end."""
        command = [str(Path(sys.executable).with_name("elysiactl")), "index", "sync", str(changeset), "--quiet"]
        options = ["--collection", COLLECTION, "--root", str(self.root), "--repo", REPOSITORY_NAME]
        return timed_command([*command, *options], {"ELYSIACTL_CHECKPOINT_DB_DIR": str(state)})


def completed_lines(state: Path) -> int:
    """Lines that the checkpoint says are completed."""
    connection = sqlite3.connect(state / "sync_checkpoints.db")
    try:
        (count,) = connection.execute("SELECT COUNT(*) FROM completed_lines").fetchone()
    finally:
        connection.close()
    return int(count)


def run(scale: Scale) -> list[Figure]:
    """Measures both ways in turns."""
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        corpus = Corpus(Path(base), scale.pick(5_000, 60))
        whole, start, bare = [], [], []
        for _ in range(scale.pick(3, 1)):
            bare.append(corpus.bare_loop())
            state = corpus.state()
            whole.append(corpus.by_shell(corpus.changeset, state))
            start.append(corpus.by_shell(corpus.empty, corpus.state()))
        lines = completed_lines(state)
    bare_whole, bare_s = min(each["whole_s"] for each in bare), min(each["seconds"] for each in bare)
    ratio = bare_whole / min(whole)
    beyond = bare_s / (min(whole) - min(start))
    return [
        Figure(
            row="first_sync",
            what=f"first sync of {corpus.documents:,} documents by elysiactl into LanceDB, against a bare loop of the "
            "same chunker, embedder and merge_insert",
            measured=f"{ratio:.2f} of it ({min(whole):.1f} s against {bare_whole:.1f} s, start to end); beyond "
            f"start-up {beyond:.2f} ({min(whole) - min(start):.1f} s against {bare_s:.1f} s)",
            must_reach=f">= {MUST_RATIO} of it",
            reached=ratio >= MUST_RATIO,
            details={
                "documents": corpus.documents,
                "completed_lines": lines,
                "rows": bare[-1]["rows"],
                "ratio": ratio,
                "ratio_beyond_start": beyond,
                "shell_s": whole,
                "bare": bare,
            },
        )
    ]
