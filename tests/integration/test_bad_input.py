"""What bad input gets: its line in ``failed_lines`` with the reason and the raw payload, and the rest goes on."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from sync_world import Line, World, raw, sha256

from elysia_dagster.models import RunStatus
from elysia_dagster.sync.payload import PAYLOAD_BYTES

GOOD = {"repo": "repo", "op": "modify", "path": "good.py", "content": "good = 1\n"}


def record(**fields: Any) -> dict[str, Any]:
    return {"repo": "repo", "op": "modify", "path": "bad.py", **fields}


UNREADABLE: dict[str, tuple[Line, str]] = {
    "not JSON": ('{"path": "a.py", "op": }', "not JSON"),
    "cut off": ('{"path": "a.py', "not JSON"),
    "two records": ('{"path": "a.py"}{"path": "b.py"}', "not JSON"),
    "no path": ({"repo": "repo", "op": "modify"}, "no `path`"),
    "path null": (record(path=None), "no `path`"),
    "path a number": (record(path=7), "`path` is not a string"),
    "path empty": (record(path=""), "names no file"),
    "repo a number": (record(repo=7), "`repo` is not a string"),
    "op unknown": (record(op="chmod"), "`op` is 'chmod'"),
    "op a list": (record(op=["add"]), "`op` is ['add']"),
    "content a number": (record(content=7), "'content' of 'bad.py' is not a string"),
    "content a list": (record(content=["a"]), "'content' of 'bad.py' is not a string"),
    "skip_index a string": (record(skip_index="yes"), "'skip_index' of 'bad.py' is not true or false"),
    "base64 broken": (record(path="coded.py", content_base64="%%%"), "not base64"),
    "content_ref a number": (record(content_ref=7), "'content_ref' of 'bad.py' is not a string"),
    "NaN": ('{"repo": "repo", "path": "a.py", "size": NaN}', "not JSON"),
    "Infinity with an escape": ('{"repo": "\\u0072", "path": "a.py", "size": Infinity}', "not JSON"),
    "nested 100,000 deep": ('{"path":' * 100_000 + "1" + "}" * 100_000, "not JSON"),
    "lists nested deep": ('{"path": "\\u0061", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON"),
    "invalid UTF-8 in a record": (b'{"repo": "repo", "path": "caf\xe9.py"}', "not JSON"),
    "invalid UTF-8 in a path": (b"caf\xe9.py", "not UTF-8 (byte 4)"),
    "a NUL in a path": (b"a\0b.py", "contains a NUL"),
    "a NUL in a record": (b'{"repo": "repo", "path": "a\0b.py"}', "not JSON"),
    "an escaped NUL in a record": (record(path="a\0b.py"), "contains a NUL"),
    "a lone surrogate in a path": (b'{"repo": "repo", "path": "a\\ud800.py"}', "not valid Unicode"),
    "a lone surrogate in a repository": (b'{"repo": "re\\udfffpo", "path": "a.py"}', "not valid Unicode"),
    "a path over 2,048 bytes": (record(path="x" * 5000), "longer than 2,048 bytes"),
    "changeset a string": ({"repo": "repo", "new_changeset": "abc"}, "`new_changeset` is not an object"),
    "commit a number": ({"repo": "repo", "new_changeset": {"commit": 7}}, "`new_changeset.commit` is not a string"),
    "a NUL in a commit": ({"repo": "repo", "new_changeset": {"commit": "c\0"}}, "`new_changeset.commit` is not text"),
    "a lone surrogate in a branch": (
        b'{"repo": "repo", "new_changeset": {"branch": "\\ud800"}}',
        "`new_changeset.branch` is not text",
    ),
    "a NUL in an op": (record(op="add\0"), "`op` is 'add\\x00'"),
    "an endless op": (record(op="x" * 9000), "`op` is 'xxx"),
    "up out of the repository": (record(path="../../etc/passwd"), "contains '..'"),
    "up in the middle": (record(path="a/../../b.py"), "contains '..'"),
    "a deletion out of the repository": (record(op="delete", path="../b.py"), "contains '..'"),
    "a repository named ../..": (record(repo="../.."), "is not a folder's name beneath a root"),
    "a repository named ..": (record(repo=".."), "is not a folder's name beneath a root"),
    "an absolute repository": (record(repo="/etc"), "is not a folder's name beneath a root"),
    "content_ref out of the root": (record(path="ref.py", content_ref="../../etc/passwd"), "contains '..'"),
    "a rename out of the repository": (record(path="../a.py -> b.py"), "contains '..'"),
    "a rename to outside": (record(path="a.py -> ../b.py"), "contains '..'"),
    "a path, up and out": ("../../etc/passwd", "contains '..'"),
}


@pytest.mark.parametrize("form", UNREADABLE)
def test_an_unreadable_line_fails_alone_for_good(form: str, light_world: World) -> None:
    line, reason = UNREADABLE[form]
    run = light_world.sync(GOOD, line, {**GOOD, "path": "after.py"})
    assert light_world.outcomes(run) == {1: "indexed", 2: "failed", 3: "indexed"}
    [(message, kind, payload, retry_at)] = light_world.query(
        "SELECT error_message, error_kind, payload, next_retry_at FROM failed_lines"
    )
    assert reason in message
    assert (kind, retry_at) == ("permanent", None)
    _assert_payload(payload, raw(line))
    _assert_every_text_fits_any_database(light_world)
    assert (run.status, run.success_count, run.error_count) == (RunStatus.FAILED, 2, 1)
    assert light_world.held().keys() == {"repo/good.py", "repo/after.py"}


def _assert_payload(payload: str, line: bytes) -> None:
    """The line itself, or else its start, its length and its digest."""
    try:
        is_plain = len(line) <= PAYLOAD_BYTES and b"\0" not in line and bool(line.decode() or True)
    except UnicodeDecodeError:
        is_plain = False
    if is_plain:
        assert payload.encode() == line
        return
    fields = json.loads(payload)
    assert base64.b64decode(fields["payload_base64"]) == line[:PAYLOAD_BYTES]
    assert (fields["length"], fields["sha256"]) == (len(line), hashlib.sha256(line).hexdigest())


def _assert_every_text_fits_any_database(world: World) -> None:
    for table in ("sync_runs", "failed_lines", "completed_lines", "documents"):
        for row in world.query(f"SELECT * FROM {table}"):
            for value in row:
                if isinstance(value, str):
                    assert "\0" not in value
                    assert len(value.encode()) < 2 * PAYLOAD_BYTES


def test_all_bad_lines_of_one_changeset(world: World) -> None:
    lines = [line for line, _ in UNREADABLE.values()]
    run = world.sync(*lines, GOOD)
    found = world.failures(run)
    assert len(found) == len(UNREADABLE) == run.error_count
    for number, (_, reason) in enumerate(UNREADABLE.values(), start=1):
        assert reason in found[number]
    assert world.held() == {"repo/good.py": sha256("good = 1\n")}
    retried = world.retry(run.run_id)
    assert retried.attempt == 1, "permanent failures wait to be asked for by name"
    again = world.retry(run.run_id, permanent=True, every=True)
    assert (again.attempt, again.error_count, again.success_count) == (2, len(UNREADABLE), 1)


def test_a_payload_is_capped_by_its_length_and_digest(light_world: World) -> None:
    long = b'{"path": "' + b"y" * 50_000
    just = b'{"path": "' + b"y" * (PAYLOAD_BYTES - 10)
    light_world.sync(long, just)
    (first,), (second,) = light_world.query("SELECT payload FROM failed_lines ORDER BY line_number")
    assert len(first) < 1.5 * PAYLOAD_BYTES
    _assert_payload(first, long)
    assert second.encode() == just


def test_a_line_over_the_limit_is_named_with_its_size_and_not_held(tmp_path: Path) -> None:
    with World(tmp_path, max_line_bytes=2000) as world:
        long = json.dumps({**GOOD, "path": "long.py", "content": "x" * 5000}).encode()
        changeset = world.changeset(GOOD, long, long, {**GOOD, "path": "after.py"}, long)
        changeset.write_bytes(changeset.read_bytes()[:-1])  # the last one without a newline
        run = world.sync_file(changeset)
        assert world.outcomes(run) == {1: "indexed", 2: "failed", 3: "failed", 4: "indexed", 5: "failed"}
        for payload, message, kind in world.query("SELECT payload, error_message, error_kind FROM failed_lines"):
            assert f"{len(long):,} bytes" in message
            assert "2,000" in message
            assert kind == "permanent"
            fields = json.loads(payload)
            assert (fields["length"], fields["sha256"]) == (len(long), hashlib.sha256(long).hexdigest())
            assert base64.b64decode(fields["payload_base64"]) == long[:PAYLOAD_BYTES]


def test_a_document_over_the_limit_fails_wherever_its_content_is(tmp_path: Path) -> None:
    with World(tmp_path, max_document_bytes=1000) as world:
        world.write("repo/large.txt", "large\n" * 400)
        world.write("repo/fits.txt", "x" * 1000)
        run = world.sync(
            record(path="large.txt"),
            record(path="inline.txt", content="large\n" * 400),
            record(path="coded.txt", content_base64=base64.b64encode(b"large\n" * 400).decode()),
            record(path="fits.txt"),
        )
        assert world.outcomes(run) == {1: "failed", 2: "failed", 3: "failed", 4: "indexed"}
        for message in world.failures(run).values():
            assert "2,400 bytes" in message
            assert "1,000 bytes" in message


def test_a_record_that_names_a_file_that_is_there_is_a_path(light_world: World) -> None:
    light_world.write("{a}.py", "braces = 1\n")
    light_world.write('{"path": 1}', "worse = 1\n")
    run = light_world.sync("{a}.py", '{"path": 1}', "{b}.py")
    assert light_world.outcomes(run) == {1: "indexed", 2: "indexed", 3: "failed"}
    assert light_world.held().keys() == {"root/{a}.py", 'root/{"path": 1}'}


def test_content_with_a_lone_surrogate_is_read_from_the_file(light_world: World) -> None:
    light_world.write("repo/bad.py", "as it is on disk\n")
    run = light_world.sync(b'{"repo": "repo", "op": "modify", "path": "bad.py", "content": "\\ud800"}')
    assert light_world.outcomes(run) == {1: "indexed"}
    assert light_world.held() == {"repo/bad.py": sha256("as it is on disk\n")}


@pytest.mark.parametrize(
    "wrong", [{"op": "chmod"}, {"content": 7}, {"repo": 7}, {"skip_index": "yes"}, {"line": 3, "content_ref": 7}]
)
def test_an_unreadable_line_supersedes_nothing(wrong: dict[str, Any], light_world: World) -> None:
    run = light_world.sync(record(content="one\n"), record(**wrong))
    assert light_world.outcomes(run) == {1: "indexed", 2: "failed"}
    assert light_world.held() == {"repo/bad.py": sha256("one\n")}


@pytest.mark.parametrize("path", ["/etc/pass\0wd", "/etc/\ud800", "/etc/" + "x" * 20_000])
def test_a_path_outside_of_whatever_letters_fails_alone(path: str, light_world: World) -> None:
    run = light_world.sync(GOOD, record(path=path), record(op="delete", path=path))
    assert light_world.outcomes(run) == {1: "indexed", 2: "failed", 3: "failed"}
    _assert_every_text_fits_any_database(light_world)
    [(longest,)] = light_world.query("SELECT MAX(length(error_message)) FROM failed_lines")
    assert longest < 5000
