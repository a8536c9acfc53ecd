"""What a command says: results on standard output, everything else on standard error, and neither can break a run."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from elysia_dagster.errors import ResourceExhausted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_UNLIMITED_COLUMNS = 10_000
"""The width of a table in a pipe: nothing is cut there."""

_CAUSE_CHARS = 300


class Terminal:
    """The two streams of one command. ``verbose`` and ``quiet`` are set by the command's options.

    A reader that has gone away (``| head``) is not an error: the command goes on in silence and keeps its exit code.
    """

    def __init__(self) -> None:
        self.verbose = False
        self.quiet = False
        for stream in (sys.stdout, sys.stderr):
            # a path may hold what the locale cannot write
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")

    def result(self, text: str) -> None:
        """A line or more of the result. Raises ``ResourceExhausted`` where standard output takes no more."""
        self._write(sys.stdout, text + "\n")

    def result_bytes(self, data: bytes) -> None:
        """A piece of a result that is no text, or not of our making. Raises as ``result`` does."""
        self.flush()

        def write() -> None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

        self._guarded(sys.stdout, write)

    def result_json(self, value: Any) -> None:
        """The result as one JSON value: indented for a person, on one line for a program."""
        self.result(json.dumps(value, indent=2 if sys.stdout.isatty() else None))

    def result_table(self, table: "RenderableType") -> None:
        """A table, in colour on a terminal, uncut in a pipe."""
        held = io.StringIO()  # a console writes to its file even while it captures
        self.console(sys.stdout, held).print(table)
        lines = held.getvalue().splitlines()
        self.result("\n".join(line if sys.stdout.isatty() else line.rstrip() for line in lines))

    def note(self, sentence: str) -> None:
        """Something worth knowing; not said with ``--quiet``."""
        if not self.quiet:
            self._write(sys.stderr, f"elysiactl: {printable(sentence)}\n")

    def detail(self, sentence: str) -> None:
        """Something worth knowing with ``--verbose`` only."""
        if self.verbose:
            self.note(sentence)

    def error(self, text: str) -> None:
        """What went wrong; always said."""
        self._write(sys.stderr, f"elysiactl: {printable(text, keep_lines=True)}\n")

    def console(self, stream: TextIO, held: TextIO | None = None) -> "Console":
        """A console of rich that suits one of the streams and takes texts as they are; ``held`` gets its output."""
        from rich.console import Console

        return Console(
            file=held or stream,
            force_terminal=stream.isatty() if held else None,
            markup=False,
            highlight=False,
            emoji=False,
            width=None if stream.isatty() else _UNLIMITED_COLUMNS,
        )

    @contextmanager
    def waiting(self, words: str) -> Iterator[None]:
        """Shows on a terminal that the block goes on."""
        if self.quiet or not sys.stderr.isatty():
            yield
            return
        with self.console(sys.stderr).status(words):
            yield

    def flush(self) -> None:
        """Writes out what is still held back."""
        self._write(sys.stdout, "")

    def _write(self, stream: TextIO, text: str) -> None:
        def write() -> None:
            stream.write(text)
            stream.flush()

        self._guarded(stream, write)

    def _guarded(self, stream: TextIO, write: Callable[[], None]) -> None:
        try:
            write()
        except BrokenPipeError:
            _silence(stream)
        except OSError as error:
            _silence(stream)
            if stream is sys.stdout:
                raise ResourceExhausted(
                    f"The result cannot be written to standard output: {error.strerror}.",
                    next_step="What was done is done: see elysiactl index status",
                ) from error


def _silence(stream: TextIO) -> None:
    """Lets the stream lead nowhere, so that neither we nor the interpreter at its end fail on it again."""
    try:
        target = stream.fileno()
    except OSError:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, target)
    os.close(nowhere)


def printable(text: str, *, keep_lines: bool = False) -> str:
    """``text`` without what would steer a terminal: paths and source lines come from other people's repositories."""
    kept = "\n\t" if keep_lines else ""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in kept else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def causes(error: BaseException) -> list[str]:
    """The errors behind an error, the nearest first, a line each."""
    found = []
    cause = error.__cause__
    while cause is not None:
        first = (str(cause).splitlines() or [""])[0]
        found.append(f"{type(cause).__name__}: {first[:_CAUSE_CHARS]}")
        cause = cause.__cause__
    return found


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 line``, ``2,000 lines``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def moment(stamp: str | None) -> str:
    """A stored moment for a table, to the second, in UTC as it is stored."""
    return stamp[:19].replace("T", " ") if stamp else ""
