"""Documents in doubt at the end of a run: all of them are looked at, however many cannot be mended."""

from functools import partial

import pytest
from damage import Damage
from sync_world import World

from elysia_dagster.checkpoint import suspects
from elysia_dagster.models import RunStatus


def test_those_that_cannot_be_mended_keep_no_other_in_doubt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the oldest, and more than are looked at at once."""
    monkeypatch.setattr(suspects, "comparable_suspects", partial(suspects.comparable_suspects, limit=2))
    names = [f"old{number}.py" for number in range(5)]
    for name in [*names, "late.py"]:
        world.write(f"repo/{name}", f"{name[:-3]} = 1\n")
    world.sync(*({"repo": "repo", "path": name, "op": "add"} for name in names))
    world.sync({"repo": "repo", "path": "late.py", "op": "add"})
    damage = Damage(world.state)
    for name in names:
        world.write(f"repo/{name}", "changed = 2\n")
        damage.remove(("repo", name))
    for spool in (world.state / "work").glob("*/changeset.jsonl"):
        spool.unlink()
    world.query("UPDATE documents SET state = 'suspect'")
    world.write("repo/new.py", "new = 1\n")
    assert world.sync({"repo": "repo", "path": "new.py", "op": "add"}).status is RunStatus.COMPLETED
    states = dict(world.query("SELECT path, state FROM documents"))
    assert states == dict.fromkeys(names, "suspect") | {"late.py": "present", "new.py": "present"}
