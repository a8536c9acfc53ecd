"""Where a program may be cut, by its syntax tree: the starts of declarations and statements, with how deep each lies.

A parser works on text that anybody may have written, so its work is bounded, and bounded the same way on every machine
(chunks must not depend on time): it sees at most 16 KiB of text at once, may read each byte a few times only, and takes
a few steps for each byte. Measured without these bounds: 256 KiB of ``{[{[`` overflow the 8 MB stack in the Go grammar
(128 KiB do not), 64 KiB of ``<`` keep the bash grammar busy for 6 s, 32 KiB of ``A<B<`` the Java grammar for 9 s.
"""

import ctypes
import importlib
import sys
import threading
from functools import cache
from itertools import pairwise

from tree_sitter import Language, Node, Parser, Point, Tree

from elysia_dagster.sync.languages import extension_of, language_of

PARSED_CHARACTERS = 16_384
"""Text parsed at once."""

_READ_BYTES = 4_096
_MAX_DEPTH = 40
_GRAMMARS = {
    "bash": ("tree_sitter_bash", "language"),
    "c": ("tree_sitter_c", "language"),
    "cpp": ("tree_sitter_cpp", "language"),
    "csharp": ("tree_sitter_c_sharp", "language"),
    "go": ("tree_sitter_go", "language"),
    "java": ("tree_sitter_java", "language"),
    "javascript": ("tree_sitter_javascript", "language"),
    "php": ("tree_sitter_php", "language_php"),
    "php only": ("tree_sitter_php", "language_php_only"),
    "python": ("tree_sitter_python", "language"),
    "ruby": ("tree_sitter_ruby", "language"),
    "rust": ("tree_sitter_rust", "language"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
}
# What belongs to the declaration that follows it on the next line.
_LEADING = frozenset(("comment", "line_comment", "block_comment", "attribute_item", "attribute_list", "decorator"))
_CLOSING = frozenset(b")]}>:;,")

_parsers = threading.local()


def grammar_of(path: str) -> str:
    """The name of the grammar for the file at ``path``; ``""`` if there is none."""
    name = "tsx" if extension_of(path) == "tsx" else language_of(path)
    return name if name in _GRAMMARS else ""


def structural_cuts(text: str, grammar: str, smallest: int) -> dict[int, int] | None:
    """Offsets in ``text`` (characters) where a node begins, with its depth; None if the parser was stopped.

    Only nodes longer than ``smallest`` bytes are looked into: what is shorter is never cut. A node that begins its line
    is cut where the line begins; one that does not has 100 added to its depth.
    """
    data = text.encode("utf-8", "replace")  # a lone surrogate becomes one "?": as many characters as before
    tree = _parse(data, grammar)
    if tree is None:
        return None
    cuts: dict[int, int] = {}
    pending = [(tree.root_node, 0)]
    while pending:
        node, depth = pending.pop()
        children = node.children
        _add_starts(children, depth, data, cuts)
        if depth < _MAX_DEPTH:
            pending += [(child, depth + 1) for child in children if child.end_byte - child.start_byte > smallest]
    return cuts if len(data) == len(text) else _in_characters(cuts, data)


def _add_starts(children: list[Node], depth: int, data: bytes, cuts: dict[int, int]) -> None:
    leading_end = -1  # where a comment that began its line ended
    for node in children:
        start, end = node.start_byte, node.end_byte
        if start >= end or data[start] in _CLOSING:
            continue
        line = data.rfind(b"\n", 0, start) + 1
        begins_line = data[line:start].isspace() or line == start
        offset, cost = (line, depth) if begins_line else (start, depth + 100)
        attached = (
            leading_end >= 0 and data.count(b"\n", leading_end, start) <= 1 and data[leading_end:start].strip() == b""
        )
        leading_end = -1
        if begins_line and node.type in _LEADING:
            leading_end = end - 1 if data[end - 1] == 10 else end
        if not attached and cost < cuts.get(offset, 1_000):
            cuts[offset] = cost


def _in_characters(cuts: dict[int, int], data: bytes) -> dict[int, int]:
    found: dict[int, int] = {}
    characters = 0
    offsets = [0, *sorted(cuts)]
    for before, offset in pairwise(offsets):
        characters += len(data[before:offset].decode("utf-8", "replace"))
        found[characters] = cuts[offset]
    return found


def _parse(data: bytes, grammar: str) -> Tree | None:
    """The syntax tree, or None if the parser read or stepped more than any sensible text of this size makes it.

    Where it has read too much it is stopped at its next step, of which it takes one for every hundred operations. A
    text that seems to end where it went on before would stop it sooner, and overruns its memory (tree-sitter 0.26).
    """
    most_reads = 64 + 16 * len(data) // _READ_BYTES
    # Of 1,400 pieces of real programs in ten languages, none took more than 0.8 of what 128 + a 32nd would be.
    most_steps = 96 + len(data) // 36
    reads = steps = 0
    given: list[tuple[bytes, int]] = []

    def read(offset: int, _: Point) -> bytes:
        nonlocal reads
        reads += 1
        block = data[offset : offset + _READ_BYTES]
        if len(block) > 1:  # shorter ones are shared by the whole process
            references = sys.getrefcount(block)
            given.append((block, references))
        return block

    def stop(_offset: int, _has_error: bool) -> bool:
        nonlocal steps
        steps += 1
        return steps > most_steps or reads > most_reads

    parser = _parser(grammar)
    try:
        tree = parser.parse(read, progress_callback=stop)
    except ValueError:  # "Parsing failed": the way in which it says that it was stopped
        parser.reset()
        return None
    finally:
        _take_back(given)
    return tree if reads <= most_reads else None


def _take_back(given: list[tuple[bytes, int]]) -> None:
    """Drops the references that the parser has kept to the blocks it was given, each with its count of them then.

    tree-sitter 0.26.1 keeps one for every read and never drops it: 28 KB for each 16 KiB of a program. Where it keeps
    none, the counts are the same as before, and nothing is done.
    """
    while given:
        block, before = given.pop()
        for _ in range(sys.getrefcount(block) - before):
            ctypes.pythonapi.Py_DecRef(ctypes.py_object(block))


def _parser(grammar: str) -> Parser:
    """This thread's parser: one may not be used by two threads at once."""
    parser: Parser | None = getattr(_parsers, grammar, None)
    if parser is None:
        parser = Parser(_language(grammar))
        setattr(_parsers, grammar, parser)
    return parser


@cache
def _language(grammar: str) -> Language:
    module, function = _GRAMMARS[grammar]
    return Language(getattr(importlib.import_module(module), function)())
