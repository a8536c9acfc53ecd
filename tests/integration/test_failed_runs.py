"""Failed runs are told of, in the log and by a webhook; a webhook that fails hides none, and its address is kept."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, build_sensor_context
from loading import load

from elysia_dagster.definitions import definitions
from elysia_dagster.defs.failed_runs import FROM_OUTSIDE, report_failed_runs
from elysia_dagster.errors import TransientError, UsageError
from elysia_dagster.settings import Settings
from elysia_dagster.sync.notify import Notice, send_notice

pytestmark = pytest.mark.filterwarnings(  # Dagster's own, of a resource that another one holds
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)


TESTS = Path(__file__).parents[1]
world_module = load("dagster_world", TESTS / "dagster_world.py")
driver = load("dagster_driver", TESTS / "crash" / "dagster_driver.py")
World = world_module.World
TOKEN = "T0KEN-of-the-webhook"
NOTICE = Notice(job="sync_changeset", dagster_run_id="d-1", reason="It failed.", repair="elysiactl index resume")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "World":
    """A world of its own for each test."""
    return World(tmp_path, monkeypatch)


class Webhook:
    """A server that keeps what it is sent, and answers ``statuses`` in turn, then 200; ``slow``: a byte a second."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/hooks/{TOKEN}"
        self.taken: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.slow = False


