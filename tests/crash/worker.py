"""What a child does that is forked for a command: as ``elysiactl`` does it, with the fault points of ``zygote.py``.

Run as a script this is the parent.
"""

import importlib
import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


def run_child(command: "Command") -> None:
    """Does what the command says and ends the process."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    signal.alarm(LIMIT_S)
    os.environ.update(command.environment)
    output = Path(command.output)
    code = 1
    try:
        result = globals()[f"_{command.task}"](command, passing(output, command.fault))
        (output / "result").write_text(json.dumps(result))
        code = 0
    except ElysiaError as error:
        (output / "error").write_text(f"{type(error).__name__}: {error}")
        code = error.exit_code
    except BaseException:
        (output / "error").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _engine(command: "Command", faults: Callable[[str], None]) -> "Engine":
    if ":committed:" in command.fault:
        tell_commits(faults)
    if command.boot:
        owner._boot_id = lambda: command.boot
    open_ = forgetful_store if command.forgetful else open_store
    settings = Settings(checkpoint_db_dir=command.state, **command.settings)
    if not command.host:
        engine = Engine.open(settings, faults=faults, open_store=open_)
        return teach(engine) if settings.embedder == FOLDED else engine
    write_when_awake()
    host = Host(name=command.host, boot_id=f"boot of {command.host}", pid_namespace="pid:[1]")
    return Engine.open(settings, faults=faults, open_store=partial(watched_store, faults), host=host)


def write_when_awake() -> None:
    """Lets no thread of this process be in a write transaction when another one stops it."""
    whole = Database.write

    @contextmanager
    def write(database: "Database", **options: Any) -> Iterator[Any]:
        with WRITING, whole(database, **options) as connection:
            yield connection

    Database.write = write


SOON_S = 0.2
"""What a watched store says that its longest request takes; leases live for twice as long at least."""


def watched_store(faults: Callable[[str], None], url: str, settings: "Settings") -> "VectorStore":
    """A store with points right before its requests are sent, after the lease was made to outlive them."""
    store = open_store(url, settings)
    store.request_timeout_s = SOON_S
    for method, point in (("upsert", "sending"), ("delete_objects", "removing")):
        setattr(store, method, partial(_passing_first, faults, point, getattr(store, method)))
    lancedb_tables.LOCK_WAIT_S = 1.0
    return store


def tell_commits(faults: Callable[[str], None]) -> None:
    """Of LanceDB, the point between its commit and its sync, under the table's lock."""
    sync = FileSyncer.sync
    FileSyncer.sync = lambda syncer: _passing_first(faults, "committed", partial(sync, syncer))


def _passing_first(faults: Callable[[str], None], point: str, method: Callable[..., Any], *arguments: Any) -> Any:
    faults(point)
    return method(*arguments)


def forgetful_store(url: str, settings: "Settings") -> "VectorStore":
    """A store that loses an object without a word."""
    store = open_store(url, settings)
    whole = store.upsert

    def upsert(collection: str, objects: "Sequence[StoreObject]") -> list[str | None]:
        store.upsert = whole
        whole(collection, objects[:-1])
        return [None] * len(objects)

    store.upsert = upsert
    return store


