"""What is fuzzed: a function of bytes for each kind of input, which raises where a promise does not hold.

A finding is an ``AssertionError``, any exception that the code under test does not promise, or a hang. Nothing here
depends on the fuzzer: the suite calls the same functions with its own inputs.
"""

import json
from collections.abc import Callable
from contextlib import suppress

from elysia_dagster.errors import LineError
from elysia_dagster.models import Chunk
from elysia_dagster.sync.chunk import MAX_CHARACTERS, chunk_text
from elysia_dagster.sync.confine import check_relative_path, check_repository_name
from elysia_dagster.sync.content import Content, Skipped, resolve_content, self_contained
from elysia_dagster.sync.decode import BinaryContent, decode_text
from elysia_dagster.sync.gitquote import split_rename, unquote
from elysia_dagster.sync.locate import named_path
from elysia_dagster.sync.parse import ChangesetRecord, Op, ParsedLine, parse_path, parse_record
from elysia_dagster.sync.payload import PAYLOAD_BYTES, payload_of
from elysia_dagster.sync.unsent import _told_by
from fuzz.tree import fuzz_paths

EXTENSIONS = ("py", "js", "ts", "tsx", "go", "java", "rs", "c", "cpp", "cs", "php", "rb", "sh", "md", "yaml", "txt", "")
_MAX_BYTES = 10_000


def fuzz_lines(data: bytes) -> None:
    """A line is a change, a changeset record, or a permanent ``LineError``; what is kept of it fits any database."""
    line = data.replace(b"\n", b" ")
    for raw in (line, b"{" + line):
        if raw.startswith(b"{"):
            _look_at_record(raw)
        _look_at_path(raw, literal=True)
        _look_at_path(raw, literal=False)
        assert_storable(payload_of(raw), 2 * PAYLOAD_BYTES)
        for each in _told_by(raw, "default"):
            assert_storable(each, 2_048)
        named_path(raw)
    _look_at_quoting(data)


def _look_at_record(raw: bytes) -> None:
    try:
        parsed = parse_record(raw)
    except LineError as error:
        _assert_permanent(error)
        return
    if isinstance(parsed, ChangesetRecord):
        kept = json.dumps({parsed.repo: parsed.record}, sort_keys=True)
        assert json.loads(kept, parse_constant=_refuse) == {parsed.repo: parsed.record}
        for name in ("commit", "parent", "branch"):
            assert_storable(parsed.record.get(name) or "", 65_536)
        return
    _assert_line(parsed)
    record = parsed.record
    assert record is not None
    try:
        path = check_relative_path(parsed.path)
        found = resolve_content(record, path=path, folder=None, roots=(), max_document_bytes=_MAX_BYTES)
    except LineError as error:
        _assert_sentence(error)
    else:
        assert isinstance(found, Content | Skipped)
        assert not isinstance(found, Content) or 0 < len(found.data) <= _MAX_BYTES
        assert self_contained(record), "its content was found without a folder"


def _look_at_path(raw: bytes, *, literal: bool) -> None:
    try:
        parsed = parse_path(raw, literal=literal)
    except LineError as error:
        _assert_permanent(error)
        return
    _assert_line(parsed)
    assert parsed.op is Op.MODIFY
    assert not literal or parsed.path.encode() == raw


def _assert_line(parsed: ParsedLine) -> None:
    assert type(parsed.path) is type(parsed.repo) is str
    for path in filter(None, (parsed.path, parsed.old_path)):
        with suppress(LineError):
            assert_relative(check_relative_path(path))
    with suppress(LineError):
        assert {"", ".", "..", ".git"}.isdisjoint(check_repository_name(parsed.repo).split("/"))


def assert_relative(path: str) -> None:
    """A checked path is canonical, short, and leads nowhere but down."""
    assert {"", ".", ".."}.isdisjoint(path.split("/"))
    assert "\0" not in path
    assert len(path.encode()) <= 2_048
    assert check_relative_path(path) == path


