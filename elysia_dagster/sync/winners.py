"""Of several changes of one document in a changeset, which one counts."""

from array import array
from collections.abc import Sequence
from enum import IntEnum

import numpy as np


class ChangeKind(IntEnum):
    """What a change asks of its document, as the plan stores it."""

    ADD = 0
    MODIFY = 1
    DELETE = 2
    RENAME_OLD = 3  # the old side of a rename: a delete that waits for the new side
    RENAME_NEW = 4  # the new side of a rename: a write
    FOLDER = 5  # a folder stands where a document of that name may have been: a delete


REMOVALS = frozenset({ChangeKind.DELETE, ChangeKind.RENAME_OLD, ChangeKind.FOLDER})
"""The kinds that take a document away."""


SUPERSEDED, WINS, CONTESTED = 0, 1, 2
"""What ``ChangeIndex.winners`` says of a change."""


class ChangeIndex:
    """The changes of a changeset in order, 33 bytes each: enough to tell which of them count.

    A document is known by 128 bits of hash of its key: among a billion documents the odds that any two are taken for
    one are below 1e-20.
    """

    def __init__(self) -> None:
        self.lines = array("i")
        self.sizes = array("I")
        self._kinds = array("b")
        self._segments = array("i")
        self._high = array("q")
        self._low = array("q")

    def __len__(self) -> int:
        return len(self.lines)

    def extend(
        self,
        *,
        lines: np.ndarray,
        kinds: np.ndarray,
        segments: np.ndarray,
        sizes: np.ndarray,
        repositories: Sequence[int],
        paths: Sequence[str],
    ) -> None:
        """Appends changes: ``lines`` and ``segments`` int32, ``kinds`` int8, ``sizes`` uint32 in bytes, all of one
        length. ``segments`` number the stretches of a repository's lines up to its changeset records."""
        self.lines.frombytes(lines.tobytes())
        self.sizes.frombytes(sizes.tobytes())
        self._kinds.frombytes(kinds.tobytes())
        self._segments.frombytes(segments.tobytes())
        count = len(paths)
        # two hashes of the path that know nothing of each other; the first is mixed with the repository one to one
        high = np.fromiter(map(hash, zip(repositories, paths, strict=True)), dtype=np.int64, count=count)
        low = np.fromiter((hash(path + "\0") for path in paths), dtype=np.int64, count=count)
        self._high.frombytes(high.tobytes())
        self._low.frombytes(low.tobytes())

    def winners(self) -> np.ndarray:
        """int8 of shape ``(len(self),)``: ``WINS`` for a document's change that counts, else ``SUPERSEDED``.

        The last one counts, except that a rename's old side yields to a rename's new side of the same stretch: git
        prints the renames of one diff as if they happened at once, so that in ``a -> b``, ``b -> a`` both paths stay.
        Such a new side is ``CONTESTED``: from a producer that prints one move after the other its file has moved on.
        Frees the index's memory of keys.
        """
        count = len(self)
        winning = np.full(count, SUPERSEDED, dtype=np.int8)
        if not count:
            return winning
        high = np.frombuffer(self._high, dtype=np.int64)
        low = np.frombuffer(self._low, dtype=np.int64)
        order = np.lexsort((low, high)).astype(np.int32)  # stable: equal keys stay in order of the changeset
        ends = np.ones(count, dtype=bool)
        ends[:-1] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
        del high, low
        self._high, self._low = array("q"), array("q")
        winning[order[ends]] = WINS
        kinds = np.frombuffer(self._kinds, dtype=np.int8)
        segments = np.frombuffer(self._segments, dtype=np.int32)
        last_places = np.flatnonzero(ends)
        for place in last_places[kinds[order[last_places]] == ChangeKind.RENAME_OLD]:
            last = order[place]
            before = place - 1
            while before >= 0 and not ends[before]:
                other = order[before]
                if kinds[other] == ChangeKind.RENAME_NEW and segments[other] == segments[last]:
                    winning[last], winning[other] = SUPERSEDED, CONTESTED
                    break
                if kinds[other] != ChangeKind.RENAME_OLD:
                    break
                before -= 1
        return winning
