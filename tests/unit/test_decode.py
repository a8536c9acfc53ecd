"""Text of any encoding, and bytes that are none."""

import os
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_dagster.errors import LineError
from elysia_dagster.sync.decode import BinaryContent, decode_text

JAPANESE = "これは日本語のコメントです。\n関数を定義します。\n値を返す前に検査を行う。\n" * 3
RUSSIAN = "Это комментарий на русском языке.\nФункция возвращает сумму значений.\n" * 3  # noqa: RUF001
CHINESE = "这是一个中文注释。\n函数返回所有值的总和。\n在写入之前检查数据。\n" * 3


def test_the_sample_of_mgit_in_latin_1() -> None:
    assert decode_text(b"caf\xe9 in latin-1\n") == "café in latin-1\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain ascii\r\nand more", "ascii"),
        ("übersicht: naïve café 日本 🎉\n", "utf-8"),
        ("Größe, crème brûlée, señor, créée", "latin-1"),
        ("“quoted” – 5 € … it’s", "cp1252"),  # noqa: RUF001
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (CHINESE, "gb18030"),
        ("x = 1  # ascii\n" * 8_000 + JAPANESE, "shift_jis"),
    ],
)
def test_an_encoding_is_found(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", ["", "a", "grün\r\n日本 🎉\n"])
def test_a_byte_order_mark_decides_and_is_removed(encoding: str, text: str) -> None:
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_both_byte_orders(encoding: str) -> None:
    assert decode_text("\ufeffgrün\n".encode(encoding)) == "grün\n"


@pytest.mark.parametrize("data", [b"\xff\xfea", b"\xff\xfe\x00\xd8a\x00", b"\xef\xbb\xbf\xff", b"\xff\xfe\0\0ab"])
def test_a_mark_that_lies_fails_for_good(data: bytes) -> None:
    with pytest.raises(LineError, match="cannot be decoded") as caught:
        decode_text(data)
    assert caught.value.permanent


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00binary",
        b"text with a \0 in it",
        b"%PDF-1.7\nlooks like text",
        b"PK\x03\x04no nul here",
        b"\x1f\x8b\x08compressed",
        bytes(range(1, 32)) * 4,
        "a\0b".encode("utf-16"),
        "utf-16 without a mark".encode("utf-16-le"),
    ],
)
def test_binary(data: bytes) -> None:
    with pytest.raises(BinaryContent):
        decode_text(data)


def test_colours_of_a_terminal_are_text() -> None:
    log = "\x1b[31merror\x1b[0m: something went wrong here\n"
    assert decode_text(log.encode()) == log


def test_a_nul_further_back_is_kept_out_of_the_text() -> None:
    assert decode_text(b"x" * 8_192 + b"\0end") == "x" * 8_192 + "\ufffdend"
    assert decode_text(("x" * 8_192 + "\0end").encode("utf-16")) == "x" * 8_192 + "\ufffdend"
    assert decode_text(b"x" * 8_192 + b"\0caf\xe9") == "x" * 8_192 + "\ufffdcafé"


def test_utf_8_with_a_stray_byte_stays_utf_8() -> None:
    text = "größer als übrig, schöner, ärger, Öl, äußerst"
    assert decode_text(text.encode() + b" \xff") == text + " \ufffd"
    assert decode_text(text.encode() + b" \xc3") == text + " \ufffd"


def test_line_ends_stay() -> None:
    assert decode_text(b"a\r\nb\rc\n\r\nd") == "a\r\nb\rc\n\r\nd"


def test_bytes_that_no_encoding_explains_are_not_indexed() -> None:
    """No NUL, few control characters, and no language in any reading."""
    noise = random.Random(1)
    data = bytes(noise.randrange(0x80, 0x100) for _ in range(2_000))
    with pytest.raises(LineError, match="cannot be decoded") as caught:
        decode_text(data)
    assert caught.value.permanent


def test_guessing_is_bounded() -> None:
    started = time.process_time()
    decode_text(RUSSIAN.encode("cp1251") * 30_000)
    assert time.process_time() - started < 10


@given(st.binary())
def test_any_bytes_give_storable_text_or_a_known_error(data: bytes) -> None:
    try:
        text = decode_text(data)
    except (BinaryContent, LineError):
        return
    assert "\0" not in text
    text.encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_utf_8_comes_back(text: str) -> None:
    assert decode_text(text.encode()) == text.removeprefix("\ufeff")


def test_noise_is_mostly_binary() -> None:
    for _ in range(20):
        with pytest.raises(BinaryContent):
            decode_text(os.urandom(20_000))