def assert_storable(text: str, most_bytes: int) -> None:
    """Any database can hold the text."""
    assert "\0" not in text
    assert len(text.encode("utf-8")) <= most_bytes


def _assert_permanent(error: LineError) -> None:
    assert error.permanent, error
    _assert_sentence(error)


def _assert_sentence(error: LineError) -> None:
    assert 0 < len(str(error)) < 10_000, "a reason is a sentence, which may name a path"


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def quoted(path: str) -> str:
    """A path as git's quote.c writes it with `core.quotePath`, in quotes whether it needs them or not."""
    letters = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}
    plain = range(0x20, 0x7F)
    body = (
        f"\\{letters[byte]}" if byte in letters else chr(byte) if byte in plain else f"\\{byte:03o}"
        for byte in path.encode()
    )
    return f'"{"".join(body)}"'


def _look_at_quoting(data: bytes) -> None:
    old, _, new = data.decode("utf-8", "ignore").partition("|")
    assert unquote(quoted(old)) == old
    if old and new:
        assert split_rename(f"{quoted(old)} -> {quoted(new)}") == (old, new)
    with suppress(LineError):
        unquote(f'"{old}"')
    with suppress(LineError):
        split_rename(f"{old} -> {new}")


def fuzz_text(data: bytes) -> None:
    """Bytes are text that every store takes, binary, or a permanent ``LineError``; what is UTF-8 stays as it is."""
    try:
        text = decode_text(data)
    except BinaryContent:
        return
    except LineError as error:
        _assert_permanent(error)
        return
    assert "\0" not in text
    again = text.encode("utf-8")
    has_escape = "\x1b$" in text
    with suppress(UnicodeDecodeError):
        plain = data.decode("utf-8").removeprefix("\ufeff").replace("\0", "\ufffd")
        marked = data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))
        assert text == plain or b"\x1b$" in data or marked, "UTF-8 is not itself"
    if not text.startswith("\ufeff") and not has_escape:
        with suppress(BinaryContent):  # a signature may come of it
            assert decode_text(again) == text, "the text is not what its own UTF-8 gives"


def fuzz_chunks(data: bytes) -> None:
    """Chunks are the text in order, but for white space between them; their line numbers are those of the text."""
    extension, times = (data[:2] + b"\0\0")[:2]
    text = data[2:].decode("utf-8", "surrogatepass" if times & 64 else "replace") if _decodes(data[2:]) else ""
    text = (text or data[2:].decode("latin-1")) * (1 + times % 32)
    assert_whole(text, chunk_text(text, f"a.{EXTENSIONS[extension % len(EXTENSIONS)]}"))


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def assert_whole(text: str, chunks: list[Chunk]) -> None:
    """Nothing of ``text`` is lost or doubled in ``chunks``, and their lines are counted rightly."""
    at, line = 0, 1
    for number, chunk in enumerate(chunks):
        assert chunk.index == number
        assert 0 < len(chunk.text) <= MAX_CHARACTERS
        assert not chunk.text.isspace()
        # the chunk is not white space, so that it lies where the first thing that is none does
        ahead = len(text) - len(text[at:].lstrip())
        start = text.find(chunk.text, at, ahead + len(chunk.text))
        assert 0 <= start <= ahead, "something was lost, or is twice"
        while line + text.count("\n", at, start) != chunk.start_line:  # white space that could lie either side of a cut
            start = text.find(chunk.text, start + 1, ahead + len(chunk.text))
            assert 0 <= start <= ahead, "the first line is not counted rightly"
        line += text.count("\n", at, start)
        at = start + len(chunk.text)
        line += chunk.text.count("\n")
        assert chunk.end_line == line - chunk.text.endswith("\n")
    assert not text[at:].strip(), "the end was lost"


TARGETS: dict[str, Callable[[bytes], None]] = {
    "lines": fuzz_lines,
    "paths": fuzz_paths,
    "text": fuzz_text,
    "chunks": fuzz_chunks,
}
"""By the name that `make fuzz` and the folders of findings know them by."""
