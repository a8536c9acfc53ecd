"""Everything that producers really write, from the file or pipe to the documents that the collection then holds."""

import base64
import gzip
import io
import json
import subprocess
from typing import Any

import pytest
import zstandard
from sync_world import COLLECTION, Line, RecordingStore, World, git, raw, sha256

from elysia_dagster.models import RunStatus
from elysia_dagster.sync.drive import sync
from elysia_dagster.sync.finalize import SyncReport

PACKED = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def change(path: str, **fields: Any) -> dict[str, Any]:
    return {"repo": "repo", "op": "modify", "path": path, **fields}


@pytest.mark.parametrize("way", ["file", "standard input"])
@pytest.mark.parametrize("packing", PACKED)
def test_files_and_standard_input_packed_or_not(packing: str, way: str, world: World) -> None:
    world.write("repo/a.py", "a = 1\n")
    data = PACKED[packing](b"\n".join(raw(each) for each in (change("a.py"), change("b.py", content="b = 1\n"))))
    if way == "file":
        place = world.base / "changeset"
        place.write_bytes(data)
        run = world.sync_file(place)
        assert run.input_source == str(place)
    else:
        run = world.finish(sync(world.engine, world.request(None), io.BytesIO(data)))
        assert run.input_source == "<stdin>"
    assert (run.status, run.total_lines, run.success_count) == (RunStatus.COMPLETED, 2, 2)
    assert world.held() == {"repo/a.py": sha256("a = 1\n"), "repo/b.py": sha256("b = 1\n")}


@pytest.mark.parametrize(
    "data",
    [b"", gzip.compress(b"", mtime=0), b"\n\n\r\n", b"\xef\xbb\xbf"],
    ids=["nothing", "empty gzip", "blank lines", "byte order mark"],
)
def test_an_input_without_a_change_is_completed(data: bytes, world: World) -> None:
    run = world.finish(sync(world.engine, world.request(None), io.BytesIO(data)))
    assert run.status is RunStatus.COMPLETED
    assert set(world.outcomes(run).values()) <= {"blank"}
    assert len(world.outcomes(run)) == run.total_lines == run.success_count


@pytest.mark.parametrize(
    "data",
    [
        b"a.py\nb.py\n",
        b"a.py\nb.py",
        b"a.py\r\nb.py\r\n",
        b"\xef\xbb\xbfa.py\r\nb.py",
        b'\xef\xbb\xbf{"path": "a.py"}\r\n\r\n{"path": "b.py", "op": "add"}\r\n',
        b'"a.py"\nb.py\n',
        b"./a.py\n.//b.py\n",
        b"a.py\0b.py\0",
    ],
)
def test_paths_and_records_with_any_line_ending(data: bytes, world: World) -> None:
    world.write("a.py", "a = 1\n")
    world.write("b.py", "b = 1\n")
    run = world.finish(sync(world.engine, world.request(None), io.BytesIO(data)))
    assert run.status is RunStatus.COMPLETED
    assert world.held() == {"root/a.py": sha256("a = 1\n"), "root/b.py": sha256("b = 1\n")}


