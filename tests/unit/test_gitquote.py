"""Git's quoting, checked against what the installed git really prints."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_dagster.errors import LineError
from elysia_dagster.sync import gitquote
from elysia_dagster.sync.gitquote import split_rename, unquote

LETTERS = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def quote(path: str) -> str:
    """As git's quote.c does it, quotes always given."""
    quoted = (LETTERS.get(b) or (chr(b) if 32 <= b < 127 else f"\\{b:03o}") for b in path.encode())
    return '"' + "".join(quoted) + '"'


@pytest.mark.parametrize(
    ("quoted", "path"),
    [
        ("plain.py", "plain.py"),
        ("with space.py", "with space.py"),
        ('in"side', 'in"side'),
        ('"release notes.md"', "release notes.md"),
        ('"\\303\\274bersicht.md"', "übersicht.md"),
        (r'"\a\b\t\n\v\f\r\"\\"', '\a\b\t\n\v\f\r"\\'),
        ('""', ""),
        ('"ü.md"', "ü.md"),  # core.quotePath=false leaves what is not ASCII as it is
    ],
)
def test_unquotes(quoted: str, path: str) -> None:
    assert unquote(quoted) == path


@pytest.mark.parametrize(
    "quoted",
    ['"', '"open', '"a"b', '"\\"', '"\\x41"', '"\\8"', '"\\400"', '"\\30"', '"\\377"', '"\\303"', '"\ud800"'],
)
def test_malformed_quoting_fails_the_line_for_good(quoted: str) -> None:
    with pytest.raises(LineError) as caught:
        unquote(quoted)
    assert caught.value.permanent


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_path_survives_quoting(path: str) -> None:
    assert unquote(quote(path)) == path


def test_real_git_agrees(tmp_path: Path) -> None:
    names = [
        "plain",
        "with space",
        "tab\there",
        'quo"te',
        "back\\slash",
        "line\nbreak",
        "übersicht.md",
        "日本.txt",
        "\x01\x7f",
    ]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for name in names:
        (tmp_path / name).write_text("x")

    def listed(*options: str) -> list[bytes]:
        command = ["git", "-C", str(tmp_path), *options]
        return subprocess.run(command, check=True, capture_output=True).stdout.splitlines()

    for options in (("ls-files", "--others"), ("-c", "core.quotePath=false", "ls-files", "--others")):
        assert sorted(unquote(line.decode()) for line in listed(*options)) == sorted(names)
    assert sorted(unquote(line.decode()[3:]) for line in listed("status", "--porcelain")) == sorted(names)


@pytest.mark.parametrize(
    ("path", "sides"),
    [
        ("plain.py", None),
        ("a->b", None),
        ('"a -> b"', None),
        ("old.py -> new.py", ("old.py", "new.py")),
        ('total.py -> "total two.py"', ("total.py", "total two.py")),
        ('"total two.py" -> total.py', ("total two.py", "total.py")),
        ('"\\303\\274.md" -> "a -> b"', ("ü.md", "a -> b")),
        ('"a -> b" -> "c -> d"', ("a -> b", "c -> d")),
        ("old -> dir/new", ("old", "dir/new")),
    ],
)
def test_splits_renames(path: str, sides: tuple[str, str] | None) -> None:
    assert split_rename(path) == sides


@pytest.mark.parametrize(
    "path",
    [
        "a -> b -> c",
        'a -> b -> "c"',
        'a -> "b" -> c',
        " -> b",
        "a -> ",
        '"a" b -> c',
        '"a -> b',
        'a -> "b',
        'a -> "b"c',
    ],
)
def test_a_rename_that_can_be_read_two_ways_fails_for_good(path: str) -> None:
    with pytest.raises(LineError) as caught:
        split_rename(path)
    assert caught.value.permanent


def test_a_long_bad_path_makes_a_short_message() -> None:
    with pytest.raises(LineError) as caught:
        unquote('"' + "x" * 1_000_000)
    assert len(str(caught.value)) < 500


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_what_is_quoted_here_is_read_as_it_was(path: str) -> None:
    assert unquote(gitquote.quote(path)) == path
    assert unquote(gitquote.quote(f'"{path}')) == f'"{path}'
