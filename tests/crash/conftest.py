"""What the tests that kill share: one parent of children that can be killed, and a stage to play on."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from crash.power import build_recorder
from crash.scenario import BASE
from crash.stage import Stage
from crash.zygote import Zygote


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The library that notes what is synced, or None where there is no compiler."""
    return build_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="session")
def zygote(recorder: Path | None) -> Iterator[Zygote]:
    """Started once: the imports are what takes time."""
    with Zygote(preloaded=recorder) as running:
        yield running


@pytest.fixture
def stage(zygote: Zygote, tmp_path: Path) -> Stage:
    """Three repositories and an empty state, in the test's own folder."""
    return Stage(zygote, tmp_path)


@pytest.fixture(scope="session")
def theatre(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stage, Callable[[], None]]:
    """One stage for all tests that begin with the same collection, and the way back to it.

    A state cannot be copied to another folder, since the checkpoint knows the store by its place.
    """
    stage = Stage(zygote, tmp_path_factory.mktemp("theatre"))
    stage.sync(stage.changeset("base", BASE))
    return stage, stage.snapshot()


@pytest.fixture
def after_base(theatre: tuple[Stage, Callable[[], None]]) -> Stage:
    """A stage on which ``BASE`` has been applied."""
    stage, restore = theatre
    restore()
    return stage