@pytest.fixture
def repository(world: World) -> World:
    """A working tree, the root itself, with names that git quotes."""
    git(world.root, "init")
    for name in (
        "plain.py",
        "übersicht.md",
        "with space.md",
        'quo"te.md',
        "tab\t.md",
        "back\\slash.md",
        "new\nline.md",
    ):
        world.write(name, f"{name}\n")
    world.write("ignored.log", "ignored\n")
    world.write(".gitignore", "*.log\n")
    git(world.root, "add", "-A")
    return world


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("arguments", [[], ["-z"]], ids=["ls-files", "ls-files -z"])
def test_git_ls_files_works_as_it_is(arguments: list[str], null: bool, repository: World) -> None:
    listed = subprocess.run(
        ["git", "-C", repository.root, "ls-files", *arguments], check=True, capture_output=True
    ).stdout
    if null and not arguments:
        listed = listed.replace(b"\n", b"\0")  # quoted names are then names as they stand, and not there
    said: list[str] = []
    repository.engine.say = said.append
    manifest = sync(repository.engine, repository.request(None, null_separated=null), io.BytesIO(listed))
    run = repository.finish(manifest)
    if null and not arguments:
        assert run.error_count == 5
        return
    assert run.error_count == 0, repository.failures(run)
    tracked = git(repository.root, "ls-files", "-z").rstrip("\0").split("\0")
    assert repository.held() == {f"root/{name}": sha256((repository.root / name).read_bytes()) for name in tracked}
    assert bool(said) is (bool(arguments) and not null), "told by its bytes, which is said"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "naïve façade, 你好\n"),
        ("utf-8-sig", "naïve façade, 你好\n"),
        ("utf-16", "naïve façade, 你好\n" * 20),
        ("latin-1", "Gruß aus München, à bientôt\n" * 20),
        ("cp1252", "“quoted” € naïve café\n" * 20),
        ("shift_jis", "日本語のテキストです。これは試験です。\n" * 20),
    ],
)
def test_text_of_any_encoding_is_indexed_by_its_bytes(encoding: str, text: str, world: World) -> None:
    data = text.encode(encoding)
    world.write("repo/text.txt", data)
    run = world.sync(change("text.txt"))
    assert world.outcomes(run) == {1: "indexed"}
    assert world.held() == {"repo/text.txt": sha256(data)}


def test_every_way_to_carry_content(world: World) -> None:
    world.write("repo/disk.txt", "on disk\n")
    world.write("blobs/1234", "by reference\n")
    world.write("repo/local-blob", "by reference in the repository\n")
    world.write("repo/summary.txt", "the real text\n")
    world.write("repo/error.txt", "the real text\n")
    run = world.sync(
        change("disk.txt", line=99),
        change("inline.txt", content="inline\n"),
        change("coded.txt", content_base64=base64.b64encode(b"coded\n").decode()),
        change("absolute.txt", content_ref=str(world.root / "blobs" / "1234")),
        change("relative.txt", content_ref="blobs/1234"),
        change("local.txt", content_ref="local-blob"),
        change(
            "summary.txt", content="File: summary.txt\nType: text\nSize: 14", content_hash=sha256("the real text\n")
        ),
        change("error.txt", content="half of", content_error="could not read"),
        change("truncated.txt", content="half of", is_truncated=True),
        change("null.txt", content=None),
        change("skip.txt", content="not to be indexed\n", skip_index=True),
        change("outside.txt", content_ref="/etc/hostname"),
    )
    assert world.held() == {
        "repo/disk.txt": sha256("on disk\n"),
        "repo/inline.txt": sha256("inline\n"),
        "repo/coded.txt": sha256("coded\n"),
        "repo/absolute.txt": sha256("by reference\n"),
        "repo/relative.txt": sha256("by reference\n"),
        "repo/local.txt": sha256("by reference in the repository\n"),
        "repo/summary.txt": sha256("the real text\n"),
        "repo/error.txt": sha256("the real text\n"),
    }
    failures = world.failures(run)
    assert list(failures) == [9, 10, 12], "what is neither in the line nor on disk, or outside"
    assert "lies outside every root" in failures[12]
    assert world.outcomes(run)[11] == "skipped"
    assert world.outcomes(run)[1] == "indexed", "a record's own line number is only a label"


def test_content_in_the_line_needs_no_repository_on_disk(world: World) -> None:
    run = world.sync(
        {**change("a.py", content="a = 1\n"), "repo": "group/elsewhere"}, {**change("b.py"), "repo": "gone"}
    )
    assert world.held() == {"group/elsewhere/a.py": sha256("a = 1\n")}
    assert world.outcomes(run) == {1: "indexed", 2: "failed"}


