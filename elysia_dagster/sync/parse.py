"""What a line of a changeset says: a change, a changeset record, nothing, or something that cannot be read."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import orjson

from elysia_dagster.errors import LineError
from elysia_dagster.sync.gitquote import quote, split_rename, unquote

MAX_CHANGESET_BYTES = 65_536
"""Bytes of a line with a ``new_changeset`` record: each repository's last one is kept as it is."""

_MAX_CHANGESET_DEPTH = 64


class Op(IntEnum):
    """What a line asks for, as the plan stores it."""

    ADD = 0
    MODIFY = 1
    DELETE = 2


OPS: Mapping[Any, Op] = {"modify": Op.MODIFY, "add": Op.ADD, "delete": Op.DELETE, None: Op.MODIFY}


class ParsedLine(NamedTuple):
    """A line that asks for a change. ``old_path`` is set for a rename; ``repo`` is '' where the line names none.

    A tuple, since one is made for every line: five times as fast as a frozen dataclass.
    """

    op: Op
    path: str
    old_path: str | None
    repo: str
    record: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangesetRecord:
    """A ``new_changeset`` line: where a repository stands after the lines before it."""

    repo: str
    record: dict[str, Any]


def parse_record(raw: bytes) -> ParsedLine | ChangesetRecord:
    """A line that begins with ``{``. Raises ``LineError`` (permanent) with the reason why it cannot be read."""
    record = read_object(raw)
    repo = record.get("repo")
    if repo is None:
        repo = ""
    elif not isinstance(repo, str):
        raise LineError("`repo` is not a string.", permanent=True)
    if "new_changeset" in record:
        changeset = record["new_changeset"]
        if not isinstance(changeset, dict):
            raise LineError("`new_changeset` is not an object.", permanent=True)
        if len(raw) > MAX_CHANGESET_BYTES:
            raise LineError(
                f"The line with `new_changeset` has {len(raw):,} bytes; the limit is {MAX_CHANGESET_BYTES:,}.",
                permanent=True,
            )
        if _is_deeper(changeset, _MAX_CHANGESET_DEPTH):
            raise LineError(f"`new_changeset` is nested more than {_MAX_CHANGESET_DEPTH} deep.", permanent=True)
        for name in ("commit", "parent", "branch"):
            value = changeset.get(name)
            if not isinstance(value, str | None):
                raise LineError(f"`new_changeset.{name}` is not a string.", permanent=True)
            if value is not None and not _is_text(value):
                raise LineError(f"`new_changeset.{name}` is not text: {value!r:.60}.", permanent=True)
        return ChangesetRecord(repo=repo, record=changeset)
    path = record.get("path")
    if not isinstance(path, str):
        raise LineError("The record has no `path`." if path is None else "`path` is not a string.", permanent=True)
    try:
        op = OPS[record.get("op")]
    except (KeyError, TypeError):
        raise LineError(f"`op` is {record.get('op')!r:.60}, not add, modify or delete.", permanent=True) from None
    if " -> " in path and op is Op.MODIFY:
        sides = split_rename(path)
        if sides is not None:
            return ParsedLine(op, sides[1], sides[0], repo, record)
    if path.startswith('"'):
        path = unquote(path)
    return ParsedLine(op, path, None, repo, record)


def _is_text(value: str) -> bool:
    """Whether every database can hold the string: no NUL, no lone surrogate."""
    return "\0" not in value and value == value.encode("utf-8", "replace").decode()


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists lie in one another more than ``levels`` deep: the standard library writes and reads
    about a thousand, less what the callers take."""
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and (levels == 0 or any(_is_deeper(each, levels - 1) for each in value))


def make_line(repository: str, path: str, *, is_gone: bool) -> bytes:
    """The line that asks for one document, or for its removal, which ``parse_record`` reads back as just that."""
    # an arrow in the path of a `modify` would be a rename
    line = {"repo": repository, "path": quote(path), "op": "delete" if is_gone else "add"}
    return orjson.dumps(line) + b"\n"


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object of a line that begins with ``{``. Raises ``LineError`` (permanent)."""
    try:
        record: dict[str, Any] = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return _parse_leniently(raw, error)
    return record


def _parse_leniently(raw: bytes, error: orjson.JSONDecodeError) -> dict[str, Any]:
    """The standard library reads one thing more, which real producers write: lone surrogates in a string."""
    if b"\\u" in raw:
        try:
            record = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
        except (ValueError, RecursionError):
            pass
        else:
            if isinstance(record, dict):
                return record
    raise LineError(f"The line is not JSON: {error.msg}.", permanent=True) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _finite(digits: str) -> float:
    """A number that JSON can hold again: ``1e999`` is read as infinite."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number


def parse_path(raw: bytes, *, literal: bool) -> ParsedLine:
    """A line that is a path, taken as ``modify``; ``literal`` where lines are separated by NUL and never quoted.

    Raises ``LineError`` (permanent) for invalid UTF-8 and for a NUL.
    """
    if not literal and raw.endswith(b"\r"):
        raw = raw[:-1]
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LineError(f"The path is not UTF-8 (byte {error.start + 1}).", permanent=True) from error
    if not literal and path.startswith('"') and path.endswith('"') and len(path) > 1:
        path = unquote(path)
    return ParsedLine(Op.MODIFY, path, None, "", None)
