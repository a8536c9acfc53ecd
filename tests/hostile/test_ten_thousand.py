"""Ten thousand hostile lines: each bad one fails alone and says why, each good one among them is applied exactly."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile.folder import CANARY, FAILED, make_folder
from hostile.lines import hostile_lines
from hostile.model import COMPLETED, HostileLine
from sqlalchemy import text
from sync_world import RecordingStore, World, sha256

from elysia_dagster.checkpoint.records import RunRecord
from elysia_dagster.checkpoint.schema import metadata
from elysia_dagster.models import RunStatus
from elysia_dagster.sync.payload import PAYLOAD_BYTES

LINES = 10_000
SEED = 20_261_125


@pytest.fixture
def anywhere(target: Path | str, tmp_path: Path) -> Iterator[World]:
    """A world whose checkpoint is on every database."""
    url = {} if isinstance(target, Path) else {"checkpoint_db_url": target}
    with World(tmp_path, store=RecordingStore(), **url) as opened:
        yield opened


def test_every_bad_line_fails_alone_and_every_good_one_is_applied(anywhere: World) -> None:
    lines = list(hostile_lines(SEED, LINES, anywhere.root, make_folder(anywhere.root)))
    assert_as_modelled(anywhere, lines)


@pytest.mark.parametrize("seed", [1, 2])
def test_with_lancedb_and_other_seeds(seed: int, world: World) -> None:
    lines = list(hostile_lines(seed, 600, world.root, make_folder(world.root), endless_lines=1))
    assert_as_modelled(world, lines)


def test_the_lines_are_the_same_each_time_and_of_every_kind(tmp_path: Path) -> None:
    files = {"plain.py": ("indexed", b"x"), "%2e%2e": ("indexed", b"y"), "deep/er/x.py": ("indexed", b"z")}
    first, second = (list(hostile_lines(SEED, 2_000, tmp_path, files)) for _ in range(2))
    assert first == second
    kinds = Counter(line.kind for line in first)
    assert len(kinds) > 20
    assert min(kinds.values()) > 3
    assert 0.3 < sum(line.verdict == FAILED for line in first) / len(first) < 0.8


def assert_as_modelled(world: World, lines: list[HostileLine]) -> None:
    """Applies the lines, and compares with what each must come to."""
    run = world.sync(*(line.raw for line in lines))
    rows = _rows(world, "SELECT line_number, outcome FROM completed_lines")
    found: dict[int, str] = {number: str(outcome) for number, outcome in rows}
    failures = _rows(world, "SELECT line_number, error_message, payload, error_kind FROM failed_lines")
    found |= {row[0]: FAILED for row in failures}
    verdicts = _verdicts(lines)
    wrong = [
        (number, line.kind, verdicts[number], found.get(number), line.raw[:200])
        for number, line in enumerate(lines, 1)
        if not _agrees(verdicts[number], found.get(number))
    ]
    assert wrong == []
    assert (run.status, run.success_count + run.error_count) == (RunStatus.FAILED, len(lines))
    assert run.error_count == len(failures) == list(verdicts.values()).count(FAILED)
    for number, message, payload, kind in failures:
        assert message, lines[number - 1]
        assert kind in ("permanent", "retryable")
        _assert_payload(payload, lines[number - 1].raw)
    _assert_held(world, lines)
    _assert_no_canary(world)
    _assert_summary_is_readable(world, run)


def _verdicts(lines: list[HostileLine]) -> dict[int, str]:
    """What each line must come to, by its number: of those that name one document, the last counts."""
    last = {line.document: number for number, line in enumerate(lines, 1) if line.document}
    return {
        number: "superseded" if last.get(line.document, number) != number else line.verdict
        for number, line in enumerate(lines, 1)
    }


def _agrees(verdict: str, outcome: str | None) -> bool:
    if verdict == COMPLETED:
        return outcome not in (FAILED, None)
    return outcome == verdict


def _assert_held(world: World, lines: list[HostileLine]) -> None:
    wanted: dict[str, bytes | None] = {}
    for line in lines:
        if line.verdict != FAILED:
            wanted.update(line.leaves)
    assert world.held() == {name: sha256(data) for name, data in wanted.items() if data is not None}


def _assert_payload(payload: str, raw: bytes) -> None:
    try:
        is_plain = len(raw) <= PAYLOAD_BYTES and b"\0" not in raw and raw.decode() is not None
    except UnicodeDecodeError:
        is_plain = False
    if is_plain:
        assert payload.encode() == raw
        return
    fields = json.loads(payload)
    assert base64.b64decode(fields["payload_base64"]) == raw[:PAYLOAD_BYTES]
    assert (fields["length"], fields["sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())


def _assert_no_canary(world: World) -> None:
    """What lies outside is nowhere: not in the store, in no table, in no file of the state."""
    if world.recording is not None:
        for each in world.recording.objects.values():
            assert CANARY not in each.content
    with world.engine.database.read() as connection:
        for table in metadata.tables.values():
            for row in connection.execute(table.select()):
                assert CANARY not in str(row)
    for place in world.state.rglob("*"):
        assert not place.is_file() or CANARY.encode() not in place.read_bytes()


def _assert_summary_is_readable(world: World, run: RunRecord) -> None:
    commits = json.loads(run.changeset_info or "{}", parse_constant=pytest.fail)
    assert all(len(each["commit"]) == 40 for each in commits.values())
    assert len(world.report.failures) <= 100
    assert CANARY not in str(world.report)


def _rows(world: World, statement: str) -> list[tuple]:
    with world.engine.database.read() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]
