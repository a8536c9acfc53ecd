"""This project and the bare loop as contenders on a Weaviate server."""

import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.peers.contenders import ScriptContender
from benchmarks.peers.documents import SourceDocument
from benchmarks.peers.orders import Server, WorkOrder
from benchmarks.peers.truth import Layout
from benchmarks.world import REPOSITORY_NAME, write_lines

BATCH = 200
LAYOUT = Layout(path="relative_path", text="content")


@dataclass(kw_only=True)
class OwnContender(ScriptContender):
    """This project. Its input is a changeset of every document, as a producer writes one, with the removals.

    A sync of the same documents gets other bytes (a label that means nothing), since of the same bytes it knows without
    a look that there is nothing to do; a run after a kill gets the same, as it would.
    """

    _last: dict[str, set[str]] = field(default_factory=dict)
    _turn: int = 0

    def _order(self, row: str, step: str, documents: list[SourceDocument], short_text: str | None = None) -> WorkOrder:
        order = super()._order(row, step, documents, short_text)
        self._turn += step != "again"
        paths = {each.path for each in documents}
        changeset = order.documents.with_suffix(".changeset")
        lines = [_write(each, str(self._turn)) for each in documents]
        lines += [_removal(path) for path in sorted(self._last.get(order.collection, set()) - paths)]
        write_lines(changeset, lines)
        self._last[order.collection] = paths
        retry = (row, step) == ("Rejected", "again")
        return replace(order, options={**order.options, "changeset": str(changeset), "retry": retry})


def _write(document: SourceDocument, label: str) -> str:
    record = {
        "line": label,
        "repo": REPOSITORY_NAME,
        "op": "modify",
        "path": document.path,
        "content": document.text,
    }
    return json.dumps(record)


def _removal(path: str) -> str:
    return json.dumps({"repo": REPOSITORY_NAME, "op": "delete", "path": path})


def own(server: Server, folder: Path, turn: int = 0) -> OwnContender:
    """This project at its default settings. Contenders of different turns have nothing in common."""
    return OwnContender(**_parts("Own", server, folder, turn), name="elysia_dagster", options={"batch_size": BATCH})


def bare(server: Server, folder: Path, turn: int = 0) -> ScriptContender:
    """The loop without a checkpoint: it can do a first sync and nothing else."""
    return ScriptContender(**_parts("Bare", server, folder, turn), name="bare loop of insert_many", options={})


def _parts(label: str, server: Server, folder: Path, turn: int) -> dict[str, Any]:
    module = {"Own": "own_sync", "Bare": "bare_insert"}[label]
    return {
        "python": lambda: Path(sys.executable),
        "module": f"benchmarks.on_weaviate.{module}",
        "environment": lambda: {key: value for key, value in os.environ.items() if not key.startswith("ELYSIACTL_")},
        "server": server,
        "folder": folder / f"{label}{turn}",
        "collection": f"{label}{turn}x",
        "layout": LAYOUT,
    }
