"""A folder tree with links in and out, and the oracle of path confinement: every opened file lies inside its root."""

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from elysia_dagster.errors import LineError
from elysia_dagster.sync import confine, openbeneath
from elysia_dagster.sync.confine import ConfinedFolder
from elysia_dagster.sync.content import Content, resolve_content
from elysia_dagster.sync.folders import expand_folder
from elysia_dagster.sync.locate import Locator

CANARY = b"nobody may read this"
_LIMIT_BYTES = 10_000
_FILES = (
    "web/a.py",
    "web/src/b.py",
    "web/src/deep/c.py",
    "web/.hidden",
    "web/..c",
    "web/...",
    "web/%2e%2e",
    "web/back\\slash",
    "web/ü.py",
    "web/trailing ",
    "web/trailing.",
    "web/-n",
    "group/name/d.py",
    "root.py",
)
_LINKS = {
    "web/file": "a.py",
    "web/up": "..",
    "web/out": "../../outside",
    "web/secret": "../../outside/secret",
    "web/absolute": "/",
    "web/self": "self",
    "web/here": ".",
    "web/src/back": "../a.py",
    "web/round": "src/around",
    "web/src/around": "../round",
    "linked": "../outside",
    "group/link": "../../outside",
    "again": "web",
}


@cache
def _tree() -> Path:
    """The root, made once for each process; beside it lies what nobody may read."""
    base = Path(tempfile.mkdtemp(prefix="fuzz-tree-")).resolve()
    root = base / "root"
    for name in _FILES:
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(f"inside {name}\n".encode())
    for name in ("web/.git/config", "outside/secret", "outside/.git/config", "root-2/secret", "root.txt"):
        place = (root if name.startswith("web") else base) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(CANARY)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "web" / "fifo")
    return root


def remove_tree() -> None:
    """Removes what `fuzz_paths` has made."""
    if _tree.cache_info().currsize:
        shutil.rmtree(_tree().parent)
        _tree.cache_clear()


def tokens() -> list[str]:
    """What a fuzzer should know to write: the names in the tree, and what leads out of one."""
    root = _tree()
    parts = {part for name in (*_FILES, *_LINKS) for part in name.split("/")}
    outward = ("..", "../", "./", "/", "//", "\n", ".git/config", "outside/secret", "\\..\\", f"{root}/", f"{root}")
    return sorted((parts | set(outward)) - {""})


def fuzz_paths(data: bytes) -> None:
    """``repository \\n path \\n content_ref``: whatever they are, nothing but regular files of the root is opened."""
    repository, path, reference = (
        [each.decode("utf-8", "surrogateescape") for each in data.split(b"\n", 2)] + [""] * 2
    )[:3]
    root = _tree()
    seen = [_answers(opener, root, repository, path, reference) for opener in _openers()]
    assert all(each == seen[0] for each in seen), seen


def _openers() -> list[Callable[[int, str, int], int]]:
    known = openbeneath._openat2()
    return [openbeneath.open_by_components, *([known] if known else [])]


def _answers(
    opener: Callable[[int, str, int], int], root: Path, repository: str, path: str, reference: str
) -> list[object]:
    """What each way to a file gives, with every file that was opened looked at."""

    def watched(folder_fd: int, relative: str, flags: int) -> int:
        fd = opener(folder_fd, relative, flags)
        place = os.path.realpath(f"/proc/self/fd/{fd}")
        assert place == str(root) or place.startswith(f"{root}/"), f"{relative!r} has opened {place}"
        return fd

    real = confine.open_beneath
    confine.open_beneath = watched
    locator = Locator([root], "")
    try:
        return [
            _told(lambda: locator.relative(repository, path)),
            _told(lambda: _read(locator, repository, path)),
            _told(lambda: _referenced(locator, repository, path, reference)),
            _told(lambda: _expanded(locator, repository, path)),
        ]
    finally:
        confine.open_beneath = real
        locator.close()


def _told(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except LineError as error:
        return str(error)


def _read(locator: Locator, repository: str, path: str) -> object:
    confine.check_repository_name(repository)
    folder = locator.folder(repository)
    if folder is None:
        return None
    assert folder.path.is_relative_to(locator.roots[0])
    relative = locator.relative(repository, path)
    data = folder.read_file(relative, max_bytes=_LIMIT_BYTES).data
    _assert_inside(data, folder, relative)
    return data


def _assert_inside(data: bytes, folder: ConfinedFolder, relative: str) -> None:
    """The file holds its own place, so that no way around the opener goes unseen."""
    place = (folder.path / relative).relative_to(_tree())
    assert data == (CANARY if ".git" in place.parts else f"inside {place}\n".encode())


def _referenced(locator: Locator, repository: str, path: str, reference: str) -> object:
    confine.check_repository_name(repository)
    found = resolve_content(
        {"content_ref": reference},
        path=locator.relative(repository, path),
        folder=locator.folder(repository),
        roots=locator.roots,
        max_document_bytes=_LIMIT_BYTES,
    )
    assert not isinstance(found, Content) or found.data.startswith(b"inside "), "content_ref has read what it may not"
    return found


def _expanded(locator: Locator, repository: str, path: str) -> object:
    confine.check_repository_name(repository)
    folder = locator.folder(repository)
    if folder is None or (folder.path / ".git" / "HEAD").exists():
        return None
    found = list(expand_folder(folder, locator.relative(repository, path)))
    for each in found:
        place = os.path.realpath(folder.path / each)
        assert place == f"{folder.path}/{each}", "a listed file lies elsewhere"
    return found