def test_changeset_records_are_stored_by_repository_and_never_indexed(world: World) -> None:
    older = {"commit": "b" * 40, "parent": "a" * 40, "branch": "main", "tree_hash": "t", "timestamp": "2026-01-02"}
    run = world.sync(
        change("a.py", content="a = 1\n"),
        {"repo": "repo", "new_changeset": {"commit": "a" * 40}},
        change("b.py", content="b = 1\n"),
        {"repo": "repo", "line": 4, "new_changeset": older},
        {"repo": "detached", "new_changeset": {"commit": "d" * 40}},
    )
    assert json.loads(run.changeset_info or "") == {"repo": older, "detached": {"commit": "d" * 40}}
    assert world.held().keys() == {"repo/a.py", "repo/b.py"}
    stored = world.query(
        "SELECT repository, commit_id, parent, branch, incomplete FROM repository_changesets ORDER BY 1"
    )
    assert stored == [("detached", "d" * 40, None, None, 0), ("repo", "b" * 40, "a" * 40, "main", 0)]
    assert world.outcomes(run)[2] == world.outcomes(run)[4] == "changeset"


def test_a_parent_that_is_not_the_stored_commit_is_reported_as_a_gap(world: World) -> None:
    world.sync({"repo": "repo", "new_changeset": {"commit": "a" * 40}})
    world.sync({"repo": "repo", "new_changeset": {"commit": "b" * 40, "parent": "a" * 40}})
    assert isinstance(world.report, SyncReport)
    assert world.report.gaps == ()
    world.sync({"repo": "repo", "new_changeset": {"commit": "d" * 40, "parent": "c" * 40}})
    assert len(world.report.gaps) == 1
    assert world.query("SELECT commit_id FROM repository_changesets") == [("d" * 40,)]


def test_a_commit_is_marked_incomplete_while_an_older_run_has_a_failed_line(world: World) -> None:
    failed = world.sync(change("late.py"), {"repo": "repo", "new_changeset": {"commit": "a" * 40}})
    assert world.query("SELECT COUNT(*) FROM repository_changesets") == [(0,)]
    world.sync(change("b.py", content="b\n"), {"repo": "repo", "new_changeset": {"commit": "b" * 40}})
    assert world.query("SELECT commit_id, incomplete FROM repository_changesets") == [("b" * 40, 1)]
    world.write("repo/late.py", "late\n")
    assert world.retry(failed.run_id).status is RunStatus.COMPLETED
    assert world.query("SELECT commit_id, incomplete FROM repository_changesets") == [("b" * 40, 0)], "forward only"


@pytest.mark.parametrize("repositories", [10, 11])
def test_objects_that_are_missing_from_one_of_many_repositories_are_told(
    repositories: int, light_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[Line] = [
        {"repo": f"r{number}", "op": "add", "path": "a.py", "content": f"{number}\n"} for number in range(repositories)
    ]
    assert isinstance(light_world.recording, RecordingStore)
    asked: list[str | None] = []
    count = light_world.recording.count

    def counted(collection: str, *, repository: str | None = None) -> int:
        asked.append(repository)
        return count(collection, repository=repository)

    monkeypatch.setattr(light_world.recording, "count", counted)
    light_world.sync(*lines)
    assert isinstance(light_world.report, SyncReport)
    assert [check.passed for check in light_world.report.checks] == [True]
    assert len(asked) == (11 if repositories == 10 else 1), "of more than ten, one pass counts all"
    lost = next(key for key, each in light_world.recording.objects.items() if each.repository == "r3")
    del light_world.recording.objects[lost]
    light_world.sync(*({**line, "path": "b.py"} for line in lines if isinstance(line, dict)))
    (check,) = light_world.report.checks
    assert (check.name, check.passed) == ("ledger equals store: r3", False)
    assert "the ledger has 2 objects (0 documents unsure), the store 1" in check.detail


def test_objects_carry_where_they_come_from(light_world: World) -> None:
    light_world.write("repo/src/a.py", "def answer():\n    return 42\n")
    light_world.sync(change("src/a.py"), {"repo": "repo", "new_changeset": {"commit": "c" * 40}})
    assert light_world.recording is not None
    [held] = light_world.recording.objects.values()
    assert (held.file_path, held.relative_path, held.file_name) == ("repo/src/a.py", "src/a.py", "a.py")
    assert (held.language, held.extension) == ("python", "py")
    assert (held.size_bytes, held.line_count, held.start_line, held.end_line) == (28, 2, 1, 2)
    assert held.commit == "c" * 40
    assert held.last_modified is not None
    assert light_world.engine.store().describe(COLLECTION) is not None
