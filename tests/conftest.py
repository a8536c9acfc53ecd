"""What all tests share: the folder of their helpers on the path, a world to sync in, property tests without a clock."""

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine

from elysia_dagster.checkpoint.database import Database, open_database
from elysia_dagster.checkpoint.schema import metadata

sys.path.insert(0, str(Path(__file__).parent))

import postgres_server
import weaviate_server as weaviate
from checkpoint_world import Checkpoint
from lacking import lacking
from sync_world import RecordingStore, World

DATABASES = ["sqlite", *(["postgres"] if postgres_server.is_installed() else [])]

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An engine with a checkpoint and LanceDB in the test's own folder."""
    with World(tmp_path) as opened:
        yield opened


@pytest.fixture
def light_world(tmp_path: Path) -> Iterator[World]:
    """The same with a store that keeps its objects in memory, for tests that are not about the store."""
    with World(tmp_path, store=RecordingStore()) as opened:
        yield opened


class PostgresDatabases:
    """Databases on a server of the test run's own."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._numbers = itertools.count()
        self._made: Database | None = None

    def new(self) -> str:
        """The URL of an empty database."""
        name = f"checkpoint_{next(self._numbers)}"
        engine = create_engine(f"{self._server}/postgres", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return f"{self._server}/{name}"

    def emptied(self) -> Database:
        """An open database with the schema and no rows: always the same one, since a new one takes 7 MB."""
        if self._made is None:
            self._made = open_database(self.new())
        with self._made.write() as connection:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY")
        return self._made

    def close(self) -> None:
        """Closes what is open."""
        if self._made is not None:
            self._made.close()


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[PostgresDatabases]:
    """Started when first asked for."""
    with postgres_server.running_server() as server:
        databases = PostgresDatabases(server)
        yield databases
        databases.close()


@pytest.fixture(params=DATABASES)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A checkpoint database that is not there yet: a SQLite file, and PostgreSQL where that is installed."""
    if request.param == "sqlite":
        return tmp_path / "sync_checkpoints.db"
    databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
    return databases.new()


@pytest.fixture(params=DATABASES)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Checkpoint]:
    """A checkpoint with a collection, on every database."""
    if request.param == "postgres":
        yield Checkpoint(request.getfixturevalue("postgres_databases").emptied())
        return
    database = open_database(tmp_path / "sync_checkpoints.db")
    yield Checkpoint(database)
    database.close()


WEAVIATE_FIXTURES = {"weaviate_binary", "weaviate_url", "weaviate_server", "weaviate_cluster"}


@pytest.hookimpl(tryfirst=True)  # before ``-m weaviate`` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever asks for a Weaviate server is marked ``weaviate``."""
    for item in items:
        if WEAVIATE_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.weaviate)


@pytest.fixture(scope="session")
def weaviate_binary() -> None:
    """A server can be started. Skips where no server can be started; in continuous integration that is a failure."""
    if reason := weaviate.why_missing():
        lacking(reason)


def weaviate_folder(config: pytest.Config) -> Path:
    """Where the session's processes leave word of the server that they share."""
    # what the fixture tmp_path_factory gives; the end of a session has no fixtures
    base: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    # a worker's folder lies in the session's
    return (base.parent if hasattr(config, "workerinput") else base) / "weaviate"


@pytest.fixture(scope="session")
def weaviate_url(weaviate_binary: None, pytestconfig: pytest.Config) -> str:
    """The store URL of the one server that the whole session shares. A collection in it needs a name of its own."""
    # a worker's parent is the session's own process
    owner = os.getppid() if hasattr(pytestconfig, "workerinput") else os.getpid()
    return weaviate.shared_server(weaviate_folder(pytestconfig), owner)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The session's own process ends the shared server; were it killed, the server's keeper would see it."""
    if not hasattr(config, "workerinput"):
        weaviate.end_shared_server(weaviate_folder(config))


@pytest.fixture
def weaviate_server(tmp_path: Path, weaviate_binary: None) -> Iterator[weaviate.WeaviateServer]:
    """A server of the test's own, which it may kill."""
    with weaviate.WeaviateServer(tmp_path / "weaviate") as server:
        yield server


@pytest.fixture
def weaviate_cluster(tmp_path: Path, weaviate_binary: None) -> Iterator[weaviate.WeaviateCluster]:
    """Three servers of the test's own, which are one store."""
    with weaviate.WeaviateCluster(tmp_path / "weaviate") as cluster:
        yield cluster
