"""One server for each process of the test session: its collection ``Demo`` is dropped, and it is killed."""

from collections.abc import Iterator

import pytest
from faults.mortal import MortalServer


@pytest.fixture(scope="session")
def kept_server(tmp_path_factory: pytest.TempPathFactory, weaviate_binary: None) -> Iterator[MortalServer]:
    """Started once; whoever kills it leaves it dead."""
    with MortalServer(tmp_path_factory.mktemp("weaviate")) as server:
        yield server


@pytest.fixture
def server(kept_server: MortalServer) -> MortalServer:
    """A server that is ready, and may be killed."""
    kept_server.join()
    kept_server.start()
    return kept_server
