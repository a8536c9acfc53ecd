"""A first sync by ``dagster job execute``, less a job of six empty ops with the same imports, against the bare loop.

All three are processes of their own and take turns; each counts its best. Of the bare loop counts what it takes beyond
its imports, since the empty job takes off those of the other side.
"""

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import REPOSITORY, Figure, Scale, timed_command
from benchmarks.first_sync import Corpus, completed_lines
from benchmarks.world import COLLECTION, REPOSITORY_NAME

MUST_RATIO = 0.6


def run(scale: Scale) -> list[Figure]:
    """Measures the job, the empty job and the bare loop in turns."""
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        corpus = Corpus(Path(base), scale.pick(5_000, 60))
        home = Path(base) / "dagster"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        config = Path(base) / "run.yaml"
        read = {
            "changeset": str(corpus.changeset),
            "collection": COLLECTION,
            "root": [str(corpus.root)],
            "repo": REPOSITORY_NAME,
        }
        config.write_text(json.dumps({"ops": {"read_changeset": {"config": read}}}))  # JSON is YAML
        whole, empty, bare = [], [], []
        for _ in range(scale.pick(3, 1)):
            bare.append(corpus.bare_loop())
            state = corpus.state()
            whole.append(_job(home, state, "elysia_dagster.definitions", "sync_changeset", "-c", str(config)))
            empty.append(_job(home, corpus.state(), "benchmarks.empty_job", "six_empty_ops"))
        lines = completed_lines(state)
    seconds = min(whole) - min(empty)
    bare_s = min(each["seconds"] for each in bare)
    return [
        Figure(
            row="dagster_job",
            what=f"the same {corpus.documents:,} documents by dagster job execute, less a job of six empty ops with "
            "the same imports",
            measured=f"{bare_s / seconds:.2f} of the bare loop ({min(whole):.1f} s less {min(empty):.1f} s, against "
            f"{bare_s:.1f} s)",
            must_reach=f">= {MUST_RATIO} of it",
            reached=bare_s / seconds >= MUST_RATIO,
            details={
                "documents": corpus.documents,
                "completed_lines": lines,
                "ratio": bare_s / seconds,
                "job_s": whole,
                "empty_s": empty,
                "bare": bare,
            },
        )
    ]


def _job(home: Path, state: Path, module: str, job: str, *options: str) -> float:
    command = [str(Path(sys.executable).with_name("dagster")), "job", "execute", "-m", module, "-j", job, *options]
    environment = {
        "DAGSTER_HOME": str(home),
        "ELYSIACTL_CHECKPOINT_DB_DIR": str(state),
        "PYTHONPATH": str(REPOSITORY),
    }
    return timed_command(command, environment)
