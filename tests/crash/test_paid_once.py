"""What a stopped process had embedded is taken up, and what it had begun to write is never called unchanged."""

import pytest
from crash.interposed import interpose
from crash.scenario import text_of
from crash.within import Stopped, go_on, run_ids, stop_at
from sync_world import World, sha256

from elysia_dagster.models import RunStatus


def line(path: str, chunks: int = 1) -> dict[str, str]:
    return {"repo": "repo", "op": "modify", "path": path, "content": text_of(path.partition(".")[0], chunks)}


@pytest.mark.parametrize("point", ["batch-saved", "embedded", "intended", "inserted", "verified", "removed"])
def test_stopped_at_any_point_no_text_is_embedded_again(light_world: World, point: str) -> None:
    """Up to the moment when the batch is settled its file is there."""
    _, embedder = interpose(light_world.engine)
    stop_at(light_world, point)
    with pytest.raises(Stopped):
        light_world.sync(line("a.py", 3), line("b.py", 2))
    go_on(light_world)
    assert embedder.texts == 5
    assert light_world.resume(run_ids(light_world)[0]).status is RunStatus.COMPLETED
    assert embedder.texts == 5
    assert list((light_world.engine.run_folder(run_ids(light_world)[0])).glob("batch-*")) == []


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "there before"])
@pytest.mark.parametrize("point", ["intended", "inserted", "removed"])
def test_what_was_being_written_is_never_unchanged(light_world: World, point: str, is_new: bool) -> None:
    """Another changeset comes first, with the very bytes: the row knows their hash, and nobody knows what arrived."""
    if not is_new:
        light_world.sync({**line("a.py"), "content": text_of("older", 4)})
    stop_at(light_world, point)
    with pytest.raises(Stopped):
        light_world.sync(line("a.py", 3))
    go_on(light_world)
    run = light_world.sync(line("b.py"), line("a.py", 3))
    assert light_world.outcomes(run) == {1: "indexed", 2: "indexed"}
    assert light_world.held() == {"repo/a.py": sha256(text_of("a", 3)), "repo/b.py": sha256(text_of("b"))}
    late = light_world.resume(run_ids(light_world)[-2])
    assert light_world.outcomes(late) == {1: "superseded"}


def test_a_file_that_came_after_its_batch_was_saved_is_indexed_and_the_rest_is_not_paid_again(
    light_world: World,
) -> None:
    """Nor does a line fail for what is mended by the time that its batch is sent."""
    (light_world.root / "repo").mkdir()
    stop_at(light_world, "embedded")
    with pytest.raises(Stopped):
        light_world.sync(line("here.py", 3), {"repo": "repo", "op": "modify", "path": "late.py"})
    go_on(light_world)
    light_world.write("repo/late.py", text_of("late"))
    _, embedder = interpose(light_world.engine)
    run = light_world.resume(run_ids(light_world)[0])
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, 2)
    assert embedder.texts == 1, "what was saved was embedded again"
    assert sorted(light_world.held()) == ["repo/here.py", "repo/late.py"]
