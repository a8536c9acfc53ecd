"""The power goes: of a folder there remains what was brought to the disk, and of the rest as much as the test decides.

``recorder.c`` keeps, from within the processes, the state of every file and folder when it was synced last.
"""

import os
import random
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("recorder.c")


def build_recorder(folder: Path) -> Path | None:
    """The library that processes are started with, or None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "recorder.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Power:
    """Of the folder ``root``, whose present state is taken to be on the disk; ``kept`` is where the rest is noted."""

    def __init__(self, root: Path, kept: Path) -> None:
        self.root = root
        self.kept = kept
        kept.mkdir()
        for folder, _, files in os.walk(root):
            entries = _keys(Path(folder))
            names = "".join(f"{key} {name}\n" for name, key in entries.items())
            (kept / f"{_key(Path(folder))}.names").write_text(names)
            for name in files:
                shutil.copyfile(Path(folder) / name, kept / f"{entries[name]}.data")

    @property
    def environment(self) -> dict[str, str]:
        """What the recorder is told by."""
        return {"POWER_ROOT": str(self.root), "POWER_KEPT": str(self.kept)}

    def lose(self, rest: str) -> None:
        """The folder as it is found when the power is back. ``rest`` says what becomes of all that was not synced:

        ``lost``: names and bytes; ``names``: the bytes alone, files have their names and no length; ``zeros``: the
        same, with their length; a number: a seed, by which each name and each file's bytes are there or not.
        """
        after = self.root.with_name("after")
        self._restore(self.root, _key(self.root), after, _Rest(rest))
        shutil.rmtree(self.root)
        after.rename(self.root)

    def _restore(self, place: Path | None, key: str, target: Path, rest: "_Rest") -> None:
        """A folder: ``place`` is where it is now, if it is still there."""
        target.mkdir()
        names = self.kept / f"{key}.names"
        synced = dict(reversed(each.split(" ", 1)) for each in names.read_text().splitlines()) if names.exists() else {}
        present = _keys(place) if place is not None else {}
        for name in sorted({*synced, *present}):
            if name.endswith("-shm"):  # SQLite makes it anew
                continue
            its_key = synced.get(name)
            if present.get(name) != its_key and rest.has_name():
                its_key = present.get(name)
            if its_key is None:
                continue
            now = place / name if place is not None and present.get(name) == its_key else None
            if (self.kept / f"{its_key}.names").exists() or (now is not None and now.is_dir()):
                self._restore(now, its_key, target / name, rest)
            else:
                (target / name).write_bytes(self._bytes(its_key, now, rest))

    def _bytes(self, key: str, now: Path | None, rest: "_Rest") -> bytes:
        data = self.kept / f"{key}.data"
        synced = data.read_bytes() if data.exists() else b""
        written = now.read_bytes() if now is not None else synced
        if written == synced:
            return synced
        return rest.bytes_of(synced, written)


class _Rest:
    """Decides on what was not synced."""

    def __init__(self, rest: str) -> None:
        self._rest = rest
        self._chance = random.Random(rest) if rest.isdigit() else None

    def has_name(self) -> bool:
        """Whether a name is as it was last, and not as it was synced."""
        return self._chance.random() < 0.5 if self._chance else self._rest != "lost"

    def bytes_of(self, synced: bytes, written: bytes) -> bytes:
        """What a file holds that was synced with some bytes, and written since."""
        rest = self._chance.choice(["lost", "zeros", "written"]) if self._chance else self._rest
        if rest == "written":
            return written
        return synced.ljust(len(written), b"\0") if rest == "zeros" else synced


def _keys(folder: Path) -> dict[str, str]:
    """By name the inode and the birth of what a folder holds, as ``recorder.c`` writes them."""
    names = sorted(os.listdir(folder))
    if not names:
        return {}
    return dict(zip(names, _stat([folder / name for name in names]), strict=True))


def _key(path: Path) -> str:
    return _stat([path])[0]


def _stat(paths: list[Path]) -> list[str]:
    """Python 3.11 does not tell a file's birth."""
    told = subprocess.run(["stat", "--printf", r"%i|%W|%w\n", *paths], check=True, capture_output=True, text=True)
    keys = []
    for line in told.stdout.splitlines():
        inode, seconds, born = line.split("|")
        fraction = born.partition(".")[2][:9] if "." in born else "0" * 9
        keys.append(f"{inode}.{seconds}.{fraction}")
    return keys
