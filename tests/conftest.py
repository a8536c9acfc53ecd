"""What all tests share: the folder of their helpers on the path, a world to sync in, property tests without a clock."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from sync_world import RecordingStore, World

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
