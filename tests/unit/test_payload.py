"""A failed line is kept whole or described, and comes back byte for byte or not at all."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from elysia_dagster.sync.payload import PAYLOAD_BYTES, CutPayload, line_of, payload_of

DESCRIBED = payload_of(b"a\0b").encode()


@given(st.binary(max_size=200))
@example(b"plain")
@example(b"\xff\xfe not UTF-8")
@example(b"with \0 inside")
@example(DESCRIBED)
@example(b'{"payload_base64":"AA==","length":1,"sha256":"no"}')
@example(b'{"payload_base64":"')
@example(b"x" * PAYLOAD_BYTES)
def test_a_short_line_comes_back_as_it_was(raw: bytes) -> None:
    if not raw:
        return
    kept = payload_of(raw)
    assert "\0" not in kept
    assert line_of(kept) == raw


def test_of_a_long_one_it_is_said_how_much_is_left() -> None:
    with pytest.raises(CutPayload, match=r"only 16,384 of its 16,385 bytes were kept"):
        line_of(payload_of(b"x" * (PAYLOAD_BYTES + 1)))
    fields = json.loads(payload_of(b"a\0b")) | {"sha256": "0" * 64}
    with pytest.raises(CutPayload):
        line_of(json.dumps(fields, separators=(",", ":")))


def test_what_was_not_kept_is_said() -> None:
    for payload in (None, ""):
        with pytest.raises(CutPayload, match="not kept"):
            line_of(payload)
