"""The servers that tests start: what they keep, where they listen, and when they end."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until
from weaviate_server import (
    PortBlock,
    PortTaken,
    WeaviateCluster,
    WeaviateServer,
    healthy_nodes,
    is_loopback,
    shared_server,
    sockets_of,
)

pytestmark = pytest.mark.usefixtures("weaviate_binary")

TESTS = Path(__file__).parents[1]
OBJECT = {"class": "Kept", "id": "00000000-0000-0000-0000-000000000001", "properties": {"name": "kept"}}


def ask(server: WeaviateServer, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = 90) -> Any:
    """The answer to GET, or to POST with a body."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.http_port}/v1/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        return json.load(response)


def is_kept(server: WeaviateServer) -> bool:
    """Whether the object is there, once it was sent."""
    try:
        ask(server, "objects", OBJECT, timeout_s=10)
        return True
    except OSError:  # no answer in time, or one that says why not: that it is there already, too
        with contextlib.suppress(OSError):
            return bool(ask(server, f"objects/Kept/{OBJECT['id']}", timeout_s=10))
        return False


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_keeps_its_data_and_ports_over_a_kill(weaviate_server: WeaviateServer) -> None:
    ask(weaviate_server, "objects", OBJECT)
    url, pid = weaviate_server.url, weaviate_server.pid
    weaviate_server.kill()
    assert not weaviate_server.is_alive
    assert is_gone(pid)
    weaviate_server.start()
    assert weaviate_server.url == url
    assert ask(weaviate_server, f"objects/Kept/{OBJECT['id']}")["properties"] == {"name": "kept"}
    weaviate_server.stop()
    assert not weaviate_server.is_ready()


def test_it_listens_and_speaks_on_loopback_only(tmp_path: Path) -> None:
    """With all that it can listen on turned on."""
    environment = {"PROMETHEUS_MONITORING_ENABLED": "true", "GO_PROFILING_DISABLE": "false"}
    with WeaviateServer(tmp_path, environment=environment) as server:
        ports = server.ports
        expected = {ports.http, ports.grpc, ports.gossip, ports.data, ports.raft, ports.rpc}
        expected |= {ports.metrics, ports.profiling}
        wait_until("Its ports", lambda: {each.local_port for each in sockets_of(server.pid)} >= expected)
        outside = [each for each in sockets_of(server.pid) if not is_loopback(each)]
        assert outside == [], "built before it was kept to loopback? Remove it, and type `make weaviate-server`"


def test_two_at_once_of_which_one_finds_a_port_taken(tmp_path: Path) -> None:
    """It goes to other ports; one that has been ready keeps its own."""
    second = WeaviateServer(tmp_path / "second")
    meant = second.ports
    with WeaviateServer(tmp_path / "first") as first, socket.socket() as other:
        # the one port without which a server says that it is ready all the same
        other.bind(("127.0.0.1", meant.data))
        other.listen()
        with second:
            assert second.ports != meant
            ask(second, "objects", OBJECT)
            assert [len(ask(each, "objects")["objects"]) for each in (first, second)] == [0, 1]
        with socket.socket() as other_yet:
            settled = first.ports
            first.kill()
            other_yet.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # its last connections do not count
            other_yet.bind(("127.0.0.1", settled.http))
            other_yet.listen()
            with pytest.raises(PortTaken, match="node1"):
                first.start()
            assert first.ports == settled


def test_ports_are_one_servers_alone() -> None:
    blocks = [PortBlock() for _ in range(50)]
    assert len({block.first for block in blocks}) == 50
    for block in blocks:
        block.close()


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = WeaviateServer(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        assert server.is_ready()
    finally:
        server.__exit__()


def test_it_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """However that ends."""
    program = (
        "import sys, time; from pathlib import Path; from weaviate_server import WeaviateServer\n"
        "server = WeaviateServer(Path(sys.argv[1])); server.start(wait=False)\n"
        "print(server.pid, flush=True); time.sleep(300)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], cwd=TESTS, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert not is_gone(pid)
        owner.kill()
    wait_until("The end of the server", lambda: is_gone(pid))


def test_a_session_shares_one_which_ends_with_the_sessions_own_process(tmp_path: Path) -> None:
    """Asked for by its workers at once; killed, it ends nothing by itself."""
    worker = (
        "import sys; from pathlib import Path; from weaviate_server import shared_server\n"
        "print(shared_server(Path(sys.argv[1]), int(sys.argv[2])))"
    )
    with subprocess.Popen(["sleep", "300"]) as session:
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", worker, tmp_path, str(session.pid)],
                cwd=TESTS,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        urls = {each.communicate()[0].strip() for each in workers}
        assert urls == {shared_server(tmp_path, session.pid)}
        told = json.loads((tmp_path / "server.json").read_text())
        assert not is_gone(told["pid"]), "it outlives the worker that started it"
        session.send_signal(signal.SIGKILL)
    wait_until("The end of both", lambda: is_gone(told["pid"]) and is_gone(told["keeper"]))
    assert not (tmp_path / "data").exists()


def test_this_session_has_one(weaviate_url: str, request: pytest.FixtureRequest) -> None:
    assert weaviate_url.startswith("weaviate:http://127.0.0.1:")
    assert request.node.get_closest_marker("weaviate"), "whoever asks for one is marked"


def test_three_nodes_lose_one_and_regain_it(weaviate_cluster: WeaviateCluster) -> None:
    """The first is the one that the others were told of at their start."""
    first, second, third = weaviate_cluster.nodes
    made = {
        "class": "Kept",
        "properties": [{"name": "name", "dataType": ["text"]}],
        "replicationConfig": {"factor": 3},
    }
    ask(second, "schema", made)
    first.kill()
    wait_until("Two nodes that know of each other", lambda: healthy_nodes(second) == healthy_nodes(third) == 2)
    # two of three are enough, once they have agreed on who leads them
    wait_until("An object that is kept", lambda: is_kept(second))
    weaviate_cluster.start()
    assert [healthy_nodes(node) for node in weaviate_cluster.nodes] == [3, 3, 3]
    assert ask(first, f"objects/Kept/{OBJECT['id']}?consistency_level=ALL")["properties"] == {"name": "kept"}
    for node in weaviate_cluster.nodes:
        assert [each for each in sockets_of(node.pid) if not is_loopback(each)] == []
