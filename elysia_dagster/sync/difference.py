"""How a document in the store differs from what the ledger says of it: one pure comparison, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import orjson

from elysia_dagster.checkpoint.records import DocumentRow
from elysia_dagster.models import DocumentState
from elysia_dagster.sync.batch import document_write_hash


class Difference(Enum):
    """What is wrong with a document; of each the report counts documents and objects."""

    NOTHING_THERE = "nothing there"  # the ledger says that it is present, and the store holds none of it
    MISSING = "missing"  # some of its objects are not there
    STALE = "stale"  # its objects are not those that were written last
    DOUBLED = "doubled"  # objects are there more than once
    WITHOUT_VECTOR = "without vector"  # no search by vector finds it
    LEFT_OVER = "left over"  # objects beyond its chunks, or of a document that is removed or unknown
    WRITING = "in writing"  # a process died while it wrote it
    SUSPECT = "suspect"  # nobody knows whether the store holds what was written last


@dataclass(kw_only=True)
class HeldDocument:
    """What the store holds of a document: by chunk its write hash. The rest only a scan tells.

    ``contents`` gives by chunk the content hash, where that is known.
    """

    repository: str
    path: str
    hashes: dict[int, str] = field(default_factory=dict)
    contents: dict[int, str] = field(default_factory=dict)
    doubled: frozenset[int] = frozenset()
    without_vector: frozenset[int] = frozenset()


class Finding(NamedTuple):
    """A document that differs: how, with the number of objects of each kind (0 for what is told of the document).

    ``held`` is what was found, ``row`` what the ledger said then. ``is_right``: it is only suspected.
    """

    differences: Mapping[Difference, int]
    held: HeldDocument
    row: DocumentRow | None
    is_right: bool

    @property
    def is_left_over_only(self) -> bool:
        """Whether all that the document should have is there, and right."""
        return set(self.differences) == {Difference.LEFT_OVER}

    def to_json(self) -> str:
        """For the spill."""
        held, row = self.held, self.row
        return orjson.dumps(
            {
                "differences": {each.value: count for each, count in self.differences.items()},
                "key": [held.repository, held.path],
                "hashes": list(held.hashes.items()),
                "contents": list(held.contents.items()),
                "doubled": sorted(held.doubled),
                "without_vector": sorted(held.without_vector),
                "row": None if row is None else [*row[:2], row.state.value, *row[3:]],
                "is_right": self.is_right,
            }
        ).decode()

    @classmethod
    def from_json(cls, text: str) -> "Finding":
        """What ``to_json`` wrote."""
        fields = orjson.loads(text)
        repository, path = fields["key"]
        row = fields["row"]
        if row is not None:
            row = DocumentRow(row[0], row[1], DocumentState(row[2]), tuple(row[3]), *row[4:])
        return cls(
            differences={Difference(name): count for name, count in fields["differences"].items()},
            held=HeldDocument(
                repository=repository,
                path=path,
                hashes=dict(fields["hashes"]),
                contents=dict(fields["contents"]),
                doubled=frozenset(fields["doubled"]),
                without_vector=frozenset(fields["without_vector"]),
            ),
            row=row,
            is_right=fields["is_right"],
        )


def compare(held: HeldDocument, row: DocumentRow | None) -> Finding | None:
    """How a document differs from its row; None where it does not.

    Of a document that is in writing or suspect the store may hold anything up to ``max_chunks``.
    """
    state = DocumentState.ABSENT if row is None else row.state
    chunks = 0 if row is None or state is DocumentState.ABSENT else row.chunks
    most = chunks
    if row is not None and state in (DocumentState.WRITING, DocumentState.SUSPECT):
        most = max(chunks, row.max_chunks)
    there = sum(1 for each in held.hashes if each < most)
    found: dict[Difference, int] = {}
    if len(held.hashes) > there:
        found[Difference.LEFT_OVER] = len(held.hashes) - there
    if doubled := sum(1 for each in held.doubled if each in held.hashes and each < most):
        found[Difference.DOUBLED] = doubled
    if empty := sum(1 for each in held.without_vector if each in held.hashes and each < most):
        found[Difference.WITHOUT_VECTOR] = empty
    is_right = False
    if row is None or state is DocumentState.ABSENT:
        pass
    elif state is DocumentState.PRESENT:
        if there < chunks:
            found[Difference.MISSING if there else Difference.NOTHING_THERE] = chunks - there
        if stale := _stale(held, row):
            found[Difference.STALE] = stale
    elif state is DocumentState.WRITING:
        found[Difference.WRITING] = 0
    else:
        is_comparable = chunks == 0 or row.write_hash is not None
        is_right = is_comparable and not found and len(held.hashes) == chunks and not _stale(held, row)
        found[Difference.SUSPECT] = 0
    return Finding(found, held, row, is_right) if found else None


def _stale(held: HeldDocument, row: DocumentRow) -> int:
    """Objects that are not those written last; 1 where they can only be told together."""
    others = sum(
        1
        for chunk, content in held.contents.items()
        if chunk < row.chunks and chunk in held.hashes and content != row.content_hash
    )
    if others or not row.chunks:
        return others
    hashes = [held.hashes[each] for each in range(row.chunks) if each in held.hashes]
    return int(len(hashes) == row.chunks and document_write_hash(hashes) != row.write_hash)
