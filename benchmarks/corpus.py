"""Real source for the benchmarks of whole syncs: Python files of about 2 kB from the installed packages."""

import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from benchmarks.world import REPOSITORY_NAME

LEAST_BYTES = 1_000
MOST_BYTES = 4_000


def copy_corpus(root: Path, documents: int) -> list[str]:
    """Copies files into the repository below ``root``; their paths in it, in order.

    Where the packages have fewer, the same files come again under another folder: their chunks have other ids.
    """
    found = sorted(_files(Path(sysconfig.get_path("purelib"))))
    paths = []
    for number in range(documents):
        source = found[number % len(found)]
        path = f"copy{number // len(found)}/{source.parent.name}{number % len(found) // 50}/{number}_{source.name}"
        target = root / REPOSITORY_NAME / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        paths.append(path)
    return sorted(paths)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.py"):
        if LEAST_BYTES <= path.stat().st_size <= MOST_BYTES:
            yield path
