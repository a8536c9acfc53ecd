"""A state held against the truth, counted: lost, doubled, stale, left over, and what was embedded twice."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from crash.held import LANCEDB_TOLERANCE, WEAVIATE_TOLERANCE, Held, lancedb_holds, weaviate_holds
from crash.oracle import COLLECTION, KEPT_FILES, assert_everything, expected_objects
from soak.changesets import Truth

from elysia_dagster.settings import DATABASE_NAME

SHOWN = 5
"""Findings of a kind that are told one by one."""

EMBEDDED_TWICE = "embedded twice"


@dataclass
class Findings:
    """What differs, by kind: sentences. Nothing differs where it is empty."""

    by_kind: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, *what: str) -> None:
        """Remembers what was found."""
        if what:
            self.by_kind[kind] += what

    def __bool__(self) -> bool:
        return any(self.by_kind.values())

    def counts(self) -> Counter[str]:
        """How many of each kind."""
        return Counter({kind: len(what) for kind, what in self.by_kind.items()})

    def __str__(self) -> str:
        told = []
        for kind, what in self.by_kind.items():
            told += [f"{kind}: {each}" for each in what[:SHOWN]]
            told += [f"{kind}: and {len(what) - SHOWN} more"] if len(what) > SHOWN else []
        return "\n".join(told)


def audit(state: Path, truth: Truth, log: Path, killed: set[int], *, weaviate: str = "") -> Findings:
    """Compares collection, checkpoint and files with the truth, and what was embedded with what was saved.

    ``log`` is what the children's embedders wrote; ``killed`` are the processes that were killed. ``weaviate`` is the
    store URL of the server that holds the collection, '' for LanceDB below the state folder.
    """
    findings = Findings()
    if weaviate:
        objects(weaviate_holds(weaviate, COLLECTION), truth, WEAVIATE_TOLERANCE, findings)
    else:
        objects(lancedb_holds(state, COLLECTION), truth, LANCEDB_TOLERANCE, findings)
    with closing(sqlite3.connect(state / DATABASE_NAME)) as connection:
        connection.row_factory = sqlite3.Row
        checkpoint(connection, truth, findings)
        files(connection, state, findings)
    findings.add(EMBEDDED_TWICE, *embedded_twice(log, killed))
    try:  # whatever these counts do not see
        assert_everything(state, truth, weaviate=weaviate)
    except AssertionError as error:
        findings.add("untrue", str(error)[:2000])
    return findings


def objects(held: Sequence[Held], truth: Truth, tolerance: float, findings: Findings) -> None:
    """The collection, object by object: text, hashes, properties, vector."""
    wanted = {id_: each for key, text in truth.documents.items() for id_, each in expected_objects(key, text).items()}
    times = Counter(each.id for each in held)
    findings.add("lost", *(f"object {_name(each)}" for id_, each in wanted.items() if id_ not in times))
    findings.add("doubled", *(f"object {id_} is there {count} times" for id_, count in times.items() if count > 1))
    for each in held:
        if each.id not in wanted:
            findings.add("left over", f"object {_name(each)}")
            continue
        want = wanted[each.id]
        found = {name: each.properties.get(name) for name in want.properties}
        if found != want.properties:
            findings.add("stale", f"object {_name(each)}")
        elif each.vector is None or want.vector is None or each.vector.shape != want.vector.shape:
            findings.add("stale", f"object {_name(each)} has no vector, or one of another length")
        elif not np.allclose(each.vector, want.vector, rtol=0, atol=tolerance):
            findings.add("stale", f"object {_name(each)} has another's vector")


def _name(held: Held) -> str:
    return f"{held.properties.get('file_path')}#{held.properties.get('chunk_index')}"


def checkpoint(connection: sqlite3.Connection, truth: Truth, findings: Findings) -> None:
    """Every line settled once, counters the numbers of rows, nothing held, nothing in writing."""
    for run in connection.execute("SELECT * FROM sync_runs").fetchall():
        run_id = run["run_id"]
        settled = Counter(
            row[0]
            for table in ("completed_lines", "failed_lines")
            for row in connection.execute(f"SELECT line_number FROM {table} WHERE run_id = ?", (run_id,))
        )
        unsettled = set(range(1, run["total_lines"] + 1)) - set(settled)
        findings.add("lost", *(f"line {line} of {run_id} is not settled" for line in sorted(unsettled)))
        findings.add("doubled", *(f"line {n} of {run_id} is settled {k} times" for n, k in settled.items() if k > 1))
        failed = connection.execute("SELECT COUNT(*) FROM failed_lines WHERE run_id = ?", (run_id,)).fetchone()[0]
        counters = (run["processed_lines"], run["success_count"], run["error_count"])
        rows = (settled.total(), settled.total() - failed, failed)
        if counters != rows:
            findings.add("untrue", f"{run_id} counts {counters}, its rows are {rows}")
        if run["lease_owner"] is not None or run["status"] == "running":
            findings.add("left over", f"{run_id} is {run['status']}, its lease {run['lease_owner']}")
    states = {(row["repository"], row["path"]): row["state"] for row in connection.execute("SELECT * FROM documents")}
    findings.add("left over", *(f"{key} is {state}" for key, state in states.items() if state not in SETTLED_STATES))
    findings.add("lost", *(f"row of {key}" for key in truth.documents if states.get(key) != "present"))
    claims = connection.execute("SELECT repository, run_id FROM repository_claims").fetchall()
    findings.add("left over", *(f"claim of {row['repository']} by {row['run_id']}" for row in claims))


SETTLED_STATES = ("present", "absent")


def files(connection: sqlite3.Connection, state: Path, findings: Findings) -> None:
    """A finished run keeps its input and its plan, no batch file and nothing half written."""
    for (run_id,) in connection.execute("SELECT run_id FROM sync_runs").fetchall():
        left = {each.name for each in (state / "work" / run_id).iterdir()} - KEPT_FILES
        findings.add("left over", *(f"file {name} of {run_id}" for name in sorted(left)))


def embedded_twice(log: Path, killed: set[int]) -> list[str]:
    """Texts that a run embedded more often than kills explain.

    A process that is killed costs the texts that each of its threads had in hand: embedded, their file not renamed into
    place (or renamed, and no time left to say so). Whatever else a run embeds again is too much.
    """
    times: Counter[tuple[str, str]] = Counter()
    in_hand: dict[tuple[int, str], list[tuple[str, str]]] = {}
    excused: Counter[tuple[str, str]] = Counter()
    for line in log.read_text().splitlines() if log.exists() else ():
        pid, what, thread, *rest = line.split(" ")
        if what == "saved":
            in_hand.pop((int(pid), thread), None)
            continue
        texts = [(rest[0], key) for key in rest[1:]]
        times.update(texts)
        in_hand[int(pid), thread] = texts
    for (pid, _), texts in in_hand.items():
        if pid in killed:
            excused.update(set(texts))
    return [
        f"text {key} of {run_id} {count} times, {excused[run_id, key]} of them in the hand of a killed process"
        for (run_id, key), count in times.items()
        if count > 1 + excused[run_id, key]
    ]