def _shell(command: "Command", _faults: Callable[[str], None]) -> None:
    """``elysiactl`` itself, with what it says in the file ``said``; the child's exit code is its own."""
    os.environ["ELYSIACTL_CHECKPOINT_DB_DIR"] = command.state
    said = os.open(Path(command.output) / "said", os.O_CREAT | os.O_WRONLY)
    os.dup2(said, 1)
    os.dup2(said, 2)
    # of memory, what a process has that has imported everything comes on top
    has = {"AS": int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()}
    for name, limit in command.limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(kind, (limit + has.get(name, 0), resource.getrlimit(kind)[1]))
    code = run(command.arguments["words"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _sync(command: "Command", faults: Callable[[str], None]) -> str:
    """As ``elysiactl index sync`` does."""
    arguments = dict(command.arguments)
    arguments["roots"] = tuple(map(Path, arguments["roots"]))
    engine = _engine(command, faults)
    manifest = sync(engine, SyncRequest(**{**arguments, "changeset": Path(arguments["changeset"])}))
    carry_out(engine, manifest, lambda _work, _report: None)
    engine.close()
    return manifest.run_id


def _resume(command: "Command", faults: Callable[[str], None]) -> str:
    """As ``elysiactl index resume`` does."""
    engine = _engine(command, faults)
    manifest = resume_run(engine, command.arguments["run_id"])
    carry_out(engine, manifest, lambda _work, _report: None)
    engine.close()
    return manifest.run_id


def _retry(command: "Command", faults: Callable[[str], None]) -> str | None:
    """As ``elysiactl index retry`` does."""
    engine = _engine(command, faults)
    manifest = retry_run(engine, **command.arguments)
    if manifest is not None:
        carry_out(engine, manifest, lambda _work, _report: None)
    engine.close()
    return manifest.run_id if manifest else None


def _cleanup(command: "Command", faults: Callable[[str], None]) -> list[str]:
    """As ``elysiactl index cleanup`` does."""
    engine = _engine(command, faults)
    report = cleanup_checkpoints(engine, **command.arguments)
    engine.close()
    return list(report.runs)


def _unlock(command: "Command", faults: Callable[[str], None]) -> int:
    """As ``elysiactl index unlock --run-id … --yes`` does; how many runs were taken from a holder."""
    engine = _engine(command, faults)
    found = holdings(engine.database, engine.host, run_id=command.arguments["run_id"])
    for holding in found:
        unlock(engine, holding)
    engine.close()
    return len(found)


def _rebuild(command: "Command", faults: Callable[[str], None]) -> dict[str, Any]:
    """As ``elysiactl index rebuild`` does, with the embedder of ``other_embedder``."""
    engine = teach(_engine(command, faults))
    request = RebuildRequest(**{"embedder": FOLDED, **command.arguments})
    done = rebuild(engine, request, lambda manifest: carry_out(engine, manifest, lambda _work, _report: None))
    engine.close()
    return {"switched": done.switched, "dropped": done.dropped, "missing": done.missing, "aliases": done.aliases}


def _reconcile(command: "Command", faults: Callable[[str], None]) -> int:
    """As ``elysiactl index reconcile --repair --foreign`` does; how many documents still differ."""
    engine = _engine(command, faults)
    with compared(engine, command.arguments["collection"]) as comparison:
        report = repair(comparison, foreign=True)
    engine.close()
    return report.remaining


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)

    sys.path.insert(0, str(Path(__file__).parents[1]))

    from crash.zygote import LIMIT_S, WRITING, Command, passing, serve
    from other_embedder import SPEC as FOLDED
    from other_embedder import teach

    import elysia_dagster.embedders.hashing
    import elysia_dagster.stores.lancedb  # noqa: F401  imported here so that no child has to
    from elysia_dagster.checkpoint import owner
    from elysia_dagster.checkpoint.database import Database
    from elysia_dagster.checkpoint.owner import Host
    from elysia_dagster.checkpoint.unlocking import holdings
    from elysia_dagster.cli import run
    from elysia_dagster.errors import ElysiaError
    from elysia_dagster.models import StoreObject
    from elysia_dagster.settings import Settings
    from elysia_dagster.stores import lancedb_tables, open_store
    from elysia_dagster.stores.base import VectorStore
    from elysia_dagster.stores.lancedb_durability import FileSyncer
    from elysia_dagster.sync.cleanup import cleanup_checkpoints
    from elysia_dagster.sync.drive import carry_out, sync
    from elysia_dagster.sync.engine import Engine
    from elysia_dagster.sync.rebuild import RebuildRequest, rebuild
    from elysia_dagster.sync.reconcile import compared
    from elysia_dagster.sync.repair import repair
    from elysia_dagster.sync.request import SyncRequest
    from elysia_dagster.sync.resume import resume_run
    from elysia_dagster.sync.retry import retry_run
    from elysia_dagster.sync.unlock import unlock

    with warnings.catch_warnings(record=True):  # what their libraries tell programmers
        for each in sys.argv[1:]:
            importlib.import_module(each)
    serve(run_child)
