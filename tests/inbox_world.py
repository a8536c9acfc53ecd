"""An inbox, a sensor that looks at it, and a daemon that is played: runs are carried out one by one in this process."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lancedb
from dagster import DagsterInstance, DagsterRun, RunRequest, RunsFilter, SensorDefinition, build_sensor_context

from elysia_dagster.checkpoint.inbox import InboxFile, InboxRecords, inbox_name
from elysia_dagster.defs.asked_runs import KEY_TAG
from elysia_dagster.defs.config import ReadChangesetConfig, request_of
from elysia_dagster.defs.inbox_sensor import inbox_sensor
from elysia_dagster.defs.jobs import changeset_to_collection
from elysia_dagster.defs.wiring import resources
from elysia_dagster.inbox.outcome import Asked
from elysia_dagster.settings import Settings
from elysia_dagster.sync.drive import carry_out, sync
from elysia_dagster.sync.engine import Engine

COLLECTION = "Inbox"


class InboxWorld:
    """One inbox with its state. ``monkeypatch`` sets this process's environment."""

    def __init__(self, base: Path, monkeypatch: Any, instance: DagsterInstance, **settings: str) -> None:
        self.base = base
        self.inbox = base / "inbox"
        self.state = base / "state"
        self.root = base / "root"
        self.instance = instance
        for folder in (self.inbox, self.root):
            folder.mkdir()
        self.environment = {
            "ELYSIACTL_CHECKPOINT_DB_DIR": str(self.state),
            "ELYSIACTL_INBOX": str(self.inbox),
            "ELYSIACTL_ROOT": str(self.root),
            "ELYSIACTL_COLLECTION": COLLECTION,
            "ELYSIACTL_INBOX_QUIET": "0",
            **settings,
        }
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        self.started: list[str] = []
        """Names of the files whose runs were carried out, in order."""
        self.played_keys: set[str] = set()

    @property
    def settings(self) -> Settings:
        """As the sensor reads them."""
        return Settings.from_environment()

    def drop(self, name: str, lines: Sequence[dict[str, Any]]) -> Path:
        """A changeset, renamed into place."""
        aside = self.inbox / f".{name}.part"
        aside.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return aside.rename(self.inbox / name)

    def write(self, name: str, repository: str, text: str, path: str = "a.py") -> Path:
        """A changeset of one document with its content."""
        return self.drop(name, [{"repo": repository, "op": "modify", "path": path, "content": text}])

    def look(self, sensor: SensorDefinition | None = None) -> tuple[list[RunRequest], str]:
        """One tick: the runs it asks for, and why it asks for none."""
        sensor = sensor or inbox_sensor()
        told = sensor.evaluate_tick(build_sensor_context(instance=self.instance))
        return list(told.run_requests or ()), told.skip_message or ""

    def runs_of(self, name: str) -> list[DagsterRun]:
        """Every Dagster run of a file."""
        return list(self.instance.get_runs(filters=RunsFilter(tags={"elysiactl/inbox_file": name})))

    def carry_out(self, request: RunRequest) -> bool:
        """What the daemon does with a request: nothing where a run of that key is there. Whether the run succeeded."""
        assert request.run_key == request.tags[KEY_TAG]
        if self.instance.get_runs(filters=RunsFilter(tags={"dagster/run_key": request.run_key})):
            return True
        self.started.append(request.tags["elysiactl/inbox_file"])
        # without a retry policy: Dagster would wait for minutes between the tries of a step
        job = changeset_to_collection.to_job(name="sync_changeset", resource_defs=resources())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Dagster warns of what it does itself
            result = job.execute_in_process(
                run_config=request.run_config,
                instance=self.instance,
                tags={**request.tags, "dagster/run_key": request.run_key},
                raise_on_error=False,
            )
        return result.success

    def play(self, request: RunRequest) -> None:
        """``carry_out`` without Dagster, for many runs: `played` says afterwards that it succeeded."""
        assert request.run_key is not None
        assert request.run_key not in self.played_keys
        engine = Engine.open(self.settings)
        try:
            config = ReadChangesetConfig(**request.run_config["ops"]["read_changeset"]["config"])
            carry_out(engine, sync(engine, request_of(config, engine.settings)), lambda *_: None)
        finally:
            engine.close()
        self.started.append(request.tags["elysiactl/inbox_file"])
        self.played_keys.add(request.run_key)

    def played(self, _instance: DagsterInstance, keys: Sequence[str]) -> dict[str, Asked]:
        """In place of what the instance knows of runs: those that were played have succeeded."""
        done = Asked(dagster_run_ids=["played"], is_finished=True, succeeded=True)
        return {key: done for key in keys if key in self.played_keys}

    def settle(self, most: int = 50, how: Callable[[RunRequest], object] | None = None) -> None:
        """Ticks and runs until nothing is left in the inbox."""
        for _ in range(most):
            requests, _said = self.look()
            for request in requests:
                (how or self.carry_out)(request)
            if not self.there():
                return
        raise AssertionError(f"still there: {[(f.name, f.state, f.reason) for f in self.files().values()]}")

    def files(self) -> dict[str, InboxFile]:
        """Every row that is known, by name."""
        engine = Engine.open(self.settings)
        try:
            name = inbox_name(self.inbox, COLLECTION, self.settings.store)
            found = InboxRecords(engine.database, name).every_file(most=100_000)
            return {file.name: file for file in found}
        finally:
            engine.close()

    def states(self) -> dict[str, str]:
        """Where each file stands, by name."""
        return {name: file.state.value for name, file in self.files().items()}

    def texts(self) -> dict[str, str]:
        """The text of every object of the collection, by repository and path."""
        table = lancedb.connect(str(self.state / "vectors")).open_table(COLLECTION)
        columns = table.to_arrow().select(["file_path", "content"]).to_pylist()
        assert len({row["file_path"] for row in columns}) == len(columns), "every document here has one chunk"
        return {row["file_path"]: row["content"] for row in columns}

    def wait_no_longer(self) -> None:
        """What waits to be asked for again is asked for at the next tick."""
        engine = Engine.open(self.settings)
        with engine.database.write() as connection:
            connection.exec_driver_sql("UPDATE inbox_files SET next_attempt_at = '2026-01-01T00:00:00.000000+00:00'")
        engine.close()

    def there(self) -> list[str]:
        """What lies in the inbox itself."""
        return sorted(each.name for each in self.inbox.iterdir() if each.is_file())


MakeWorld = Callable[..., InboxWorld]


def raise_bug(*_: Any, **__: Any) -> None:
    """In place of something that a run calls."""
    raise RuntimeError("a bug")
