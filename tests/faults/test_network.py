"""What a network does to a request: nothing is lost, nothing is twice, nobody is charged, and counts are exact."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer

import pytest
from crash.interposed import interpose
from crash.oracle import Line
from crash.scenario import BASE, inline, text_of
from crash.within import apply
from faults.mortal import MortalServer
from faults.weaviate_world import WeaviateWorld, assert_truth
from proxied_weaviate import ProxiedServer, proxied

from elysia_dagster.models import RunStatus

pytestmark = pytest.mark.weaviate

INSERT_TIMEOUT_S = 3.0
BATCH_LINES = 40
LINES: tuple[Line, ...] = tuple(inline(("repo", f"d{n}.py"), text_of(f"d{n}", 5)) for n in range(2 * BATCH_LINES))
"""Two requests of 200 objects and more than a megabyte each."""

Harm = Callable[[ProxiedServer], object]


@pytest.fixture
def network(server: MortalServer) -> Iterator[ProxiedServer]:
    """The server as it is reached through proxies."""
    with proxied(server.server) as reached:
        yield reached


@pytest.fixture
def world(server: MortalServer, network: ProxiedServer, tmp_path: Path) -> Iterator[WeaviateWorld]:
    """A world that reaches its store through them, and does not wait long for an answer."""
    with WeaviateWorld(
        tmp_path, server.url, through=network.url, store_retry_s=60.0, store_insert_timeout_s=INSERT_TIMEOUT_S
    ) as opened:
        yield opened


def sync_while(world: WeaviateWorld, network: ProxiedServer, harm: Harm) -> None:
    """Applies ``LINES`` onto ``BASE``; harm is done as the second request begins. Everything is as if it were not."""
    apply(world, BASE)
    store, _ = interpose(world.engine)
    requests: list[str] = []

    def before(name: str) -> None:
        if name == "upsert":
            requests.append(name)
            if len(requests) == 2:
                harm(network)

    store.before = before
    run = apply(world, LINES, batch_size=BATCH_LINES)
    assert len(requests) == 2, "the adapter, not the engine, tries again"
    assert world.query("SELECT * FROM failed_lines") == [], "the network was charged to a line"
    assert (run.status, run.success_count, run.error_count) == (RunStatus.COMPLETED, len(LINES), 0)
    network.grpc.release()
    network.http.release()
    assert_truth(world, BASE, LINES)


@pytest.mark.parametrize("passed_bytes", [0, 20], ids=["lost", "half"])
def test_an_answer_is_lost_after_the_server_wrote(
    world: WeaviateWorld, network: ProxiedServer, passed_bytes: int
) -> None:
    """The whole answer, or what follows its first bytes."""
    sync_while(world, network, lambda reached: reached.grpc.cut_answer(passed_bytes))
    assert network.grpc.cut == 1


def test_answers_are_lost_again_and_again(world: WeaviateWorld, network: ProxiedServer) -> None:
    sync_while(world, network, lambda reached: reached.grpc.cut_answer(times=3))
    assert network.grpc.cut == 3


def test_an_answer_comes_after_the_time_limit(world: WeaviateWorld, network: ProxiedServer) -> None:
    """The server has written by then; what it answers reaches nobody."""
    timers: list[Timer] = []

    def hold(reached: ProxiedServer) -> None:
        reached.grpc.hold_answers()
        timers.append(Timer(INSERT_TIMEOUT_S + 1, reached.grpc.release))
        timers[0].start()

    sync_while(world, network, hold)
    timers[0].join()


def test_reset_in_the_middle_of_a_request(world: WeaviateWorld, network: ProxiedServer) -> None:
    done: list[int] = []

    def reset() -> None:
        done.append(network.grpc.request_bytes)
        network.grpc.reset()

    sync_while(world, network, lambda reached: reached.grpc.on_request_bytes(400_000, reset))
    assert len(done) == 1


def test_refused_for_a_while(world: WeaviateWorld, network: ProxiedServer) -> None:
    """Both interfaces are gone, and come back."""
    timers: list[Timer] = []

    def refuse(reached: ProxiedServer) -> None:
        for proxy in (reached.http, reached.grpc):
            proxy.reset(refuse=True)
            timers.append(Timer(2, proxy.release))
            timers[-1].start()

    sync_while(world, network, refuse)
    for timer in timers:
        timer.join()


def test_a_slow_link(world: WeaviateWorld, network: ProxiedServer) -> None:
    """A request takes a good part of the time limit."""
    sync_while(world, network, lambda reached: reached.grpc.slow(1_000_000))
