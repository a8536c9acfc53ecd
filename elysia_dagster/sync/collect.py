"""Runs a command that produces a changeset, and drops what it printed into the inbox: whole, or not at all.

Its output goes straight into a file with a leading dot, locked by all who may write it: a later collect removes such a
file when it finds it unlocked. The name in the inbox is the moment of the end: what comes later sorts later.
"""

import fcntl
import os
import re
import secrets
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from elysia_dagster.checkpoint import clock
from elysia_dagster.errors import CollectFailed, UsageError
from elysia_dagster.exhaustion import exhausted
from elysia_dagster.settings import Settings, environment_for_others
from elysia_dagster.sync import producer
from elysia_dagster.sync.engine import no_fault
from elysia_dagster.sync.files import resources_named, sync_folder
from elysia_dagster.sync.notify import secrets_of

TAIL_BYTES = 8192
"""The last bytes of standard error that are kept: it may be of any length."""

_LOOK_S = 0.05
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,100}")
_USER_OF_URL = re.compile(r"(://)[^/\s@]+@")


@dataclass(frozen=True, kw_only=True)
class CollectReport:
    """What a collect came to. ``file`` is None where the command had nothing to say; ``standard_error`` is its end."""

    file: Path | None
    size_bytes: int
    seconds: float
    standard_error: str


def collect_changeset(settings: Settings, *, faults: Callable[[str], None] = no_fault) -> CollectReport:
    """Runs the producer command in its folder.

    Raises ``CollectFailed`` for one that cannot be started, fails or takes too long, with ``exit_code`` and
    ``standard_error``; ``UsageError`` for a setting that is missing or wrong, ``ResourceExhausted``.
    """
    folder, words = _command(settings)
    if not _LABEL.fullmatch(settings.collect_label):
        raise UsageError(
            f"ELYSIACTL_COLLECT_LABEL={settings.collect_label!r} is no part of a file's name.",
            next_step="It holds letters, digits, '-' and '_', 100 at most.",
        )
    if not settings.collect_timeout_s > 0:
        raise UsageError(
            f"{settings.collect_timeout_s:g} s is no time that a command may take.",
            next_step="Set ELYSIACTL_COLLECT_TIMEOUT, or timeout_s, above zero.",
        )
    inbox = settings.inbox_folder()
    began = time.monotonic()
    try:
        with resources_named(str(inbox)):
            inbox.mkdir(parents=True, exist_ok=True)
            remove_dead_parts(inbox)
            with _part(inbox) as (part, descriptor):
                said = _run(folder, words, descriptor, settings)
                size = os.fstat(descriptor).st_size
                faults("collect-written")
                file = _publish(inbox, part, descriptor, settings.collect_label, faults) if size else None
    except OSError as error:
        raise UsageError(
            f"The inbox {inbox} cannot be written: {error.strerror}.",
            next_step="Mend its owner and mode, or set ELYSIACTL_INBOX to another folder.",
        ) from error
    return CollectReport(file=file, size_bytes=size, seconds=time.monotonic() - began, standard_error=said)


def _command(settings: Settings) -> tuple[Path, list[str]]:
    """Where to run which words."""
    if not settings.collect_folder:
        raise UsageError(
            "No folder is set to collect changesets in.", next_step="Set ELYSIACTL_COLLECT_FOLDER, or folder."
        )
    folder = Path(settings.collect_folder).expanduser().absolute()
    if not folder.is_dir():
        raise UsageError(f"The folder {folder} to collect in is not there.", next_step="See ELYSIACTL_COLLECT_FOLDER.")
    try:
        words = shlex.split(settings.collect_command)
    except ValueError as error:
        raise UsageError(
            f"ELYSIACTL_COLLECT_COMMAND cannot be split into words: {error}.", next_step="Mend its quotation marks."
        ) from error
    if not words or "\0" in settings.collect_command:
        what = "a NUL" if words else "no word"
        raise UsageError(f"ELYSIACTL_COLLECT_COMMAND holds {what}.", next_step="Set it to a command, or unset it.")
    return folder, words


