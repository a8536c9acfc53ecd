"""One server for each process of the test session: its collection ``Demo`` is dropped, and it is killed."""

import os
from collections.abc import Iterator

import pytest
import weaviate_server
from faults.mortal import MortalServer


@pytest.fixture(scope="session")
def kept_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalServer]:
    """Started once; whoever kills it leaves it dead."""
    if why := weaviate_server.why_missing():
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    with MortalServer(tmp_path_factory.mktemp("weaviate")) as server:
        yield server


@pytest.fixture
def server(kept_server: MortalServer) -> MortalServer:
    """A server that is ready, and may be killed."""
    kept_server.join()
    kept_server.start()
    return kept_server
