"""Files that are swapped for links, FIFOs and folders while they are read: what is read was inside, or nothing is."""

import contextlib
import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile.folder import CANARY
from sync_world import World, sha256

from elysia_dagster.sync import confine, openbeneath

FILES = 40
CONTENTS = ("first\n", "second, and longer\n" * 50, "third\n" * 2_000)


@contextlib.contextmanager
def restless(folder: Path, outside: Path) -> Iterator[None]:
    """A thread that changes every file of the folder into something else, again and again."""
    stop = threading.Event()
    chance = random.Random(5)

    def change() -> None:
        while not stop.is_set():
            place = folder / f"f{chance.randrange(FILES)}" / "x.txt"
            with contextlib.suppress(OSError):
                _turn_into(chance.randrange(7), place, outside, chance)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _turn_into(what: int, place: Path, outside: Path, chance: random.Random) -> None:
    aside = place.with_name("aside")
    with contextlib.suppress(FileNotFoundError):
        aside.unlink()
    match what:
        case 0:
            place.unlink()
        case 1:
            aside.symlink_to(outside / "x.txt")
            os.replace(aside, place)
        case 2:
            place.unlink()
            os.mkfifo(place)
        case 3:  # the folder itself becomes a link to one that holds the same name
            shutil.rmtree(place.parent)
            place.parent.symlink_to(outside)
        case _:
            if place.parent.is_symlink():
                place.parent.unlink()
            place.parent.mkdir(exist_ok=True)
            if place.is_fifo():
                place.unlink()
            with place.open("r+" if place.exists() and not place.is_symlink() else "w") as file:
                file.write(chance.choice(CONTENTS))
                file.truncate()


@pytest.mark.parametrize("opener", ["one call", "by components"])
def test_what_changes_while_it_is_read_never_leads_out(
    opener: str, light_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    if opener == "by components":
        monkeypatch.setattr(confine, "open_beneath", openbeneath.open_by_components)
    outside = light_world.base / "outside"
    outside.mkdir()
    (outside / "x.txt").write_text(CANARY)
    for number in range(FILES):
        light_world.write(f"repo/f{number}/x.txt", CONTENTS[0])
    light_world.write("repo/still.txt", "still\n")
    lines = [{"repo": "repo", "op": "modify", "path": f"f{number}/x.txt"} for number in range(FILES)]
    folders = [{"repo": "repo", "op": "add", "path": f"f{number}/"} for number in range(0, FILES, 4)]
    with restless(light_world.root / "repo", outside):
        for attempt in range(8):
            still = {"repo": "repo", "op": "modify", "path": "still.txt", "attempt": attempt}
            run = light_world.sync(*lines, *folders, still)
            assert light_world.outcomes(run)[run.total_lines] in ("indexed", "unchanged")
            assert run.success_count + run.error_count == run.total_lines
    assert light_world.recording is not None
    for each in light_world.recording.objects.values():
        assert CANARY not in each.content
    assert sha256(CANARY) not in light_world.held().values()
    assert light_world.held()["repo/still.txt"] == sha256("still\n")
