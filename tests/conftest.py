"""What all tests share: the folder of their helpers on the path, a world to sync in, property tests without a clock."""

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine

from elysia_dagster.checkpoint.database import open_database

sys.path.insert(0, str(Path(__file__).parent))

import postgres_server
from checkpoint_world import Checkpoint
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


@pytest.fixture(scope="session")
def new_postgres_database() -> Iterator[Callable[[bool], str]]:
    """Makes a database on a server that is started when first asked for, with or without the schema; gives its URL."""
    numbers = itertools.count()
    with postgres_server.running_server() as server:
        engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")

        def create(name: str, template: str) -> str:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
            return f"{server}/{name}"

        open_database(create("made", "template0")).close()
        yield lambda made: create(f"checkpoint_{next(numbers)}", "made" if made else "template0")
        engine.dispose()


@pytest.fixture(params=DATABASES)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A checkpoint database that is not there yet: a SQLite file, and PostgreSQL where that is installed."""
    return tmp_path / "sync_checkpoints.db" if request.param == "sqlite" else _postgres(request, made=False)


@pytest.fixture(params=DATABASES)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Checkpoint]:
    """A checkpoint with a collection, on every database."""
    is_file = request.param == "sqlite"
    database = open_database(tmp_path / "sync_checkpoints.db" if is_file else _postgres(request, made=True))
    yield Checkpoint(database)
    database.close()


def _postgres(request: pytest.FixtureRequest, *, made: bool) -> str:
    new_database: Callable[[bool], str] = request.getfixturevalue("new_postgres_database")
    return new_database(made)
