"""A resource is used up, at whatever step: exit 3 with a sentence, nothing charged, no damage, and the same command
completes once there is enough.

By real limits: a file system that grows from nothing, and the kernel's limits of a process. Each is raised a little at
a time, so that one consumer after the other meets it: database, spool, plan, batch files, store.
"""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from crash.oracle import COLLECTION
from crash.scenario import BASE, BATCH_SIZE, NEWER
from crash.stage import Stage
from crash.zygote import Child, Zygote
from lacking import lacking

from elysia_dagster.settings import DATABASE_NAME

KIB = 1 << 10
IS_LONG = os.environ.get("LONG") == "1"
OF_GLIBC = "cannot allocate memory for thread-local data: ABORT"
"""What glibc says (elf/dl-tls.c) before it ends the process with 127: no code of Python's runs after that."""


def command(stage: Stage, changeset: Path, **limits: int) -> Child:
    """``elysiactl index sync``, to its end."""
    words = ["index", "sync", str(changeset), "--collection", COLLECTION, "--root", str(stage.root)]
    child = stage.start("shell", words=[*words, "--batch-size", str(BATCH_SIZE)], limits=limits)
    child.code = child.wait()  # type: ignore[attr-defined]
    return child


def assert_used_up(stage: Stage, child: Child) -> None:
    """Exit 3, one sentence and what to do; nothing charged to a line, the database whole."""
    said = child.said()
    assert child.code == 3, (child.code, said)  # type: ignore[attr-defined]
    assert "Traceback" not in said
    sentence = said.strip().splitlines()[-1]
    assert any(words in sentence for words in ("the same command again", "elysiactl index resume")), said
    database = stage.state / DATABASE_NAME
    if database.exists() and database.stat().st_size:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            (has_table,) = connection.execute(
                "SELECT COUNT(*) FROM sqlite_master WHERE name = 'failed_lines'"
            ).fetchone()
            if has_table:
                reasons = [row[0] for row in connection.execute("SELECT error_message FROM failed_lines")]
                assert not [each for each in reasons if "open files" in each or "space" in each], reasons


def play(stage: Stage, limits: Iterator[dict[str, int]], name: str, lines: "object") -> list[str]:
    """The same command with one limit after the other, until it completes; what it said each time before."""
    changeset = stage.changeset(name, lines)  # type: ignore[arg-type]
    said = []
    for each in limits:
        child = command(stage, changeset, **each)
        if child.code in (0, 1):  # type: ignore[attr-defined]
            return said
        assert_used_up(stage, child)
        said.append(child.said().strip())
    raise AssertionError(f"it never completed: {said}")


@pytest.fixture
def growing(zygote: Zygote, tmp_path: Path) -> Iterator[tuple[Stage, Iterator[dict[str, int]]]]:
    """A stage whose state lies on a file system of its own, that grows with each try."""
    (tmp_path / "state").mkdir()
    options = ["mount", "-t", "tmpfs", "-o"]
    if (
        os.geteuid()
        or shutil.which("mount") is None
        or subprocess.run(
            [*options, "size=64k", "state", tmp_path / "state"], check=False, capture_output=True
        ).returncode
    ):
        lacking("a file system of a test's own can be mounted by root alone")

    def sizes() -> Iterator[dict[str, int]]:
        size = 64 * KIB
        while size < 64 << 20:
            subprocess.run(["mount", "-o", f"remount,size={size}", tmp_path / "state"], check=True)
            yield {}
            size = size * 16 // 10 // (4 * KIB) * (4 * KIB)

    try:
        yield Stage(zygote, tmp_path), sizes()
    finally:
        subprocess.run(["umount", "--lazy", tmp_path / "state"], check=True)


def test_the_disk_is_full(growing: tuple[Stage, Iterator[dict[str, int]]]) -> None:
    stage, sizes = growing
    said = play(stage, sizes, "base", BASE)
    said += play(stage, sizes, "newer", NEWER)
    assert len(said) > 4, said
    stage.assert_everything(BASE, NEWER)


def test_no_file_may_grow(after_base: Stage) -> None:
    """RLIMIT_FSIZE, as a quota would have it."""
    limits = ({"FSIZE": int(4 * KIB * 1.6**n)} for n in range(30))
    said = play(after_base, limits, "newer", NEWER)
    assert said
    after_base.assert_everything(BASE, NEWER)


def test_no_file_handle_is_left(after_base: Stage) -> None:
    limits = ({"NOFILE": n} for n in range(6, 400, 5))
    said = play(after_base, limits, "newer", NEWER)
    assert said
    after_base.assert_everything(BASE, NEWER)


def test_memory_is_used_up(after_base: Stage) -> None:
    """RLIMIT_AS, beyond what the process has when it begins. A library that ends the process is as good as a kill."""
    changeset = after_base.changeset("newer", NEWER)
    codes = []
    for extra in range(1, 1_500, 12 if IS_LONG else 120):
        child = command(after_base, changeset, AS=extra << 20)
        codes.append(child.code)  # type: ignore[attr-defined]
        if codes[-1] in (0, 1):
            break
        if codes[-1] < 0 or OF_GLIBC in child.said():
            continue
        assert_used_up(after_base, child)
    assert codes[-1] in (0, 1), codes
    assert len(codes) > 1, "there was no limit"
    after_base.assert_everything(BASE, NEWER)
