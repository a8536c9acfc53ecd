"""A contender does five rows of work on one server; what each row tells is a type of its own.

``ScriptContender`` is any contender that is a script taking a ``WorkOrder`` and printing a ``RunResult``: the peers'
scripts, and whatever is set beside them. Every row is made in new processes with a collection and a state folder of
its own; only ``unchanged`` goes on where ``first_sync`` ended. What is left in the collection
is counted after every row.
"""

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import weaviate

from benchmarks.peers.connection import connect
from benchmarks.peers.documents import SourceDocument, write_documents
from benchmarks.peers.embedder import embedded_keys, embedded_so_far
from benchmarks.peers.orders import RunResult, Server, WorkOrder
from benchmarks.peers.truth import Held, Layout, count_objects, held

REPOSITORY = Path(__file__).resolve().parents[2]
KILL_WITHIN_S = 600.0


class KillPoint(StrEnum):
    """When half of the documents are there, by whose count."""

    EMBEDDED = "embedded"
    """Half of the texts are embedded: some contenders have written nothing then."""
    STORED = "stored"
    """The collection holds half of the objects."""

    @property
    def look_every_s(self) -> float:
        """Seconds between two looks: a file's size costs nothing, a count is work for the server."""
        return 0.001 if self is KillPoint.EMBEDDED else 0.02


@dataclass(frozen=True, kw_only=True)
class Synced:
    """A sync that was let to end."""

    documents: int
    run: RunResult
    whole_s: float
    """From the process's start to its end, seen from outside."""
    after: Held

    @property
    def per_second(self) -> float:
        """Documents a second, imports left out."""
        return self.documents / self.run.seconds


@dataclass(frozen=True, kw_only=True)
class Killed:
    """A first sync killed half way, and the run after it."""

    point: KillPoint
    documents: int
    embedded_before: int
    objects_before: int
    embedded_twice: int
    """Texts embedded by both runs."""
    again: RunResult
    after: Held


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A first sync of which the server rejected one object, and the run after the cause was mended."""

    documents: int
    first: RunResult
    then: Held
    """What the first run left."""
    again: RunResult
    after: Held


class Contender(Protocol):
    """Who does the work."""

    @property
    def name(self) -> str:
        """What stands in the table: who, and with which settings."""

    def first_sync(self, documents: list[SourceDocument]) -> Synced:
        """Into an empty collection."""

    def unchanged(self, documents: list[SourceDocument]) -> Synced:
        """The same documents again, after ``first_sync``."""

    def changed(self, before: list[SourceDocument], after: list[SourceDocument]) -> Synced:
        """What holds ``before`` is to hold ``after``: the second sync alone is timed."""

    def killed(self, documents: list[SourceDocument], point: KillPoint) -> Killed:
        """SIGKILL at that point of a first sync; then a second run."""

    def rejected(self, documents: list[SourceDocument]) -> Rejected:
        """The object of the document in the middle has a vector of another length in the first run."""

    def drop(self) -> None:
        """Drops all collections that this contender made."""


@dataclass(kw_only=True)
class ScriptContender:
    """A contender whose work is done by ``python -m <module> <order>``."""

    name: str
    python: Callable[[], Path]
    module: str
    options: dict[str, Any]
    environment: Callable[[], dict[str, str]]
    server: Server
    folder: Path
    """For documents, state and progress files. No two contenders have the same."""
    collection: str
    """What its collections' names begin with: a capital, then letters and digits."""
    layout: Layout = field(default_factory=Layout)

    def first_sync(self, documents: list[SourceDocument]) -> Synced:
        """See ``Contender``."""
        return self._synced("First", documents)

    def unchanged(self, documents: list[SourceDocument]) -> Synced:
        """See ``Contender``."""
        return self._synced("First", documents)

    def changed(self, before: list[SourceDocument], after: list[SourceDocument]) -> Synced:
        """See ``Contender``."""
        self._synced("Changed", before)
        return self._synced("Changed", after)

    def killed(self, documents: list[SourceDocument], point: KillPoint) -> Killed:
        """See ``Contender``."""
        row = f"Killed{point.value.capitalize()}"
        order = self._order(row, "killed", documents)
        with connect(self.server) as client:
            process = subprocess.Popen(**self._process(order))
            try:
                self._wait_for(client, process, order, point, len(documents) // 2)
            finally:
                process.send_signal(signal.SIGKILL)
                process.communicate()
            objects = count_objects(client, order.collection)
            again = self._order(row, "again", documents)
            result, _ = self._run(again)
            first = Counter(embedded_keys(order.progress))
            second = Counter(embedded_keys(again.progress))
            return Killed(
                point=point,
                documents=len(documents),
                embedded_before=first.total(),
                objects_before=objects,
                embedded_twice=(first & second).total(),
                again=result,
                after=held(client, order.collection, documents, self.layout),
            )

    def rejected(self, documents: list[SourceDocument]) -> Rejected:
        """See ``Contender``."""
        short = documents[len(documents) // 2].text
        first = self._order("Rejected", "first", documents, short_text=short)
        result, _ = self._run(first)
        with connect(self.server) as client:
            then = held(client, first.collection, documents, self.layout)
            again, _ = self._run(self._order("Rejected", "again", documents))
            after = held(client, first.collection, documents, self.layout)
        return Rejected(documents=len(documents), first=result, then=then, again=again, after=after)

    def drop(self) -> None:
        """See ``Contender``."""
        with connect(self.server) as client:
            for name in client.collections.list_all(simple=True):
                if name.startswith(self.collection):
                    client.collections.delete(name)

    def _synced(self, row: str, documents: list[SourceDocument]) -> Synced:
        order = self._order(row, "sync", documents)
        result, whole_s = self._run(order)
        with connect(self.server) as client:
            after = held(client, order.collection, documents, self.layout)
        return Synced(documents=len(documents), run=result, whole_s=whole_s, after=after)

    def _order(self, row: str, step: str, documents: list[SourceDocument], short_text: str | None = None) -> WorkOrder:
        folder = self.folder / row
        folder.mkdir(parents=True, exist_ok=True)
        return WorkOrder(
            server=self.server,
            collection=f"{self.collection}{row}",
            documents=write_documents(folder / f"{step}.jsonl", documents),
            state=folder / "state",
            progress=folder / f"{step}.embedded",
            short_text=short_text,
            options=self.options,
        )

    def _process(self, order: WorkOrder) -> dict[str, Any]:
        return {
            "args": [str(self.python()), "-m", self.module, order.to_json()],
            "cwd": REPOSITORY,
            "env": self.environment(),
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }

    def _run(self, order: WorkOrder) -> tuple[RunResult, float]:
        began = time.perf_counter()
        done = subprocess.run(**self._process(order), check=False)
        whole_s = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{self.name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return RunResult(**json.loads(done.stdout.splitlines()[-1])), whole_s

    def _wait_for(
        self,
        client: weaviate.WeaviateClient,
        process: "subprocess.Popen[str]",
        order: WorkOrder,
        point: KillPoint,
        half: int,
    ) -> None:
        deadline = time.monotonic() + KILL_WITHIN_S
        while process.poll() is None:
            if point is KillPoint.EMBEDDED:
                there = embedded_so_far(order.progress)
            else:
                there = count_objects(client, order.collection)
            if there >= half:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: {there} of {half} {point.value} after {KILL_WITHIN_S:.0f} s")
            time.sleep(point.look_every_s)
        raise RuntimeError(f"{self.name} ended before it could be killed: it had {half} {point.value} too fast")
