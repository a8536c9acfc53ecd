"""Lines of the spool by their place: read together or one by one, they are the same bytes."""

import os
from pathlib import Path

import pytest

from elysia_dagster.errors import InputError
from elysia_dagster.sync import spool
from elysia_dagster.sync.spool import span_reader


@pytest.mark.parametrize("together_bytes", [0, 20, 1 << 20])
def test_the_same_bytes_however_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together_bytes: int
) -> None:
    monkeypatch.setattr(spool, "_TOGETHER_BYTES", together_bytes)
    lines = [b"first", b"", "zweite Zeile: \u00fc".encode(), b"third", b"x" * 50]
    (tmp_path / "spool").write_bytes(b"\n".join(lines))
    spans = [(sum(map(len, lines[:at])) + at, len(line)) for at, line in enumerate(lines)]
    descriptor = os.open(tmp_path / "spool", os.O_RDONLY)
    try:
        for asked in (spans, spans[2:4], spans[::-1], []):
            read = span_reader(descriptor, asked)
            assert [read(*span) for span in asked] == [lines[spans.index(span)] for span in asked]
        with pytest.raises(InputError, match="shorter than its plan"):
            span_reader(descriptor, [(0, 5), (90, 10)])(90, 10)
    finally:
        os.close(descriptor)
