"""Resuming a run of 1,000,000 lines of which 1,000 are unsettled, until its first batch is embedded.

The unsettled lines are the last ones, so that all other batches are gone through first; the settled ones have their
rows in the ledger and in ``completed_lines``. The resume is a process of its own, timed from after its imports: the
database is opened, the run found, its claims taken, the plan on disk opened, the batch resolved, chunked and embedded.
"""

import json
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, Scale, arguments_of_child, in_process_of_its_own
from benchmarks.null_store import NullStore
from benchmarks.settling import settle
from benchmarks.world import COLLECTION, World, content_records, paths_as_git_prints_them, write_lines
from elysia_dagster.checkpoint import collections
from elysia_dagster.sync.embed import BatchMaker
from elysia_dagster.sync.plan import plan_batches
from elysia_dagster.sync.plans import PLAN_NAME, RunPlan
from elysia_dagster.sync.resume import resume_run

MUST_S = 5.0
CONTENT_BYTES = 200


def run(scale: Scale) -> list[Figure]:
    """Plans and settles all but the last lines here, resumes in a child."""
    lines = scale.pick(1_000_000, 4_000)
    unsettled = scale.pick(1_000, 1_000)
    with tempfile.TemporaryDirectory(dir=scale.folder) as base:
        world = World(Path(base))
        changeset = write_lines(
            Path(base) / "changeset.jsonl",
            content_records(paths_as_git_prints_them(lines), content_bytes=CONTENT_BYTES),
        )
        with world.engine() as engine:
            manifest = world.read(engine, changeset)
            began = time.perf_counter()
            with engine.work_on(manifest.run_id) as work:
                plan_batches(work)
                planning_s = time.perf_counter() - began
                settle(work, list(paths_as_git_prints_them(lines)), range(lines - unsettled))
            before = (engine.run_folder(manifest.run_id) / PLAN_NAME).stat()
            plan_path = engine.run_folder(manifest.run_id) / PLAN_NAME
        answer = in_process_of_its_own("resuming", base=base, run_id=manifest.run_id)
        after = plan_path.stat()
    is_same_plan = (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    return [
        Figure(
            row="resuming",
            what=f"resume of {lines:,} lines with {unsettled:,} unsettled until the first batch is embedded, beyond "
            "imports",
            measured=f"{answer['seconds']:.2f} s ({answer['cpu_s']:.2f} s of CPU), the plan on disk "
            f"{'used' if is_same_plan else 'MADE AGAIN'} (making it took {planning_s:.1f} s)",
            must_reach=f"<= {MUST_S:.0f} s, the plan on disk used",
            reached=answer["seconds"] <= MUST_S and is_same_plan,
            details={"lines": lines, "unsettled": unsettled, "is_same_plan": is_same_plan, **answer},
        )
    ]


def resume(base: Path, run_id: str) -> dict[str, float]:
    """What the child does and takes."""
    world = World(base)
    wall, cpu = time.perf_counter(), time.process_time()
    with world.engine() as engine:
        _remember_collection(world.null_store, engine.database)
        manifest = resume_run(engine, run_id)
        with engine.work_on(manifest.run_id) as work:
            plan_batches(work)
            with RunPlan(work.folder) as plan, BatchMaker(work, plan) as maker:
                batches = maker.batches()
                first = next(batches)
                seconds, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
                batches.close()  # type: ignore[attr-defined]
    return {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "first_line": first.changes[0].planned.line,
        "changes": len(first.changes),
        "embedded": first.embedded,
    }


def _remember_collection(store: NullStore, database: collections.Database) -> None:
    """A null store forgets with its process what was created in it; the ledger knows."""
    known = collections.find_collection(database, store.url, COLLECTION)
    assert known is not None
    store.ensure_collection(
        COLLECTION, incarnation=known.incarnation, model_id=known.model, dimensions=known.dimensions
    )


if __name__ == "__main__":
    arguments = arguments_of_child()
    print(json.dumps(resume(Path(arguments["base"]), arguments["run_id"])))
