"""What a line says: a change, a rename, a changeset record, or why it cannot be read."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_dagster.errors import LineError
from elysia_dagster.sync.parse import ChangesetRecord, Op, ParsedLine, parse_path, parse_record


def parsed(record: dict[str, Any]) -> ParsedLine:
    found = parse_record(json.dumps(record).encode())
    assert isinstance(found, ParsedLine)
    return found


@pytest.mark.parametrize(
    ("given_op", "op"),
    [({"op": "add"}, Op.ADD), ({"op": "modify"}, Op.MODIFY), ({"op": "delete"}, Op.DELETE), ({}, Op.MODIFY)],
)
def test_operations_and_the_one_that_is_meant_where_none_is_named(given_op: dict[str, str], op: Op) -> None:
    record = {"repo": "r", "path": "a.py", **given_op}
    assert parsed(record) == ParsedLine(op, "a.py", None, "r", record)


@pytest.mark.parametrize(
    ("path", "op", "old", "new"),
    [
        ("a.py -> b.py", "modify", "a.py", "b.py"),
        ('a.py -> "b two.py"', "modify", "a.py", "b two.py"),
        ('"a two.py" -> b.py', "modify", "a two.py", "b.py"),
        ('"\\303\\274.md" -> "\\303\\266.md"', "modify", "ü.md", "ö.md"),
        ("a.py -> b.py", "add", None, "a.py -> b.py"),  # only a modify is a rename
        ("a.py -> b.py", "delete", None, "a.py -> b.py"),
        ('"\\303\\274.md"', "add", None, "ü.md"),
        ('"release notes.md"', "delete", None, "release notes.md"),
        ("a->b.py", "modify", None, "a->b.py"),
        ("ü.md", "modify", None, "ü.md"),
    ],
)
def test_renames_and_quoting(path: str, op: str, old: str | None, new: str) -> None:
    found = parsed({"repo": "r", "path": path, "op": op})
    assert (found.old_path, found.path) == (old, new)


def test_a_changeset_record_needs_no_path() -> None:
    record = {"commit": "c", "parent": None, "branch": "main", "tree_hash": 7}
    found = parse_record(json.dumps({"repo": "r", "new_changeset": record, "path": 7}).encode())
    assert found == ChangesetRecord(repo="r", record=record)
    assert parse_record(b'{"new_changeset": {}}') == ChangesetRecord(repo="", record={})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not JSON"),
        (b"{}", "no `path`"),
        (b'{"path": ["a"]}', "`path` is not a string"),
        (b'{"path": "a", "op": "ADD"}', "not add, modify or delete"),
        (b'{"path": "a", "op": {"x": 1}}', "not add, modify or delete"),
        (b'{"path": "a", "op": 1e400}', "not"),
        (b'{"path": "a", "repo": []}', "`repo` is not a string"),
        (b'{"path": "a", "size": NaN}', "not JSON"),
        (b'{"path": "\\u0061", "size": NaN}', "not JSON"),
        (b'{"path": "\\u0061", "size": -Infinity}', "not JSON"),
        (b'{"path": "\\ud800\xff"}', "not JSON"),
        (b'{"new_changeset": []}', "`new_changeset` is not an object"),
        (b'{"new_changeset": {"branch": 1}}', "`new_changeset.branch` is not a string"),
        (b'{"new_changeset": {"commit": "\\u0000"}}', "`new_changeset.commit` is not text"),
        (b'{"new_changeset": {"branch": "\\ud800"}}', "`new_changeset.branch` is not text"),
        pytest.param(b'{"x": ' * 100_000 + b"1" + b"}" * 100_000, "not JSON", id="deep"),
        pytest.param(b'{"\\u0078": ' * 100_000 + b"1" + b"}" * 100_000, "not JSON", id="deep with escapes"),
    ],
)
def test_what_cannot_be_read_is_permanent_and_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(LineError, match=reason) as wrong:
        parse_record(line)
    assert wrong.value.permanent
    assert len(str(wrong.value)) < 500


def test_lone_surrogates_are_read_as_they_are() -> None:
    found = parse_record(b'{"path": "a.py", "content": "x \\ud83d y"}')
    assert isinstance(found, ParsedLine)
    assert found.record == {"path": "a.py", "content": "x \ud83d y"}


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"a.py", "a.py"),
        (b"a.py\r", "a.py"),
        (b'"a two.py"\r', "a two.py"),
        (b'"\\303\\274.md"', "ü.md"),
        (b'"', '"'),
        (b'"half', '"half'),
        (b"a -> b", "a -> b"),  # a plain path is one file
        (b" a ", " a "),
    ],
)
def test_lines_that_are_paths(line: bytes, path: str) -> None:
    assert parse_path(line, literal=False) == ParsedLine(Op.MODIFY, path, None, "", None)


@given(st.text(min_size=1).filter(lambda text: "\0" not in text))
def test_a_path_ended_by_nul_is_taken_letter_by_letter(path: str) -> None:
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        return
    assert parse_path(raw, literal=True).path == path


def test_a_path_that_is_no_text_says_where() -> None:
    with pytest.raises(LineError, match=r"not UTF-8 \(byte 3\)") as wrong:
        parse_path(b"ab\xff", literal=True)
    assert wrong.value.permanent


def reason_of(read: Callable[[bytes], object], data: bytes) -> LineError | None:
    try:
        assert isinstance(read(data), ParsedLine | ChangesetRecord)
    except LineError as error:
        return error
    return None


@given(st.binary(max_size=200))
def test_whatever_the_bytes_the_answer_is_a_change_or_a_permanent_line_error(data: bytes) -> None:
    for reason in (reason_of(parse_record, b"{" + data), reason_of(partial(parse_path, literal=False), data)):
        assert reason is None or reason.permanent
