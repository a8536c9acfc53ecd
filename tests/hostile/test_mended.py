"""Inputs that once did harm: a crash, a leak, a hang, or a file that is nobody's to read. Each stays harmless."""

import json
import os
import random
import resource
import string
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lacking import lacking
from sync_world import RecordingStore, World, sha256

from elysia_dagster.errors import LineError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync import structure
from elysia_dagster.sync.decode import decode_text
from elysia_dagster.sync.locate import Locator
from elysia_dagster.sync.scan import _Scanner
from elysia_dagster.sync.structure import PARSED_CHARACTERS, structural_cuts

GOOD = {"repo": "repo", "op": "modify", "path": "good.py", "content": "good = 1\n"}
TOKEN = "https://user:token@host/repo.git\n"


@pytest.fixture
def anywhere(target: Path | str, tmp_path: Path) -> Iterator[World]:
    """A world whose checkpoint is on every database."""
    url = {} if isinstance(target, Path) else {"checkpoint_db_url": target}
    with World(tmp_path, store=RecordingStore(), **url) as opened:
        yield opened


def write(path: str, **fields: Any) -> dict[str, Any]:
    return {"repo": "repo", "op": "modify", "path": path, **fields}


@pytest.mark.parametrize("depth", [65, 980, 1000, 1020])
def test_a_changeset_record_nested_deep_fails_its_line(depth: int, light_world: World) -> None:
    deep = '{"repo": "r", "new_changeset": {"commit": "c", "x": ' + "[" * depth + "]" * depth + "}}"
    run = light_world.sync(GOOD, deep)
    assert light_world.outcomes(run) == {1: "indexed", 2: "failed"}
    assert "nested more than 64 deep" in light_world.failures(run)[2]


def test_a_changeset_record_of_megabytes_fails_its_line(light_world: World) -> None:
    run = light_world.sync(GOOD, {"repo": "r", "new_changeset": {"commit": "c" * 100_000}})
    assert light_world.outcomes(run) == {1: "indexed", 2: "failed"}
    assert "the limit is 65,536" in light_world.failures(run)[2]


def test_what_is_kept_of_changeset_records_is_json(light_world: World) -> None:
    infinite = b'{"repo": "r", "new_changeset": {"commit": "c", "x": 1e999, "y": "\\ud800"}}'
    halved = b'{"repo": "r", "new_changeset": {"commit": "d", "message": "cut \\ud83d"}}'
    run = light_world.sync(infinite, halved)
    assert light_world.outcomes(run) == {1: "failed", 2: "changeset"}
    [(info,)] = light_world.query("SELECT changeset_info FROM sync_runs")
    assert json.loads(info, parse_constant=pytest.fail)["r"]["commit"] == "d"


@pytest.mark.parametrize(
    "line",
    [
        {"repo": "web/.git", "op": "modify", "path": "config"},
        {"repo": "web", "op": "modify", "path": "x.txt", "content_ref": ".git/config"},
        {"repo": "web", "op": "modify", "path": "x.txt", "content_ref": "./.git//config"},
        {"repo": "repo", "op": "modify", "path": "x.txt", "content_ref": "web/.git/config"},
        {"repo": "repo", "op": "modify", "path": "x.txt", "content_ref": "{root}/web/.git/config"},
        {"repo": "web", "op": "modify", "path": ".git/config"},
        {"repo": "web", "op": "add", "path": ".git/"},
        {"repo": "web", "op": "modify", "path": "a -> .git/config"},
        {"path": "{root}/web/.git/config"},
    ],
    ids=str,
)
def test_no_spelling_reads_gits_own_files(line: dict[str, str], light_world: World) -> None:
    light_world.write("web/.git/config", TOKEN)
    light_world.write("web/.git/HEAD", "ref: refs/heads/main\n")
    light_world.write("repo/there.txt")
    light_world.sync(GOOD, {name: value.replace("{root}", str(light_world.root)) for name, value in line.items()})
    assert light_world.held() == {"repo/good.py": sha256("good = 1\n")}


def letters(count: int) -> str:
    """Text that does not compress, in letters of one to three bytes."""
    alphabet = string.ascii_letters + string.digits + "üßé日本語漢字仮名"
    return "".join(random.Random(count).choices(alphabet, k=count))


def test_long_names_fit_into_the_indexes_of_every_database(anywhere: World) -> None:
    longest = letters(3_000).encode()[:2_048].decode("utf-8", "ignore")
    deepest = "/".join(letters(40 + n) for n in range(31)).encode()[:2_040].decode("utf-8", "ignore")
    repository = letters(300).encode()[:255].decode("utf-8", "ignore")
    run = anywhere.sync(
        {"repo": repository, "op": "add", "path": longest, "content": "longest\n"},
        {"repo": repository, "op": "modify", "path": deepest + "/missing"},
        {"repo": repository, "op": "delete", "path": deepest + "/"},
        write("../" + letters(4_000), content="x\n"),
        write(letters(4_000), content="x\n"),
        letters(5_000),
        {"repo": letters(4_000), "op": letters(4_000), "path": "x"},
        {"repo": letters(4_000), "op": "delete", "path": letters(4_000) + "/"},
        GOOD,
    )
    assert (run.success_count, run.error_count) == (4, 5)
    assert anywhere.held() == {f"{repository}/{longest}": sha256("longest\n"), "repo/good.py": sha256("good = 1\n")}


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Lets this process open no more than ``count`` files at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_repositories_than_files_may_be_open(light_world: World) -> None:
    open_now = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 200
    lines = [{"repo": f"r{n}", "op": "add", "path": "x.py", "content": f"x = {n}\n"} for n in range(1_200)]
    with few_descriptors(open_now + 700):
        run = light_world.sync(*lines)
    assert run.success_count == len(lines)


