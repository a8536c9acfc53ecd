"""The pass over the spool: the ordinary line in a hurry comes to just what the careful way comes to."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sync_world import RecordingStore, World

from elysia_dagster.sync import scan as scanning
from elysia_dagster.sync.engine import Work
from elysia_dagster.sync.locate import Locator
from elysia_dagster.sync.planfile import DraftWriter, read_draft
from elysia_dagster.sync.scan import Scan, default_roots, scan_spool
from elysia_dagster.sync.unsent import UNSENT_NAME, UnsentWriter, iterate_unsent

PATHS = [
    "a.py",
    "dir",
    "dir/",
    "dir/b.py",
    "dir//b.py",
    "./a.py",
    ".",
    "./",
    "dir/./b.py",
    "dir/..",
    "../up.py",
    "/etc/passwd",
    "{root}/repo/a.py",
    "link",
    "link/x.py",
    "a.py -> c.py",
    "a.py -> ../c.py",
    '"\\303\\274.md"',
    '"broken',
    "ü.md",
    ".hidden",
    "dir/.hidden/c.py",
    ".git/config",
    "missing.py",
    "missing/deep/x.py",
    "with space.py",
    "cr\r",
    "a\0b",
    "",
    " ",
    "x" * 1001,
    "y" * 5000,
    "{brace}.py",
    "repo",
    "tab\t.py",
]
REPOSITORIES = ["repo", "other", "new", "", None, 7, "../..", "re/po"]
OPS = ["modify", "add", "delete", None, "chmod", ["add"]]

EXTRAS: list[dict[str, Any]] = [
    {},
    {},
    {},
    {"line": 3, "size": 10},
    {"content": "x = 1\n"},
    {"content": None},
    {"content": 7},
    {"content_base64": "eA=="},
    {"content_base64": None},
    {"skip_index": True},
    {"skip_index": False},
    {"skip_index": 0},
    {"content_ref": "dir/b.py"},
    {"content_ref": 7},
    {"content_hash": "abc"},
    {"is_truncated": "no"},
    {"new_changeset": {"commit": "abc"}},
    {"new_changeset": 7},
]

records = st.builds(
    lambda repo, op, path, extra: {
        **{name: value for name, value in (("repo", repo), ("op", op), ("path", path)) if value is not None},
        **extra,
    },
    st.sampled_from(REPOSITORIES),
    st.sampled_from(OPS),
    st.sampled_from(PATHS),
    st.sampled_from(EXTRAS),
)
lines = st.one_of(
    records.map(lambda record: json.dumps(record).encode()),
    st.sampled_from(PATHS).map(str.encode),
    st.sampled_from(
        [b"{", b"\xff", b"\r", b"", b"\xef\xbb\xbfa.py", b'{"path": "a.py"}', b'{"repo": "repo", "path": NaN}']
    ),
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """The work on a run whose spool every example writes anew."""
    with World(tmp_path_factory.mktemp("scan"), store=RecordingStore(), max_line_bytes=4500) as world:
        for path in ("repo/a.py", "repo/dir/b.py", "repo/dir/.hidden/c.py", "other/a.py", "a.py", "{brace}.py"):
            world.write(path, f"{path}\n")
        (world.root / "repo" / "link").symlink_to("dir")
        (world.root / "other" / "dir").symlink_to("..")
        manifest = world.begin("a.py")
        with world.engine.work_on(manifest.run_id) as work:
            yield work


def scanned(work: Work, data: bytes) -> tuple[Any, ...]:
    """All that a scan of these bytes finds out."""
    assert work.run.options is not None
    work.spool.write_bytes(data)
    locator = Locator([Path(root) for root in work.run.options.roots], work.run.options.repo)
    draft = work.folder / "draft"
    unsent = UnsentWriter(work.folder / UNSENT_NAME)
    unsent.restart()
    scan = Scan()
    writer = DraftWriter(draft, scan.index)
    scan_spool(work, scan, locator, writer, unsent, lambda repository, folder: [f"{folder}/was.py"])
    writer.close()
    unsent.finish()
    rows = [row for batch in read_draft(draft) for row in pa.Table.from_batches([batch]).to_pylist()]
    for row in rows:
        row["repository"] = scan.repositories[row["repository"]]
    decided = locator.decisions()
    locator.close()
    found = list(iterate_unsent(work.folder))
    index = (list(scan.index.lines), list(scan.index.sizes), scan.index.winners().tolist())
    return (
        rows,
        found,
        index,
        scan.repositories,
        scan.changesets,
        scan.is_self_contained,
        scan.removed_folders,
        decided,
    )


@given(chosen=st.lists(lines, max_size=25))
@example(chosen=[b'{"repo": "repo", "op": "add", "path": "dir"}'] * 2)
@example(chosen=[b"a.py", b"a.py", b"link/x.py", b"dir"])
def test_the_short_way_comes_to_the_same_plan_as_the_careful_one(work: Work, chosen: list[bytes]) -> None:
    root = work.run.options.roots[0] if work.run.options else ""
    data = b"\n".join(line.replace(b"{root}", root.encode()) for line in chosen)
    quick = scanned(work, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning._Scanner, "_plain_write", lambda *_: False)
        careful = scanned(work, data)
    assert quick == careful
    numbered = {row["line"] for row in quick[0]} | {each["line"] for each in quick[1]}
    total = data.count(b"\n") + (data[-1:] not in (b"", b"\n"))
    assert numbered == set(range(1, total + 1)), "every line asks for something or is settled without the store"


def test_the_short_way_is_taken(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    careful: list[Any] = []
    change = scanning._Scanner._change
    monkeypatch.setattr(
        scanning._Scanner, "_change", lambda self, parsed, flags: (careful.append(parsed), change(self, parsed, flags))
    )
    scanned(work, b'{"repo": "repo", "op": "add", "path": "a.py"}\n' * 50 + b"a.py\n" * 50)
    assert len(careful) == 2, "only the first line of a repository is looked at with care"


def test_roots_of_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_roots("") == (tmp_path,)
    assert default_roots("a:/b:~/c:") == (tmp_path / "a", Path("/b"), Path("/home/someone/c"))
