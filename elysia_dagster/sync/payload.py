"""What is kept of a line that failed, and the line again from that: as it stood, or not at all."""

import base64
import binascii
import hashlib
import json

PAYLOAD_BYTES = 16_384
"""Bytes of a failed line that are kept as they are; of a longer one the start, its length and its SHA-256."""

_DESCRIBED = '{"payload_base64":"'
_FIELDS = {"payload_base64", "length", "sha256"}


def payload_of(raw: bytes) -> str:
    """A raw line as every database takes it: itself, or a JSON object that says what it was."""
    # a line that looks like such an object is described as well, so that neither is taken for the other
    if len(raw) <= PAYLOAD_BYTES and b"\0" not in raw and not raw.startswith(_DESCRIBED.encode()):
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return described(raw[:PAYLOAD_BYTES], len(raw), hashlib.sha256(raw).hexdigest())


def described(start: bytes, length: int, sha256: str) -> str:
    """The JSON object for a line of ``length`` bytes that begins with ``start``."""
    fields = {"payload_base64": base64.b64encode(start[:PAYLOAD_BYTES]).decode(), "length": length, "sha256": sha256}
    return json.dumps(fields, separators=(",", ":"))


class CutPayload(Exception):
    """Of the line, less is kept than it was: the reason, to be shown."""


def line_of(payload: str | None) -> bytes:
    """The line that ``payload_of`` was given, byte for byte. Raises ``CutPayload`` where it is not there whole."""
    if not payload:
        raise CutPayload("its line was not kept")
    if not payload.startswith(_DESCRIBED):
        return payload.encode("utf-8", "surrogatepass")
    try:
        fields = json.loads(payload)
        if fields.keys() != _FIELDS:
            return payload.encode()
        start = base64.b64decode(fields["payload_base64"], validate=True)
    except (ValueError, TypeError, AttributeError, binascii.Error):
        return payload.encode()  # a line of an earlier version that only begins like that
    if len(start) != fields["length"] or hashlib.sha256(start).hexdigest() != fields["sha256"]:
        raise CutPayload(f"only {len(start):,} of its {fields['length']:,} bytes were kept")
    return start
