"""``collect_changesets``: a producer's output in the inbox, its failure and its last words on the run's page."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance
from loading import load

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("keeping_driver", TESTS / "keeping_driver.py")
World = world_module.World
JOB = "collect_changesets"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world of its own for each test, with a producer that prints its changeset."""
    made = World(tmp_path, monkeypatch)
    made.environment["ELYSIACTL_COLLECT_FOLDER"] = str(made.source)
    made.environment["ELYSIACTL_COLLECT_COMMAND"] = f"cat {made.changeset}"
    for name in ("ELYSIACTL_COLLECT_FOLDER", "ELYSIACTL_COLLECT_COMMAND"):
        monkeypatch.setenv(name, made.environment[name])
    return made


def inbox(world: "World") -> list[Path]:
    """What lies in the inbox, as far as there is one."""
    folder = world.state / "inbox"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def failure_shown(name: str) -> dict[str, Any]:
    """What the newest run of a job shows of its failure."""
    with DagsterInstance.get() as instance:
        newest = instance.get_runs(limit=1)[0]
        assert newest.job_name == name
        (failure,) = [
            entry.dagster_event.step_failure_data.user_failure_data
            for entry in instance.all_logs(newest.run_id)
            if entry.dagster_event and entry.dagster_event.event_type_value == "STEP_FAILURE"
        ]
    return {key: each.value for key, each in failure.metadata.items()}


def test_from_the_shell_of_dagster(world: "World") -> None:
    done = driver.by_shell(world, JOB, label="nightly")
    assert done.returncode == 0, done.stderr
    (file,) = inbox(world)
    assert file.name.endswith("Z-nightly.jsonl")
    assert file.read_bytes() == world.changeset.read_bytes()
    assert driver.dagster_driver.attempt(world.run_config(changeset=str(file)))[0]
    assert world.held() == world.truth()

    bad = f"echo half; {shlex.join([sys.executable, '-c', NOISE])} >&2; echo the end >&2; exit 4"
    done = driver.by_shell(world, JOB, command=shlex.join(["sh", "-c", bad]))
    assert done.returncode == 1
    assert f"sh ended with exit code 4 in {world.source}: the end" in done.stderr
    assert len(done.stderr) < 200_000
    assert inbox(world) == [file]
    shown = failure_shown(JOB)
    assert shown["exit_code"] == "4"
    assert shown["standard_error"].endswith("warning\nthe end")
    assert len(shown["standard_error"]) <= 8192


NOISE = "for _ in range(50): print('warning\\n' * 125_000, end='')"
"""50 MB."""


def test_what_a_run_shows(world: "World") -> None:
    success, shown, _ = driver.attempt(JOB)
    assert success
    (file,) = inbox(world)
    assert shown["changeset"] == str(file)
    assert shown["bytes"] == world.changeset.stat().st_size
    success, shown, _ = driver.attempt(JOB, command="true")
    assert success
    assert "changeset" not in shown
    assert inbox(world) == [file]


def test_a_failure_is_not_tried_again(world: "World") -> None:
    count = world.base / "count"
    success, shown, reason = driver.attempt(JOB, command=shlex.join(["sh", "-c", f"echo x >> {count}; exit 1"]))
    assert not success
    assert reason.startswith("sh ended with exit code 1")
    assert shown["error"] == "CollectFailed"
    assert "tried again" not in shown
    assert count.read_text() == "x\n"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"timeout_s": 1.0, "command": "sleep 1000"}, "sleep did not end within 1 s"),
        ({"timeout_s": -1.0}, "-1 s is no time that a command may take."),
        ({"command": "no-such-command-here"}, "no-such-command-here ended with exit code 127"),
        ({"folder": "/no/such/folder"}, "The folder /no/such/folder to collect in is not there."),
        ({"label": "a/b"}, "ELYSIACTL_COLLECT_LABEL='a/b' is no part of a file's name."),
    ],
)
def test_failures_in_words(world: "World", config: dict[str, Any], words: str) -> None:
    success, _, reason = driver.attempt(JOB, **config)
    assert not success
    assert reason.startswith(words)
    assert inbox(world) == []


def test_killed_and_run_again(world: "World") -> None:
    killed = driver.by_shell(world, JOB, fault="kill-run:collect-written:1")
    assert world_module.was_killed(killed), killed.stderr
    assert [path.name[0] for path in inbox(world)] == ["."]
    assert driver.attempt(JOB)[0]
    (file,) = inbox(world)
    assert file.read_bytes() == world.changeset.read_bytes()


def test_no_secret_is_kept_with_the_run(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-very-secret"
    monkeypatch.setenv("ELYSIACTL_OPENAI_API_KEY", secret)
    tell = "env >&2; echo https://me:$PART@host >&2; exit 1"
    monkeypatch.setenv("PART", secret)
    success, shown, reason = driver.attempt(JOB, command=shlex.join(["sh", "-c", tell]))
    assert not success
    assert secret not in f"{json.dumps(shown)} {reason}"
    with DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert not [entry for entry in instance.all_logs(run.run_id) if secret in str(entry)]
