"""What is applied: files on disk and changesets drawn from a seed, in the words of the crash tests' model.

What lies on disk under a path never changes while a story is played, so that the truth does not depend on when a run
looks at it; what varies is carried by the lines. Some files come at the end, for failed lines to be tried again.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from crash.oracle import Drop, Key, Line, Oracle, Put
from crash.scenario import BLANK, delete, folder, inline, on_disk, record, rename, text_of, unreadable

REPOSITORIES = ("alpha", "beta", "gamma")
DOCUMENTS, ON_DISK, FOLDERS, FOLDER_FILES = 4, 2, 2, 4
"""For each repository: documents whose content is in the lines, files, folders, files of a folder. Few, so that
changesets meet in them."""

CHUNKS = (1, 1, 1, 2, 2, 3, 7, 12)
"""Of how many chunks documents are: they grow, and shrink."""

UNREADABLE = (
    b'{"path": "cut off %d',
    b'{"repo": "%r", "path": "../../etc/passwd-%d", "op": "modify"}',
    b'{"repo": "%r", "path": "unknown-%d.py", "op": "transmogrify"}',
    b'{"repo": "%r", "op": "modify", "nothing": %d}',
    b'\xff\xfe{"repo": "%d"',
)
"""Lines that no second try can mend; ``%r`` stands for a repository, ``%d`` for a number. The last is a path, since it
does not begin as a record: one of the root's own repository."""

ROOT = "root"
"""The folder that holds the repositories, and the repository of lines that name none."""


@dataclass(frozen=True)
class DropBelow:
    """All documents below a folder are to go; which those are, the model knows when the line's turn comes."""

    key: Key


@dataclass(frozen=True, kw_only=True)
class Changesets:
    """A story's input. ``files`` are there from the beginning, ``late`` ones come when all runs have ended."""

    files: dict[Key, str]
    late: dict[Key, str]
    batch_size: int
    lines: tuple[tuple[Line, ...], ...]


