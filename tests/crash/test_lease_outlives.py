"""No request is under way when its lease ends: else it would arrive when another process has taken over."""

from datetime import datetime, timedelta

import pytest
from crash.interposed import interpose
from crash.scenario import text_of
from sync_world import World

from elysia_dagster.checkpoint import clock

REQUEST_S = 20.0
"""What a request may take; the lease lives 60 s, the settings' default."""

MARGIN_S = 4.0
"""What it should live beyond that, at least: two clocks, and an answer on its way."""


def line(path: str, chunks: int = 1, op: str = "modify") -> dict[str, str]:
    return {"repo": "repo", "op": op, "path": path, "content": text_of(path.partition(".")[0], chunks)}


@pytest.mark.parametrize("passed_s", [50.0, 38.0])
@pytest.mark.parametrize(
    ("method", "point"), [("upsert", "intended"), ("delete_objects", "verified"), ("delete_documents", "verified")]
)
def test_the_lease_outlives_every_request(
    method: str, point: str, passed_s: float, light_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late it has become when the batch is at ``point``, right before it."""
    light_world.sync(line("a.py", 3), line("b.py", 2))
    if method == "delete_documents":
        light_world.query("UPDATE documents SET state = 'suspect' WHERE path = 'b.py'")
    store, _ = interpose(light_world.engine)
    assert light_world.recording is not None
    light_world.recording.request_timeout_s = REQUEST_S
    now, late = clock.now, timedelta(0)
    monkeypatch.setattr(clock, "now", lambda: now() + late)
    left_s: list[float] = []

    def at(passed: str) -> None:
        nonlocal late
        if passed == point:
            late = timedelta(seconds=passed_s)

    def before(name: str) -> None:
        if name == method:
            [(expires,)] = light_world.query("SELECT lease_expires_at FROM sync_runs WHERE status = 'running'")
            left_s.append((datetime.fromisoformat(expires) - clock.now()).total_seconds())

    light_world.engine.faults, store.before = at, before
    light_world.sync(line("a.py", 1), line("b.py", op="delete"))
    assert len(left_s) == 1
    assert left_s[0] > REQUEST_S + MARGIN_S


def test_a_lease_is_longer_than_two_requests(light_world: World) -> None:
    """Whatever the setting says, which is too short for a slow store."""
    store = light_world.engine.store()
    for request_s, lease_s in ((1.0, 60.0), (29.0, 60.0), (100.0, 200.0)):
        store.request_timeout_s = request_s
        assert light_world.engine.lease_seconds(store) == lease_s