@contextmanager
def _part(inbox: Path) -> Iterator[tuple[Path, int]]:
    """A new file with a leading dot, locked, for the block."""
    while True:
        part = inbox / f".collect-{secrets.token_hex(8)}.part"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                break
        os.close(descriptor)  # another collect took it for a dead one's before it was locked
    try:
        yield part, descriptor
    finally:
        part.unlink(missing_ok=True)
        os.close(descriptor)


def remove_dead_parts(inbox: Path) -> None:
    """Removes what collects have left whose processes were killed: nobody holds its lock."""
    for part in inbox.glob(".collect-*.part"):
        with suppress(FileNotFoundError):
            descriptor = os.open(part, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                with suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _run(folder: Path, words: list[str], output: int, settings: Settings) -> str:
    """Runs the command to its end; the end of its standard error, without what is secret."""
    runner = subprocess.Popen(
        # isolated: a package of the same name in the folder is not ours
        [sys.executable, "-I", producer.__file__, str(folder), *words],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.PIPE,
        env=environment_for_others(),
        start_new_session=True,  # a Ctrl-C is for us, and we end it
    )
    assert runner.stdin is not None
    assert runner.stderr is not None
    tail = bytearray()
    with runner.stderr:
        try:
            is_late = not _follow(runner, tail, time.monotonic() + settings.collect_timeout_s)
        finally:
            runner.stdin.close()  # it ends now, if it has not ended
            _follow(runner, tail, time.monotonic() + producer.GRACE_S + 10.0)
            runner.kill()
            code = runner.wait()
    said = _readable(tail, secrets_of(settings))
    if is_late or code:
        how = f"did not end within {settings.collect_timeout_s:g} s" if is_late else f"ended with exit code {code}"
        last = f": {said.splitlines()[-1]}" if said and not is_late else "."
        raise CollectFailed(
            f"{_name_of(words)} {how} in {folder}{last}",
            next_step="Nothing of it is in the inbox. Run it by hand in that folder; the next collect runs it again.",
            **({} if is_late else {"exit_code": code}),
            standard_error=said,
        )
    return said


def _name_of(words: list[str]) -> str:
    """The program alone: what follows it may hold a secret, and so may what somebody takes for a shell's variable."""
    return "The producer command" if "=" in words[0] else words[0]


def _follow(runner: "subprocess.Popen[bytes]", tail: bytearray, until: float) -> bool:
    """Reads standard error until the process ends; whether that was before the moment ``until``.

    Not until the end of the stream: a process that the command has left behind may hold it open for ever.
    """
    assert runner.stderr is not None
    with selectors.DefaultSelector() as selector:
        selector.register(runner.stderr, selectors.EVENT_READ)
        is_open, ended_at = True, 0.0
        while True:
            block = b""
            if is_open and selector.select(_LOOK_S):
                block = os.read(runner.stderr.fileno(), 1 << 16)
                is_open = bool(block)
                tail += block
                del tail[:-TAIL_BYTES]
            elif not is_open:
                time.sleep(_LOOK_S)
            if runner.poll() is not None:
                ended_at = ended_at or time.monotonic()
                if not block or time.monotonic() - ended_at > 1.0:
                    return True
            elif time.monotonic() >= until:
                return False


def _readable(tail: bytearray, known: list[str]) -> str:
    """As text, without names and passwords in URLs, nor a secret that is set for us."""
    text = tail.decode(errors="replace")
    if len(tail) == TAIL_BYTES:  # from the first whole line on
        text = text.partition("\n")[2] or text
    for secret in known:
        text = text.replace(secret, "***")
    kept = "".join(each if each.isprintable() or each in "\n\t" else " " for each in text)
    return _USER_OF_URL.sub(r"\1***@", kept).strip()


def _publish(inbox: Path, part: Path, descriptor: int, label: str, faults: Callable[[str], None]) -> Path:
    """Gives the file its name in the inbox, which no other has."""
    os.fsync(descriptor)
    while True:
        file = inbox / f"{clock.now():%Y%m%dT%H%M%S.%fZ}-{label}.jsonl"
        try:
            os.link(part, file)  # a rename would replace what another collect of the same moment has put there
        except FileExistsError:
            continue
        except OSError as error:
            if exhausted(error) or os.path.lexists(file):
                raise
            os.rename(part, file)  # a file system without links
        faults("collect-linked")
        break
    part.unlink(missing_ok=True)
    sync_folder(inbox)
    return file