def test_a_refused_repository_keeps_no_line_alive(tmp_path: Path) -> None:
    for middle in "ab":
        (tmp_path / middle / "twice" / ".git").mkdir(parents=True)
    locator = Locator([tmp_path], "")
    depths = set()
    for _ in range(3):
        with pytest.raises(LineError, match="could be any of") as caught:
            locator.folder("twice")
        depths.add(len(caught.traceback))
    assert len(depths) == 1
    locator.close()


def test_a_root_whose_name_is_no_utf8(light_world: World) -> None:
    root = Path(os.fsdecode(os.fsencode(light_world.base) + b"/ro\xffot"))
    root.mkdir()
    (root / "a.py").write_text("a = 1\n")
    (root / "named").mkdir()
    (root / "named" / "b.py").write_text("b = 1\n")
    run = light_world.sync("a.py", b"\xff", "../x", GOOD, {"repo": "named", "path": "b.py"}, roots=(root,))
    assert light_world.outcomes(run) == {1: "failed", 2: "failed", 3: "failed", 4: "indexed", 5: "indexed"}


@pytest.mark.parametrize("last", ["Привет".encode("cp1251"), "é".encode("cp1252")])
def test_a_line_of_megabytes_with_a_few_bytes_beyond_ascii_is_decoded_in_linear_time(last: bytes) -> None:
    text = decode_text(b"x" * 8_000_000 + last)  # once in hours, by a pattern that went back for every byte
    assert text.startswith("x" * 8_000_000)
    assert len(text) > 8_000_000


def test_folders_removed_again_and_again_are_planned_once(light_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = 0
    append = _Scanner._append_change

    def counting(*arguments: Any) -> None:
        nonlocal changes
        changes += 1
        append(*arguments)

    monkeypatch.setattr(_Scanner, "_append_change", counting)
    count = 400
    light_world.sync(*(write(f"a/b/old{n}.py", content="old\n") for n in range(count)))
    changes = 0
    run = light_world.sync(
        *(write(f"a/b/new{n}.py", content="new\n") for n in range(count)),
        *({"repo": "repo", "op": "delete", "path": path} for path in ["a/b/", "a/", "a/b/c/"] * (count // 3)),
        write("a/b/new1.py", content="again\n"),
        *({"repo": "repo", "op": "delete", "path": path} for path in ["a/"] * count),
        write("a/b/old1.py", content="last\n"),
    )
    assert (run.status, run.success_count) == (RunStatus.COMPLETED, run.total_lines)
    assert light_world.held() == {"repo/a/b/old1.py": sha256("last\n")}
    assert changes < 3 * run.total_lines + 2 * count, "the product of folders and files, not their sum"


@pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's rights")
def test_a_folder_that_may_not_be_looked_into_fails_its_lines(light_world: World) -> None:
    light_world.write("shut/a.py", "a = 1\n")
    light_world.write("group/inner/a.py", "a = 1\n")
    (light_world.root / "shut").chmod(0o600)
    (light_world.root / "group").chmod(0)
    lines = [GOOD, {"repo": "shut", "path": "a.py"}, {"repo": "group/inner", "path": "a.py"}, "shut/a.py", "group/"]
    manifest = light_world.begin(*lines)
    with lesser_rights():
        run = light_world.finish(manifest)
    assert light_world.outcomes(run) == {1: "indexed", 2: "failed", 3: "failed", 4: "failed", 5: "failed"}
    assert light_world.held() == {"repo/good.py": sha256("good = 1\n")}


@contextmanager
def lesser_rights() -> Iterator[None]:
    """Takes root's right to read what it may not, as long as the block lasts (capabilities of this thread, Linux)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    data = (ctypes.c_uint32 * 6)()
    header = Header(0x20080522, 0)
    if libc.capget(ctypes.byref(header), data):
        lacking("the kernel tells this process nothing of its capabilities")
    kept = data[0]
    data[0] = kept & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH; effective only, so that they come back
    assert libc.capset(ctypes.byref(header), data) == 0
    try:
        yield
    finally:
        data[0] = kept
        assert libc.capset(ctypes.byref(header), data) == 0


def test_a_parser_keeps_nothing_of_what_it_has_read() -> None:
    text = Path(structure.__file__).read_text() * 3
    for _ in range(5):
        structural_cuts(text[:PARSED_CHARACTERS], "python", 600)
    tracemalloc.start()
    try:
        for _ in range(40):
            structural_cuts(text[:PARSED_CHARACTERS], "python", 600)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 200_000, "once 28 KB for each piece of a program"
