"""Where a result of bytes goes: standard output, or a file that is there whole or not at all."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from elysia_dagster.cli.terminal import Terminal
from elysia_dagster.errors import UsageError
from elysia_dagster.sync.files import resources_named, write_aside


@contextmanager
def outlet(terminal: Terminal, output: Path | None) -> Iterator[IO[bytes]]:
    """A file to write to for the block; ``output`` None is standard output.

    A regular file is replaced when the block has ended well; anything else that has a name (a FIFO, ``/dev/null``) is
    written to as it stands. Raises ``UsageError`` where it cannot be written, ``ResourceExhausted``.
    """
    if output is None:
        yield _StandardOutput(terminal)  # type: ignore[misc]
        return
    try:
        if output.exists() and not output.is_file():
            with resources_named(str(output)), output.open("wb") as file:
                yield file
            return
        with write_aside(output.resolve()) as file:
            yield file
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written: {error.strerror or error}.", next_step="Name another file with --output."
        ) from error


class _StandardOutput(io.RawIOBase):
    """Standard output as the terminal guards it: a reader that has gone away is no error."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        """All of ``data`` (bytes or a buffer of them)."""
        piece = bytes(memoryview(data))  # type: ignore[arg-type]
        self._terminal.result_bytes(piece)
        return len(piece)
