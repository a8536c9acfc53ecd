"""The documents that are synced: made by their number, about 2 kB each, one chunk a document, no two alike."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

TEXT_BYTES = 2_000
CHANGED_EVERY = 100
"""One document of a hundred is changed, another is deleted: 1 % each."""


@dataclass(frozen=True, kw_only=True)
class SourceDocument:
    """A document. ``id`` is a UUID made of the path: it stays when the text changes."""

    id: str
    path: str
    text: str


def make_documents(count: int, label: str) -> list[SourceDocument]:
    """Documents whose texts are told apart by the label too. Words are drawn anew for each, so that their vectors
    spread as those of different files do."""
    return [_document(number, label) for number in range(count)]


def _document(number: int, label: str) -> SourceDocument:
    path = f"src/package{number // 400:03}/module{number // 20 % 20:02}/file_{number:06}.py"
    draw = random.Random(f"{label} {number}")
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz_", k=draw.randint(3, 9))) for _ in range(60)]
    head = f"# {label} {path}\n"
    body = " ".join(draw.choices(words, k=TEXT_BYTES // 4))
    return SourceDocument(id=str(uuid5(NAMESPACE_URL, path)), path=path, text=(head + body)[:TEXT_BYTES])


def one_percent_later(documents: list[SourceDocument]) -> list[SourceDocument]:
    """The same documents when 1 % were changed and another 1 % deleted."""
    return [
        replace(each, text="# changed\n" + each.text) if number % CHANGED_EVERY == 37 else each
        for number, each in enumerate(documents)
        if number % CHANGED_EVERY != 73
    ]


def write_documents(path: Path, documents: Iterable[SourceDocument]) -> Path:
    """A file of JSON lines."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(each)) + "\n" for each in documents)
    return path


def read_documents(path: Path) -> Iterator[SourceDocument]:
    """What ``write_documents`` wrote."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield SourceDocument(**json.loads(line))
