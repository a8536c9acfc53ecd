"""Bytes to text, whatever the encoding, with a bounded amount of guessing.

What is decided, in this order: a byte order mark says the encoding; NUL bytes or many control characters in the first
8 KiB, or a known signature, say binary (git's own test is the NUL in the first 8,000 bytes, xdiff-interface.c);
ISO-2022-JP, whose escapes nothing else has; UTF-8; UTF-8 with a few broken bytes; western text (windows-1252) if its
bytes over 0x7f look like accents; what charset-normalizer says of the lines that are not ASCII; windows-1252 or latin-1
if no control character comes of it.

A NUL behind the first 8 KiB becomes U+FFFD, so that no chunk holds one. Line ends are kept as they are.
"""

import codecs
import re

from charset_normalizer import from_bytes

from elysia_dagster.errors import LineError

_HEAD_BYTES = 8_192
_SAMPLE_BYTES = 65_536
_CONTROL = bytes([*range(1, 8), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F])
_MAX_CONTROL_SHARE = 0.1
_BOMS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SIGNATURES = (
    b"%PDF-",
    b"\x89PNG\r\n",
    b"\xff\xd8\xff",
    b"PK\x03\x04",
    b"\x1f\x8b\x08",
    b"\x7fELF",
    b"\xca\xfe\xba\xbe",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"7z\xbc\xaf\x27\x1c",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"BZh91AY&SY",
)
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_AROUND_BYTES = 2_000  # of a line, before and after what is not ASCII
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
# Euro, ellipsis, quotes, bullet, dashes, trade mark, then no-break space and letters: what western texts really hold.
_WESTERN = frozenset((0x80, 0x85, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x99, *range(0xA0, 0x100)))
_MAX_WESTERN_RUN = 3  # "créée" has two accents side by side; longer runs are Cyrillic, Greek or Asian words
# Encodings that accept nearly anything, or make lone surrogates.
_NEVER_GUESSED = ["utf_7", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be", "ascii", "utf_8"]


class BinaryContent(Exception):
    """The bytes are no text."""


def decode_text(data: bytes) -> str:
    """The text of ``data`` without its byte order mark.

    Raises ``BinaryContent`` if it is no text, ``LineError`` (permanent) if it is text that nothing decodes.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _decode_marked(data[len(mark) :], encoding)
    _refuse_binary(data)
    try:
        text = _decode_escaped(data) or data.decode("utf-8")
    except UnicodeDecodeError:
        text = _decode_unknown(data)
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _decode_marked(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise LineError(
            f"The text cannot be decoded as {encoding}, which its byte order mark names.", permanent=True
        ) from error
    _refuse_binary(text[:_HEAD_BYTES].encode("utf-8"))
    return text.replace("\0", "\ufffd")


def _refuse_binary(data: bytes) -> None:
    head = data[:_HEAD_BYTES]
    if b"\0" in head:
        raise BinaryContent("a NUL in the first 8 KiB")
    if head.startswith(_SIGNATURES):
        raise BinaryContent("a binary format's signature")
    if len(head) - len(head.translate(None, _CONTROL)) > _MAX_CONTROL_SHARE * len(head):
        raise BinaryContent("many control characters in the first 8 KiB")


def _decode_escaped(data: bytes) -> str:
    """Japanese in seven bits (ISO-2022-JP), which would pass for ASCII; ``""`` if it is not that."""
    if b"\x1b$B" not in data and b"\x1b$@" not in data:
        return ""
    try:
        return data.decode("iso2022_jp")
    except UnicodeDecodeError:
        return ""


def _decode_unknown(data: bytes) -> str:
    broken = data.decode("utf-8", "replace")
    errors = broken.count("\ufffd")
    beyond_ascii = len(broken) - len(broken.encode("ascii", "ignore"))
    # A UTF-8 file cut short or with a stray byte: the rest of it must not turn into mojibake.
    if beyond_ascii - errors >= 4 * errors:
        return broken
    runs = _HIGH_RUN.findall(data)
    if max(map(len, runs)) <= _MAX_WESTERN_RUN and _WESTERN.issuperset(b"".join(runs)):
        return data.decode("cp1252")
    for encoding in (_guess(data), "cp1252", "latin-1"):
        text = _plausible(data, encoding)
        if text is not None:
            return text
    raise LineError("The text cannot be decoded: no known encoding makes sense of it.", permanent=True)


def _guess(data: bytes) -> str:
    """What charset-normalizer says of the lines that are not ASCII, at most 64 KiB of them; ``""`` if it cannot."""
    sample: list[bytes] = []
    size = end = 0
    while size < _SAMPLE_BYTES and (found := _NOT_ASCII.search(data, end)):
        first, place = max(end, found.start() - _AROUND_BYTES), found.start()
        start = data.rfind(b"\n", first, place) + 1 or first
        end = data.find(b"\n", place, place + _AROUND_BYTES) + 1 or min(place + _AROUND_BYTES, len(data))
        sample.append(data[start:end])
        size += end - start
    best = from_bytes(b"".join(sample), cp_exclusion=_NEVER_GUESSED, preemptive_behaviour=False).best()
    return "" if best is None else best.encoding


def _plausible(data: bytes, encoding: str) -> str | None:
    """The decoded text, or None if it fails or brings forth C1 control characters, which no text holds."""
    if not encoding:
        return None
    try:
        text = data.decode(encoding)
        text.encode("utf-8")
    except UnicodeError:
        return None
    return None if re.search("[\x80-\x84\x86-\x9f]", text) else text
