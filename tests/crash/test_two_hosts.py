"""Two machines, one collection: a process stopped past its lease, overtaken from another host, and woken.

Real processes, SIGSTOP and SIGCONT, and leases that really end. The woken one may send, late, what it had in hand; it
then learns that it was overtaken (exit 4) and says which documents are in doubt. Once the run after it ends, nothing
stale, doubled, missing or left over is there.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import points
from crash.held import drop_collection
from crash.oracle import COLLECTION, Line
from crash.scenario import BASE, KILLED, NEWER, inline, text_of
from crash.stage import Stage
from crash.zygote import Child, Zygote

from elysia_dagster.checkpoint import clock

SETTINGS = {"lease_s": 0.4, "request_objects": 3}
"""A lease that is soon over, and inserts of several requests each, so that there is a middle."""

PLACES = ("intended:2", "sending:1", "sending:2", "sending:5", "removing:1", "removed:2", "settled:2")
"""After intend; before an insert, of a document among others whose chunks have the same texts in the newer version;
in the middle of one; before chunks are removed that a newer run may have written meanwhile; before settle; before
unlink. A lease is looked at before a request, so that ``intended`` sends nothing late."""

IS_LONG = os.environ.get("LONG") == "1"
THIRD: tuple[Line, ...] = tuple(
    inline((repository, "third.py"), text_of(f"third_{repository}")) for repository in ("alpha", "beta", "gamma")
)


def freeze(stage: Stage, place: str) -> Child:
    """A process of the host ``first`` that applies ``KILLED``, stopped at ``<point>:<n>`` until its lease is over."""
    changeset = stage.changeset("frozen", KILLED)
    frozen = stage.start_sync(changeset, fault=f"freeze:{place}", settings=SETTINGS, host="first")
    frozen.wait_until_frozen(place.partition(":")[0])
    while not is_over(stage):
        time.sleep(0.02)
    return frozen


def is_over(stage: Stage) -> bool:
    """Whether the lease of the run that was stopped has ended."""
    ((expires,),) = stage.rows("SELECT lease_expires_at FROM sync_runs WHERE lease_owner NOTNULL")
    return clock.parse(expires) < clock.now()


def wake(frozen: Child) -> None:
    """It goes on, and learns that it was overtaken."""
    frozen.wake()
    assert frozen.wait() == 4, frozen.error()
    assert frozen.error().startswith("LeaseLost"), frozen.error()


def finish(stage: Stage, child: Child) -> None:
    """A child of another host, to its end."""
    assert child.wait() == 0, child.error()


def resumed_elsewhere(stage: Stage, frozen: Child) -> None:
    """The same run, by another host; then one more run, of other documents of the same repositories."""
    finish(stage, stage.start("resume", run_id=stage.run_ids()[1], settings=SETTINGS, host="second"))
    wake(frozen)
    finish(stage, stage.start_sync(stage.changeset("third", THIRD), settings=SETTINGS, host="third"))
    stage.assert_everything(BASE, KILLED, THIRD)


def newer_elsewhere(stage: Stage, frozen: Child) -> None:
    """A newer changeset, by another host; then the older run, which nobody had finished."""
    finish(stage, stage.start_sync(stage.changeset("newer", NEWER), settings=SETTINGS, host="second"))
    wake(frozen)
    finish(stage, stage.start("resume", run_id=stage.run_ids()[1], settings=SETTINGS, host="third"))
    stage.assert_everything(BASE, KILLED, NEWER)


Takeover = Callable[[Stage, Child], None]
EVERY = [
    pytest.param(place, each, id=f"{place}-{each.__name__}")
    for place in PLACES
    for each in (resumed_elsewhere, newer_elsewhere)
]
SHORT = [
    ("intended:2", newer_elsewhere),
    ("sending:1", newer_elsewhere),
    ("sending:2", newer_elsewhere),
    ("removed:2", resumed_elsewhere),
]
"""``make endure`` plays every place with every takeover on both stores."""


@pytest.mark.parametrize(("place", "takeover"), EVERY if IS_LONG else SHORT)
def test_stopped_overtaken_and_woken(after_base: Stage, place: str, takeover: Takeover) -> None:
    takeover(after_base, freeze(after_base, place))


@pytest.mark.parametrize(("place", "takeover"), EVERY if IS_LONG else SHORT[1:3])
def test_the_same_on_weaviate(
    weaviate_url: str, zygote: Zygote, tmp_path: Path, place: str, takeover: Takeover
) -> None:
    drop_collection(weaviate_url, COLLECTION)
    zygote.ask({"import": "elysia_dagster.stores.weaviate"})
    stage = Stage(zygote, tmp_path, weaviate=weaviate_url)
    stage.sync(stage.changeset("base", BASE))
    takeover(stage, freeze(stage, place))
    drop_collection(weaviate_url, COLLECTION)


def test_woken_while_the_other_one_writes(after_base: Stage) -> None:
    """What comes late goes into a batch that the other host has read back and not settled: that is not settled, and
    the same run again puts it right."""
    stage = after_base
    frozen = freeze(stage, "sending:2")
    other = stage.start_sync(
        stage.changeset("newer", NEWER), fault="freeze:verified:1", settings=SETTINGS, host="second"
    )
    other.wait_until_frozen("verified")
    wake(frozen)
    other.wake()
    assert other.wait() == 3, other.error()
    assert "has sent late what run" in other.error()
    for run_id in reversed(stage.run_ids()[1:]):
        finish(stage, stage.start("resume", run_id=run_id, settings=SETTINGS, host="second"))
    stage.assert_everything(BASE, KILLED, NEWER)


def test_stopped_while_it_holds_the_table(after_base: Stage) -> None:
    """LanceDB's one writer at a time: who comes meanwhile waits, then says whom it waits for, and charges nothing."""
    stage = after_base
    frozen = freeze(stage, "committed:2")
    waiting = stage.start("resume", run_id=stage.run_ids()[1], settings=SETTINGS, host="second")
    assert waiting.wait() == 3, waiting.error()
    assert "was held by another process" in waiting.error()
    wake(frozen)
    finish(stage, stage.start("resume", run_id=stage.run_ids()[1], settings=SETTINGS, host="second"))
    stage.assert_everything(BASE, KILLED)


def test_killed_while_it_mends_what_came_late(after_base: Stage) -> None:
    """The run after it is killed, twice, where it deletes before it writes: its resume mends the hole."""
    stage = after_base
    frozen = freeze(stage, "removing:1")
    finish(stage, stage.start_sync(stage.changeset("newer", NEWER), settings=SETTINGS, host="second"))
    wake(frozen)
    resume = {"run_id": stage.run_ids()[1], "settings": SETTINGS}
    for point in ("reconcile-deleted", *points.MENDING):
        stage.kill(stage.start("resume", fault=f"kill:{point}:1", **resume), point)
    finish(stage, stage.start("resume", **resume))
    stage.assert_everything(BASE, KILLED, NEWER)
