"""Git's C-style quoting of paths, and the arrow that `git status` puts between the two sides of a rename.

Git encloses a path in double quotes when it holds a double quote, a backslash or a control character (and, with
`core.quotePath`, which is the default, any byte over 0x7f); source: `git help config` and git's quote.c.
"""

import re

from elysia_dagster.errors import LineError

_ESCAPE = re.compile(rb'\\(?:([abtnvfr"\\])|([0-3][0-7]{2}))')
_QUOTED = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f]')
_LETTERS = {
    b"a": b"\a",
    b"b": b"\b",
    b"t": b"\t",
    b"n": b"\n",
    b"v": b"\v",
    b"f": b"\f",
    b"r": b"\r",
    b'"': b'"',
    b"\\": b"\\",
}
_ARROW = " -> "


def _decode_escape(match: re.Match[bytes]) -> bytes:
    letter, octal = match.groups()
    return _LETTERS[letter] if letter is not None else bytes((int(octal, 8),))


def unquote(path: str) -> str:
    """The path that git quoted; a path that does not begin with a double quote is returned as it is.

    Raises ``LineError`` (permanent) where the quoting is malformed or the bytes are not UTF-8.
    """
    if not path.startswith('"'):
        return path
    if _QUOTED.fullmatch(path) is None:
        raise LineError(f"The quoted path {path!r:.200} has no closing quote, or text after it.", permanent=True)
    try:
        inner = path[1:-1].encode("utf-8")
        # Every backslash must begin a known escape: what remains after removing those may not hold one.
        if b"\\" in _ESCAPE.sub(b"", inner):
            raise LineError(f"The quoted path {path!r:.200} has an escape that git never writes.", permanent=True)
        return _ESCAPE.sub(_decode_escape, inner).decode("utf-8")
    except UnicodeError as error:
        raise LineError(f"The quoted path {path!r:.200} is not UTF-8.", permanent=True) from error


def quote(path: str) -> str:
    """A path as ``unquote`` reads it: as it is, unless it begins with a double quote."""
    if not path.startswith('"'):
        return path
    return '"' + _SPECIAL.sub(lambda found: f"\\{ord(found.group()):03o}", path) + '"'


def split_rename(path: str) -> tuple[str, str] | None:
    """The two sides of ``old -> new``, unquoted; None if ``path`` is no rename.

    An arrow within quotes does not split. Raises ``LineError`` (permanent) where it cannot be told which arrow
    separates the sides, where one side is empty, or where a quote is malformed.
    """
    if _ARROW not in path:
        return None
    if path.startswith('"'):
        quoted = _QUOTED.match(path)
        if quoted is None:
            raise LineError(f"The quoted path {path!r:.200} has no closing quote.", permanent=True)
        old, rest = quoted.group(), path[quoted.end() :]
        if not rest:
            return None
        if not rest.startswith(_ARROW):
            raise LineError(f"The quoted path {path!r:.200} has text after its closing quote.", permanent=True)
        new = rest[len(_ARROW) :]
    else:
        old, _, new = path.partition(_ARROW)
    if not old or not new:
        raise LineError(f"The rename {path!r:.200} has an empty side.", permanent=True)
    # A quoted new side may hold arrows; an unquoted one that does, or that only ends in quotes, can be read two ways.
    if _ARROW in new and _QUOTED.fullmatch(new) is None:
        raise LineError(
            f"The rename {path!r:.200} has more than one arrow: its two sides cannot be told apart.", permanent=True
        )
    return unquote(old), unquote(new)
