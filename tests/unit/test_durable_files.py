"""What a power failure must not take: bytes are on the disk before a name stands for them, and the name before anything
counts on it. Told from the calls that are made, in their order, since no test can pull the plug."""

import os
from pathlib import Path

import pytest
from sync_world import World

from elysia_dagster.sync.files import write_aside
from elysia_dagster.sync.unsent import UnsentWriter

Call = tuple[str, str]
"""What was asked for, and of which path; a point that was passed is a call too."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Syncs and renames of this process, as they are made."""
    made: list[Call] = []
    sync, replace, rename = os.fsync, os.replace, os.rename

    def synced(descriptor: int) -> None:
        made.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def replaced(source: str | Path, target: str | Path) -> None:
        made.append(("rename", str(target)))
        replace(source, target)

    def renamed(source: str | Path, target: str | Path) -> None:
        made.append(("rename", str(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "rename", renamed)
    return made


def test_written_aside_is_synced_then_renamed_then_its_folder_synced(tmp_path: Path, calls: list[Call]) -> None:
    path = tmp_path / "plan.arrow"
    with write_aside(path) as file:
        file.write(b"whole")
        assert calls == []
    aside = f"{tmp_path}/.plan.arrow.{os.getpid()}.part"
    assert calls == [("sync", aside), ("rename", str(path)), ("sync", str(tmp_path))]


def test_lines_that_need_no_store_are_synced_then_renamed_then_their_folder_synced(
    tmp_path: Path, calls: list[Call]
) -> None:
    path = tmp_path / "plan-unsent.jsonl"
    writer = UnsentWriter(path)
    writer.restart()
    writer.blank(1)
    writer.finish()
    assert calls == [("sync", f"{tmp_path}/.{path.name}.part"), ("rename", str(path)), ("sync", str(tmp_path))]


def test_the_spool_is_on_the_disk_before_a_run_names_it(light_world: World, calls: list[Call]) -> None:
    light_world.engine.faults = lambda point: calls.append(("point", point))
    run_id = light_world.begin({"repo": "repo", "op": "add", "path": "a.py", "content": "a\n"}).run_id
    work = light_world.state / "work"
    before = calls[: calls.index(("point", "run-opened"))]
    renamed = before.index(("rename", str(work / run_id)))
    synced = [path for what, path in before[:renamed] if what == "sync"]
    assert [Path(path).name for path in synced][:1] == ["changeset.jsonl"]
    assert str(Path(synced[0]).parent) in synced, "the name of the file in its folder"
    assert ("sync", str(work)) in before[renamed:], "the name of the folder"


def test_a_batch_is_on_the_disk_before_it_is_intended(light_world: World, calls: list[Call]) -> None:
    light_world.engine.faults = lambda point: calls.append(("point", point))
    run = light_world.sync({"repo": "repo", "op": "add", "path": "a.py", "content": "a\n"})
    folder = light_world.state / "work" / run.run_id
    before = calls[: calls.index(("point", "intended"))]
    renamed = before.index(("rename", str(folder / "batch-0.arrow")))
    assert before[renamed - 1] == ("sync", f"{folder}/.batch-0.arrow.{os.getpid()}.part")
    assert before[renamed + 1] == ("sync", str(folder))