@dataclass
class Draw:
    """Draws changesets of ``most_lines`` lines or so at most.

    ``history`` are the texts that a document has had; a number makes names unlike each other.
    """

    chance: Random
    most_lines: int
    files: dict[Key, str] = field(default_factory=dict)
    late: dict[Key, str] = field(default_factory=dict)
    history: dict[Key, list[str]] = field(default_factory=dict)
    number: int = 0

    def next(self) -> int:
        """A number that nothing else of the story has."""
        self.number += 1
        return self.number

    def text(self) -> str:
        """A text that no other document has, of some chunks."""
        return text_of(f"v{self.next()}", self.chance.choice(CHUNKS))

    def changesets(self) -> Changesets:
        """A story's."""
        for repository in REPOSITORIES:
            for name in range(ON_DISK):
                self.files[repository, f"d{name}.py"] = self.text()
            for name in range(FOLDERS):
                for number in range(FOLDER_FILES):
                    self.files[repository, f"pkg{name}/f{number}.py"] = text_of(f"v{self.next()}", 1 + number % 2)
        lines = tuple(self.changeset(number) for number in range(self.chance.randint(3, 5)))
        return Changesets(files=self.files, late=self.late, batch_size=self.chance.choice((2, 3, 4, 6)), lines=lines)

    def changeset(self, number: int) -> tuple[Line, ...]:
        """One of them: over some repositories, with a record of each at its end."""
        repositories = self.chance.sample(REPOSITORIES, self.chance.choice((1, 2, 2, 3)))
        self.renamed: set[Key] = set()
        is_self_contained = self.chance.random() < 0.2
        lines: list[Line] = []
        for _ in range(self.chance.randint(4, self.most_lines)):
            repository = self.chance.choice(repositories)
            lines.append(self.put(repository) if is_self_contained else self.line(repository))
            if self.chance.random() < 0.04:
                lines.append(record(repository, f"{repository}-{number}-{self.next()}"))
        lines += [record(each, f"{each}-{number}-end", f"{each}-{number - 1}-end") for each in repositories]
        return tuple(lines)

    def line(self, repository: str) -> Line:
        """Any kind of line."""
        kinds = {
            self.put: 30,
            self.put_again: 12,
            self.remove: 14,
            self.from_disk: 14,
            self.rename: 10,
            self.folder: 5,
            self.remove_folder: 4,
            self.missing: 4,
            self.not_indexed: 4,
            self.bad: 5,
            self.blank: 3,
        }
        return self.chance.choices(list(kinds), list(kinds.values()))[0](repository)

    def document(self, repository: str) -> Key:
        """One of the repository's documents, or (below a folder that may be removed) one that lines name too."""
        if self.chance.random() < 0.12:
            return repository, f"pkg{self.chance.randrange(FOLDERS)}/m{self.chance.randrange(2)}.py"
        return repository, f"m{self.chance.randrange(DOCUMENTS)}.py"

    def put(self, repository: str) -> Line:
        """A document's new content."""
        key, text = self.document(repository), self.text()
        self.history.setdefault(key, []).append(text)
        return inline(key, text, self.chance.choice(("add", "modify")))

    def put_again(self, repository: str) -> Line:
        """A document's content of before: unchanged, or taken back."""
        key = self.document(repository)
        if key not in self.history:
            return self.put(repository)
        texts = self.history[key]
        return inline(key, texts[-1] if self.chance.random() < 0.5 else self.chance.choice(texts))

    def remove(self, repository: str) -> Line:
        """A document goes, which may not be there."""
        if self.chance.random() < 0.2:
            return delete((repository, f"d{self.chance.randrange(ON_DISK)}.py"))
        return delete(self.document(repository))

    def from_disk(self, repository: str) -> Line:
        """A file."""
        key = (repository, f"d{self.chance.randrange(ON_DISK)}.py")
        return on_disk(key, self.files[key], self.chance.choice(("add", "modify")))

    def rename(self, repository: str) -> Line:
        """A file that had another name, and may be missing: then it comes late. Each side has one rename."""
        old, new = (repository, f"m{self.chance.randrange(DOCUMENTS)}.py"), (repository, f"r{self.next()}.py")
        if old in self.renamed:
            return self.put(repository)
        self.renamed.add(old)
        is_missing = self.chance.random() < 0.15
        (self.late if is_missing else self.files)[new] = text = self.text()
        return rename(repository, old[1], new[1], None if is_missing else text)

    def folder(self, repository: str) -> Line:
        """A folder with all its files."""
        path = f"pkg{self.chance.randrange(FOLDERS)}"
        below = {name.removeprefix(f"{path}/"): text for (each, name), text in self.files.items()
                 if each == repository and name.startswith(f"{path}/")}  # fmt: skip
        return folder(repository, path, below)

    def remove_folder(self, repository: str) -> Line:
        """A folder goes with all that the collection holds below it."""
        path = f"pkg{self.chance.randrange(FOLDERS)}"
        raw = json.dumps({"repo": repository, "path": f"{path}/", "op": "delete"}).encode()
        return Line(raw, (DropBelow((repository, path)),), repository=repository)  # type: ignore[arg-type]

    def missing(self, repository: str) -> Line:
        """A file that is not there: it comes late, or never."""
        key = (repository, f"late{self.chance.randrange(2)}.py")
        if self.chance.random() < 0.3:
            return on_disk((repository, f"never{self.next()}.py"), None)
        if key not in self.late:
            self.late[key] = self.text()
        if self.chance.random() < 0.3:
            return inline(key, self.text())
        return on_disk(key, None)

    def not_indexed(self, repository: str) -> Line:
        """Binary content, or what is not to be indexed: a document that was there goes."""
        key = self.document(repository)
        fields = {"repo": repository, "path": key[1], "op": "modify"}
        if self.chance.random() < 0.5:
            fields["content_base64"] = base64.b64encode(bytes(range(256)) * 8).decode()
        return Line(
            json.dumps(fields if "content_base64" in fields else {**fields, "skip_index": True}).encode(),
            (Put(key, ""),),
            repository=repository,
        )

    def bad(self, repository: str) -> Line:
        """A line that cannot be read."""
        raw = self.chance.choice(UNREADABLE)
        named = repository if b"%r" in raw else "" if raw.startswith(b"{") else ROOT
        raw = raw.replace(b"%r", repository.encode()).replace(b"%d", str(self.next()).encode())
        return unreadable(raw, named)

    def blank(self, _repository: str) -> Line:
        """Nothing."""
        return BLANK


def write_files(root: Path, files: dict[Key, str]) -> None:
    """Makes files below the repositories' folders."""
    for repository in REPOSITORIES:
        (root / repository).mkdir(parents=True, exist_ok=True)
    for (repository, path), text in files.items():
        place = root / repository / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


class Truth(Oracle):
    """The model for stories in which failed lines are tried again: a commit is the one that stands in the end."""

    def __init__(self, late: dict[Key, str] | None = None) -> None:
        super().__init__()
        self._late = late or {}
        self._records: list[dict[str, str]] = []

    def apply(self, lines: Sequence[Line]) -> "Truth":
        """Applies a changeset as the next run."""
        known = set(self.documents)
        resolved = []
        for line in lines:
            effects: list[Put | Drop] = []
            for effect in line.effects:
                if isinstance(effect, DropBelow):
                    effects += [Drop(key) for key in sorted(known) if _is_below(key, effect.key)]
                elif isinstance(effect, Put) and effect.text is None and effect.key in self._late:
                    effects.append(Put(effect.key, self._late[effect.key]))
                else:
                    effects.append(effect)
            known |= {each.key for each in effects if isinstance(each, Put)}
            resolved.append(replace(line, effects=tuple(effects)))
        super().apply(resolved)
        self._records.append({line.repository: line.commit for line in resolved if line.commit})
        self.commits = {
            repository: (commit, sequence)
            for sequence, (records, run) in enumerate(zip(self._records, self.runs, strict=True), 1)
            for repository, commit in records.items()
            if repository not in {run.failed_in[number] for number in run.failed}
        }
        return self

    def forget_runs(self) -> None:
        """The runs so far are cleaned up; what they did stays."""
        self.runs.clear()
        self._records.clear()
        self.commits.clear()


def _is_below(key: Key, folder: Key) -> bool:
    return key[0] == folder[0] and key[1].startswith(f"{folder[1]}/")
