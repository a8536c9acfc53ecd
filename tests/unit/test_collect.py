"""Collecting: all the output in the inbox or none, under a name that sorts; bounded memory; nothing left running."""

import os
import shlex
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from waiting import wait_until

from elysia_dagster.checkpoint import clock
from elysia_dagster.errors import CollectFailed, ElysiaError, ResourceExhausted, UsageError
from elysia_dagster.settings import Settings
from elysia_dagster.sync import collect, producer
from elysia_dagster.sync.collect import TAIL_BYTES, collect_changeset, remove_dead_parts

LINE = '{"path": "a.py", "op": "add", "repo": "repo", "content": "x"}'


def python(program: str) -> str:
    """A command that runs a Python program."""
    return shlex.join([sys.executable, "-c", program])


def sh(script: str) -> str:
    """A command that runs a script."""
    return shlex.join(["sh", "-c", script])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An inbox that is not there yet, a folder, a command that prints a line."""
    (tmp_path / "folder").mkdir()
    return Settings(
        inbox=str(tmp_path / "inbox"),
        collect_folder=str(tmp_path / "folder"),
        collect_command=f"echo '{LINE}'",
        collect_timeout_s=120.0,
    )


def with_command(settings: Settings, command: str, **changes: object) -> Settings:
    """Another command."""
    return Settings(**{**settings.__dict__, "collect_command": command, **changes})


def inbox(settings: Settings) -> list[str]:
    """What lies in the inbox."""
    return sorted(os.listdir(settings.inbox_folder()))


def failing(settings: Settings) -> ElysiaError:
    """The error of a collect that leaves nothing behind."""
    with pytest.raises(ElysiaError) as caught:
        collect_changeset(settings)
    assert not settings.inbox_folder().exists() or inbox(settings) == []
    return caught.value


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_whole_under_a_name_that_sorts(settings: Settings) -> None:
    before = clock.now().replace(tzinfo=None)
    reports = [collect_changeset(settings) for _ in range(2)]
    names = [report.file.name for report in reports if report.file]
    assert inbox(settings) == names == sorted(set(names))
    moment = datetime.strptime(names[0], "%Y%m%dT%H%M%S.%fZ-collected.jsonl")
    assert moment >= before
    assert reports[0].file is not None
    assert reports[0].file.read_text() == f"{LINE}\n"
    assert reports[0].size_bytes == len(LINE) + 1


def test_run_in_its_folder_without_a_shell_and_without_our_secrets(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "ELYSIACTL_OPENAI_API_KEY",
        "elysiactl_WEAVIATE_API_KEY",
        "WCD_API_KEY",
        "ELYSIACTL_CHECKPOINT_DB_URL",
    ):
        monkeypatch.setenv(name, "sk-very-secret")
    monkeypatch.setenv("ELYSIACTL_COLLECTION", "Kept")
    program = "import os, sys; print(os.getcwd(), sys.argv[1], dict(os.environ), sys.stdin.read())"
    report = collect_changeset(with_command(settings, f"{python(program)} '$HOME; rm x'"))
    assert report.file is not None
    printed = report.file.read_text()
    assert printed.startswith(f"{settings.collect_folder} $HOME; rm x ")
    assert "sk-very-secret" not in printed
    assert "'ELYSIACTL_COLLECTION': 'Kept'" in printed


def test_a_package_in_the_folder_is_not_ours(settings: Settings) -> None:
    for name in ("elysia_dagster", "subprocess"):
        (Path(settings.collect_folder) / name).mkdir()
        (Path(settings.collect_folder) / name / "__init__.py").write_text("raise SystemExit(9)")
    assert collect_changeset(settings).file is not None


def test_nothing_printed_makes_no_file(settings: Settings) -> None:
    report = collect_changeset(with_command(settings, sh("echo warned >&2")))
    assert (report.file, report.size_bytes, report.standard_error) == (None, 0, "warned")
    assert inbox(settings) == []


def test_a_failure_names_exit_code_and_last_words(settings: Settings) -> None:
    error = failing(with_command(settings, sh(f"echo '{LINE}'; echo bad news >&2; exit 3")))
    assert isinstance(error, CollectFailed)
    assert str(error).startswith(f"sh ended with exit code 3 in {settings.collect_folder}: bad news ")
    assert error.ids == {"exit_code": 3, "standard_error": "bad news"}
    error = failing(with_command(settings, sh("kill -9 $$")))
    assert error.ids["exit_code"] == 128 + signal.SIGKILL


@pytest.mark.parametrize("command", ["no-such-command-here", "./neither", "/"])
def test_what_cannot_be_started(settings: Settings, command: str) -> None:
    error = failing(with_command(settings, command))
    assert error.ids["exit_code"] == producer.NOT_STARTED
    assert "It cannot be started: " in str(error)


def test_a_secret_beside_the_command_is_not_shown(settings: Settings) -> None:
    for command in ("TOKEN=sk-very-secret mgit diff", "false --token sk-very-secret"):
        error = failing(with_command(settings, command))
        assert "sk-very-secret" not in f"{error} {error.ids}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"collect_folder": ""}, "ELYSIACTL_COLLECT_FOLDER"),
        ({"collect_folder": "/no/such/folder"}, "/no/such/folder"),
        ({"collect_command": "mgit 'diff"}, "ELYSIACTL_COLLECT_COMMAND cannot be split into words"),
        ({"collect_command": "  "}, "ELYSIACTL_COLLECT_COMMAND holds no word"),
        ({"collect_command": "mgit \0"}, "ELYSIACTL_COLLECT_COMMAND holds a NUL"),
        ({"collect_label": "../up"}, "ELYSIACTL_COLLECT_LABEL='../up'"),
        ({"collect_label": "half.part"}, "ELYSIACTL_COLLECT_LABEL='half.part'"),
        ({"collect_timeout_s": float("nan")}, "ELYSIACTL_COLLECT_TIMEOUT"),
    ],
)
def test_wrong_settings_are_named(settings: Settings, changes: dict[str, object], words: str) -> None:
    error = failing(Settings(**{**settings.__dict__, **changes}))
    assert isinstance(error, UsageError)
    assert words in str(error)


def test_an_inbox_that_cannot_be_written(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "inbox").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        collect_changeset(settings)


def test_much_standard_error_costs_no_memory(settings: Settings) -> None:
    program = "import sys; [sys.stderr.write('warning %d\\n' % n + 'x' * 99_990) for n in range(500)]; sys.exit(5)"
    tracemalloc.start()
    try:
        error = failing(with_command(settings, python(program)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.ids["exit_code"] == 5
    assert 0 < len(error.ids["standard_error"]) <= TAIL_BYTES
    assert peak < 5 << 20


def test_much_output_goes_by_the_disk(settings: Settings) -> None:
    program = "import sys; [sys.stdout.write('x' * 99_999 + '\\n') for n in range(500)]"
    tracemalloc.start()
    try:
        report = collect_changeset(with_command(settings, python(program)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.size_bytes == 50_000_000
    assert peak < 5 << 20


def test_names_and_passwords_of_addresses_are_not_shown(settings: Settings) -> None:
    words = "fatal: https://me:pass%40word@host/repo and \x1b[31mred"
    error = failing(with_command(settings, sh(f"printf %s {shlex.quote(words)} >&2; exit 1")))
    assert error.ids["standard_error"] == "fatal: https://***@host/repo and  [31mred"


def test_one_that_does_not_end_is_ended_with_all_that_it_began(settings: Settings, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = sh(f"sleep 1000 & echo $! >> {pids}; echo $$ >> {pids}; trap '' TERM; while :; do sleep 1; done")
    error = failing(with_command(settings, command, collect_timeout_s=2.0))
    assert "sh did not end within 2 s" in str(error)
    for pid in map(int, pids.read_text().split()):
        wait_until("The end of what it began", lambda pid=pid: not is_running(pid))


def test_what_it_leaves_in_the_background_ends_with_it(settings: Settings, tmp_path: Path) -> None:
    """Else it would go on writing into a changeset that is being read; and it holds standard error open."""
    pids = tmp_path / "pids"
    command = sh(f"(while :; do echo more; sleep 0.01; done) & echo $! > {pids}; echo one")
    report = collect_changeset(with_command(settings, command))
    wait_until("The end of the command", lambda: not is_running(int(pids.read_text())))
    assert report.file is not None
    assert report.file.stat().st_size == report.size_bytes


def test_an_interrupt_leaves_nothing(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pids = tmp_path / "pids"
    follow = collect._follow

    def interrupted(runner: "subprocess.Popen[bytes]", tail: bytearray, until: float) -> bool:
        monkeypatch.setattr(collect, "_follow", follow)
        while not (pids.exists() and pids.read_text()):
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(collect, "_follow", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collect_changeset(with_command(settings, sh(f"echo $$ > {pids}; echo one; sleep 1000")))
    assert inbox(settings) == []
    wait_until("The end of the command", lambda: not is_running(int(pids.read_text())))


def start_collect(settings: Settings, *, faults: str = "None") -> "subprocess.Popen[bytes]":
    """A collect in a process of its own."""
    program = (
        "import os, signal\n"
        "from elysia_dagster.settings import Settings\n"
        "from elysia_dagster.sync.collect import collect_changeset\n"
        f"fault = {faults!r}\n"
        "def at(point):\n"
        "    if point == fault: os.kill(os.getpid(), signal.SIGKILL)\n"
        "collect_changeset(Settings.from_environment(), faults=at)\n"
    )
    environment = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "ELYSIACTL_INBOX": settings.inbox,
        "ELYSIACTL_COLLECT_FOLDER": settings.collect_folder,
        "ELYSIACTL_COLLECT_COMMAND": settings.collect_command,
    }
    return subprocess.Popen([sys.executable, "-c", program], env=environment)


def test_killed_half_way_leaves_a_file_that_the_next_one_removes(settings: Settings, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    killed = start_collect(with_command(settings, sh(f"echo half; echo $$ > {pids}; sleep 1000")))
    try:
        wait_until("The command", lambda: pids.exists() and pids.read_text())
        (part,) = inbox(settings)
        assert part.startswith(".")
        assert part.endswith(".part")
        remove_dead_parts(settings.inbox_folder())
        assert inbox(settings) == [part], "its process lives"
    finally:
        killed.kill()
        killed.wait()
    wait_until("The end of the command, with the collect", lambda: not is_running(int(pids.read_text())))

    def is_removed() -> bool:
        remove_dead_parts(settings.inbox_folder())
        return part not in inbox(settings)

    wait_until("The end of what it left", is_removed)
    report = collect_changeset(settings)
    assert report.file is not None
    assert inbox(settings) == [report.file.name]


@pytest.mark.parametrize(("point", "is_there"), [("collect-written", False), ("collect-linked", True)])
def test_killed_at_the_end(settings: Settings, point: str, is_there: bool) -> None:
    killed = start_collect(settings, faults=point)
    assert killed.wait(timeout=120) == -signal.SIGKILL
    remove_dead_parts(settings.inbox_folder())
    assert len(inbox(settings)) == is_there
    for name in inbox(settings):
        assert (settings.inbox_folder() / name).read_text() == f"{LINE}\n"


def test_two_at_once_have_two_names(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in the same microsecond."""
    moments = [clock.now()] * 8 + [clock.parse(f"2026-01-02T03:04:0{n}+00:00") for n in range(8)]
    monkeypatch.setattr(clock, "now", lambda: moments.pop(0))
    with ThreadPoolExecutor(8) as threads:
        reports = list(threads.map(lambda _: collect_changeset(settings), range(8)))
    names = {report.file for report in reports}
    assert len(names) == len(inbox(settings)) == 8


def test_a_file_system_without_links(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(collect.os, "link", refused)
    report = collect_changeset(settings)
    assert report.file is not None
    assert inbox(settings) == [report.file.name]


def test_a_full_disk_is_no_fault_of_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(collect.os, "fsync", full)
    assert isinstance(failing(settings), ResourceExhausted)
