"""What the short forms share: one parent of all their processes."""

from collections.abc import Iterator

import pytest
from crash.zygote import Zygote
from soak.play import SCRIPT


@pytest.fixture(scope="session")
def processes() -> Iterator[Zygote]:
    """Started once: the imports are what takes time."""
    with Zygote(script=SCRIPT) as running:
        yield running