@contextmanager
def webhook() -> Iterator[Webhook]:
    """Listens for the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            assert self.path == f"/hooks/{TOKEN}"
            hook.taken.append(json.loads(body))
            if hook.slow:
                for _ in range(20):
                    self.wfile.write(b"H")
                    time.sleep(0.5)
            status = hook.statuses.pop(0) if hook.statuses else 200
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"/elsewhere/{TOKEN}")
            self.end_headers()

        def do_GET(self) -> None:
            raise AssertionError("a redirection was followed")

        def handle(self) -> None:
            with suppress(OSError):  # who asked did not wait
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook = Webhook(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def tick(instance: DagsterInstance, cursor: str | None) -> tuple[str | None, list[str], str]:
    """One tick: the cursor after it, the errors of its runs in turn ('' for none), and all that it says."""
    with build_sensor_context(instance=instance, cursor=cursor, definitions=definitions) as context:
        data = report_failed_runs.evaluate_tick(context)
    errors = [reaction.error.to_string() if reaction.error else "" for reaction in data.dagster_run_reactions]
    return data.cursor, errors, repr(data)


def a_run_with_a_failed_line(world: "World") -> None:
    """The job fails, and says how to try the line again."""
    world.write_changeset([{"path": "missing.py", "op": "add", "repo": "repo"}])
    assert not driver.attempt(world.run_config())[0]


def test_a_failed_run_is_sent_with_all_that_is_needed_to_mend_it(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-very-secret"
    monkeypatch.setenv("ELYSIACTL_OPENAI_API_KEY", secret)
    with webhook() as hook, DagsterInstance.get() as instance:
        monkeypatch.setenv("ELYSIACTL_NOTIFY_URL", f"{hook.url}\n")
        cursor, _, _ = tick(instance, None)
        a_run_with_a_failed_line(world)
        (run,) = instance.get_runs()
        instance.add_run_tags(run.run_id, {"repositories": f"repo {secret}"})
        cursor, errors, said = tick(instance, cursor)
        assert errors == [""]
        assert TOKEN not in said
        (sent,) = hook.taken
        run_id = world.the_run()
        repair = f"elysiactl index retry --run-id {run_id}"
        reason = f"1 of 3 lines of run {run_id} failed, all others are applied. Try them again with: {repair}"
        assert sent["tags"].pop("repositories") == "repo ***"
        assert sent == {
            "text": f"Run {run.run_id} of sync_changeset failed: {reason} Sync run {run_id} of {world.changeset} into "
            f"Demo: 2 of 3 lines completed, 1 failed. To mend it: {repair}",
            "job": "sync_changeset",
            "dagster_run_id": run.run_id,
            "reason": reason,
            "repair": repair,
            "sync_run_id": run_id,
            "changeset": str(world.changeset),
            "collection": "Demo",
            "total": 3,
            "completed": 2,
            "failed": 1,
            "tags": sent["tags"],
        }
        _, errors, _ = tick(instance, cursor)
        assert errors == []
        assert len(hook.taken) == 1


def test_a_webhook_that_fails_is_a_failed_tick_and_hides_no_later_run(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook() as hook, DagsterInstance.get() as instance:
        monkeypatch.setenv("ELYSIACTL_NOTIFY_URL", hook.url)
        cursor, _, _ = tick(instance, None)
        hook.statuses = [500]
        for _ in range(2):
            a_run_with_a_failed_line(world)
        first, second = reversed(instance.get_runs())
        cursor, errors, said = tick(instance, cursor)
        assert f"answered 500; run {first.run_id} is in the log of this tick." in errors[0]
        assert errors[1] == ""
        assert TOKEN not in said + "".join(errors)
        assert hook.taken[1]["dagster_run_id"] == second.run_id
        assert tick(instance, cursor)[1] == []


def test_an_outage_is_told_with_the_command_that_goes_on(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as hook, DagsterInstance.get() as instance:
        monkeypatch.setenv("ELYSIACTL_NOTIFY_URL", hook.url)
        monkeypatch.setenv("FAULT", "refused:intended:3")
        cursor, _, _ = tick(instance, None)
        assert not driver.attempt(world.run_config())[0]
        tick(instance, cursor)
        (sent,) = hook.taken
        assert sent["reason"] == "This run is given up for the test."
        assert sent["repair"] == f"elysiactl index resume --run-id {world.the_run()}"
        assert (sent["total"], sent["completed"], sent["failed"]) == (32, 11, 0)


def test_a_run_without_a_sync_run_is_told_too(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as hook, DagsterInstance.get() as instance:
        monkeypatch.setenv("ELYSIACTL_NOTIFY_URL", hook.url)
        cursor, _, _ = tick(instance, None)
        run = instance.create_run_for_job(definitions.get_job_def("sync_changeset"))
        instance.report_engine_event("The process was terminated by signal 9 (SIGKILL).", run)
        instance.report_run_failed(run)
        tick(instance, cursor)
        (sent,) = hook.taken
        assert sent["reason"] == "The process was terminated by signal 9 (SIGKILL)."
        assert sent["sync_run_id"] is None
        assert FROM_OUTSIDE not in sent["text"]


def settings_for(url: str, timeout_s: float = 5.0) -> Settings:
    """With a webhook."""
    return Settings.from_environment({"ELYSIACTL_NOTIFY_URL": url, "ELYSIACTL_NOTIFY_TIMEOUT": str(timeout_s)})


def test_no_refusal_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/{TOKEN}"
    with webhook() as hook:
        for statuses, url, words in [
            ([404], hook.url, "answered 404"),
            ([302], hook.url, "answered 302"),
            ([], closed, "cannot be reached: Connection refused"),
            ([], f"https{hook.url[4:]}", "cannot be reached: SSL"),
            ([], f"http://{TOKEN}.invalid/", "cannot be reached: "),
        ]:
            hook.statuses = statuses
            with pytest.raises(TransientError, match=words) as refused:
                send_notice(NOTICE, settings_for(url))
            assert TOKEN not in f"{refused.value!s} {refused.value!r} {refused.value.__cause__!r}"
            assert refused.value.__context__ is None
        for url in [TOKEN, f"ftp://host/{TOKEN}", f"http:///{TOKEN}", f"http://host:{TOKEN}/", f"http://h/{TOKEN} x"]:
            with pytest.raises(UsageError, match="is no address of the form https://…") as wrong:
                send_notice(NOTICE, settings_for(url))
            assert TOKEN not in f"{wrong.value!s} {wrong.value!r}"
            assert wrong.value.__context__ is None
    assert TOKEN not in repr(settings_for(f"http://host/{TOKEN}"))


def test_a_webhook_that_answers_byte_by_byte_is_not_waited_for() -> None:
    with webhook() as hook:
        hook.slow = True
        with pytest.raises(TransientError, match=r"gave no answer within 1 s; run d-1 is in the log"):
            send_notice(NOTICE, settings_for(hook.url, timeout_s=1.0))
        assert len(hook.taken) == 1
