"""Text into chunks: along the language's structure where there is a grammar, else along lines.

A chunk is a piece of the text as it is: put one after the other, the chunks are the text, but for pieces that are
nothing but white space, which are left out. A piece ends, in this order of preference, before the declaration or
statement that lies least deep in the syntax tree, before the least indented line (after a blank one if possible), at a
space, at the bound.
"""

import re
from bisect import bisect_left, bisect_right

from elysia_dagster.models import Chunk
from elysia_dagster.sync.languages import language_of
from elysia_dagster.sync.structure import PARSED_CHARACTERS, grammar_of, structural_cuts

CHUNKER_ID = "tree-sitter-lines-1"
"""Names this way of cutting: another one whenever a boundary moves, which a new version of a grammar may do as well."""

MAX_CHARACTERS = 2_400
"""No chunk is longer."""

_CUT_AT_MOST = 2_000  # what is longer than MAX_CHARACTERS is cut here at the latest, so that no tail is tiny
_CUT_AT_LEAST = 600  # shorter only where a long declaration follows
_WORTH_A_CHUNK = 200
_LONGEST_PARSED = 262_144  # longer files are generated, most of them; by lines they take a fraction of the time
_MAX_FAILURES = 3
_MID_LINE = 100

# A line's start behind a newline: its indentation, if something stands on it that does not only close or go on.
_LINE = re.compile(
    r"\n([ \t]*)(?![)\]}>]|(?:end|else|elif|elsif|except|catch|finally|then|fi|done|esac)\b)(?=\S)", re.IGNORECASE
)
_HEADING = re.compile(r"^(#{1,6})[ \t]", re.MULTILINE)


def chunk_text(text: str, path: str) -> list[Chunk]:
    """The chunks of ``text``, numbered from 0, at most ``MAX_CHARACTERS`` long; none if it is all white space.

    ``path`` names the language. A line is what ``\\n`` ends; a line that is cut belongs to both chunks.
    """
    if len(text) <= MAX_CHARACTERS:
        if not text or text.isspace():
            return []
        return [Chunk(index=0, text=text, start_line=1, end_line=1 + text.count("\n", 0, -1))]
    chunks: list[Chunk] = []
    start, line = 0, 1
    for end in _ends(text, _preferred_cuts(text, path)):
        breaks = text.count("\n", start, end)
        piece = text[start:end]
        if not piece.isspace():
            last = line + breaks - (text[end - 1] == "\n")
            chunks.append(Chunk(index=len(chunks), text=piece, start_line=line, end_line=last))
        start, line = end, line + breaks
    return chunks


def _preferred_cuts(text: str, path: str) -> dict[int, int]:
    """Offsets where the text's structure allows a cut, with a cost: the depth in the tree, the level of a heading."""
    grammar = grammar_of(path)
    if not grammar:
        if language_of(path) == "markdown":
            return {match.start(): len(match.group(1)) for match in _HEADING.finditer(text)}
        return {}
    if len(text) > _LONGEST_PARSED:
        return {}
    cuts: dict[int, int] = {}
    start = failures = 0
    while start < len(text) and failures < _MAX_FAILURES:
        # Parsed piece by piece; the next piece begins at the shallowest cut in the second half of this one.
        middle, end = start + PARSED_CHARACTERS // 2, start + PARSED_CHARACTERS
        # In a later piece of PHP the `<?php` that opened the code is out of sight.
        found = structural_cuts(text[start:end], "php only" if grammar == "php" and start else grammar, _CUT_AT_MOST)
        if found is None:
            failures += 1  # what the parser cannot get through goes by lines, in the end all that is left
            found = {}
        for offset, cost in found.items():
            cuts.setdefault(start + offset, cost)
        if end >= len(text):
            break
        start = _cheapest(sorted(cuts), cuts, middle, end - 1) or _line_cut(text, middle, end)
    return cuts


def _ends(text: str, cuts: dict[int, int]) -> list[int]:
    """The offsets where chunks end, the last of them the text's."""
    lines = sorted(offset for offset, cost in cuts.items() if cost < _MID_LINE)
    within = sorted(offset for offset, cost in cuts.items() if cost >= _MID_LINE)
    ends: list[int] = []
    start = 0
    while len(text) - start > MAX_CHARACTERS:
        low, high = start + _CUT_AT_LEAST, start + _CUT_AT_MOST
        cut = _cheapest(lines, cuts, low, high) or _cheapest(lines, cuts, start + _WORTH_A_CHUNK, low)
        if not cut and text.find("\n", low, high) < 0:
            cut = _cheapest(within, cuts, low, high)
        start = cut or _line_cut(text, low, high)
        ends.append(start)
    ends.append(len(text))
    return ends


def _cheapest(offsets: list[int], cuts: dict[int, int], low: int, high: int) -> int:
    """Of the cuts in [low, high] the last of those that cost least; 0 if there is none."""
    best, least = 0, 1_000
    for offset in offsets[bisect_left(offsets, low) : bisect_right(offsets, high)]:
        if cuts[offset] <= least:
            best, least = offset, cuts[offset]
    return best


def _line_cut(text: str, low: int, high: int) -> int:
    """Where to cut between ``low`` and ``high`` without a tree: at a line, else a space, else at ``high``."""
    best, least = 0, (1_000, True)
    for match in _LINE.finditer(text, low, high):
        indentation = match.group(1).expandtabs(4)
        newline = match.start()
        after_blank = text[newline - 1 : newline] == "\n" or text[newline - 2 : newline] == "\n\r"
        cost = (len(indentation), not after_blank)
        if cost <= least:
            best, least = newline + 1, cost
    if best:
        return best
    newline = text.rfind("\n", low, high)
    if newline >= 0:
        return newline + 1
    space = text.rfind(" ", low, high)
    if space >= 0:
        return space + 1
    # Never between the two characters of one line end.
    return high - 1 if text[high - 1] == "\r" and text[high] == "\n" else high
