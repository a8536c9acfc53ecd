"""One parent of all children that are killed."""

from collections.abc import Iterator

import pytest
from crash.zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Started once: the imports are what takes time."""
    with Zygote() as running:
        yield running
