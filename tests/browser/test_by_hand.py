"""What an operator does in the Dagster UI with its own buttons: launch, read, re-execute, terminate."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_processes import has_ended
from waiting import wait_until

if TYPE_CHECKING:
    from conftest import Operator

SCHEDULE = "retry_failed_lines_schedule"
STOPPED = "This run is stopped here for the test."


def write_config(operator: "Operator", text: str) -> None:
    """Puts the text into the launchpad's editor."""
    operator.open_job("playground")
    operator.page.locator(".CodeMirror").first.click()
    operator.page.keyboard.press("Control+a")
    operator.page.keyboard.insert_text(text)


def test_a_typing_error_in_the_launchpad_is_named(operator: "Operator") -> None:
    before = operator.client.runs()
    write_config(operator, "ops:\n  read_changeset:\n    config:\n      colection: Demo\n")
    operator.see('Received unexpected config entry "colection" at path root:ops:read_changeset:config.')
    launch = operator.page.get_by_role("button", name="Launch Run")
    assert launch.is_disabled()
    operator.photograph("launchpad-typing-error")
    assert operator.client.runs() == before


def test_a_run_is_launched_from_the_launchpad(operator: "Operator") -> None:
    operator.open_job()
    operator.see("finalize_run")
    operator.photograph("job")
    write_config(operator, json.dumps(operator.run_config()))
    operator.see("No missing config")
    operator.press("Launch Run")
    operator.page.wait_for_url("**/runs/*")
    run_id = operator.page.url.rstrip("/").rpartition("/")[2]
    assert operator.client.wait(run_id) == "SUCCESS"
    operator.world.assert_applied()
    operator.see("Success")
    operator.see("lines completed")
    operator.see(operator.world.the_run())
    operator.photograph("run-finished")
    operator.open_asset("checks")
    operator.see("ledger_equals_store")
    operator.photograph("asset-checks")
    operator.open_asset()
    operator.see("objects in the collection")
    operator.photograph("asset")


def test_lines_that_failed_are_told_on_the_page_with_what_mends_them(operator: "Operator") -> None:
    records = [{"path": path, "op": "modify", "repo": "repo"} for path in list(operator.world.documents)[:6]]
    operator.world.write_changeset([*records, {"path": "part0/moved_away.py", "op": "modify", "repo": "repo"}])
    run_id = operator.client.launch("sync_changeset", operator.run_config())
    assert operator.client.wait(run_id) == "FAILURE"
    operator.open_run(run_id)
    operator.see(f"Try them again with: elysiactl index retry --run-id {operator.world.the_run()}")
    operator.see("first failures")
    operator.photograph("run-failed")


def test_reexecuted_by_the_buttons_whole_and_from_failure(operator: "Operator") -> None:
    operator.fault.set("refused:before-batch-saved:3")
    first = operator.client.launch("sync_changeset", operator.run_config())
    assert operator.client.wait(first) == "FAILURE"
    operator.open_run(first)
    operator.see(STOPPED)

    operator.fault.set("refused:inserted:3")
    with operator.launching() as launched:
        operator.press("Re-execute all (*)")
    (second,) = launched
    assert operator.client.wait(second) == "FAILURE"
    said = "\n".join(operator.client.messages(second))
    assert 'Started execution of step "read_changeset".' in said
    assert operator.world.rows("SELECT status, success_count FROM sync_runs") == [("running", 11)]

    operator.open_run(second)
    operator.see(STOPPED)
    operator.page.get_by_role("button", name="Re-execute all (*)").locator("xpath=following::button[1]").click()
    with operator.launching() as launched:
        operator.page.get_by_role("menuitem", name="From failure").click()
    (third,) = launched
    assert operator.client.wait(third) == "SUCCESS"
    said = "\n".join(operator.client.messages(third))
    assert 'Started execution of step "upsert_batches".' in said
    assert 'Started execution of step "read_changeset".' not in said
    operator.world.assert_applied()


def test_terminated_in_the_ui_and_resumed_from_the_shell(operator: "Operator") -> None:
    operator.fault.set("pause:inserted:3")
    run_id = operator.client.launch("sync_changeset", operator.run_config())
    worker = operator.fault.paused()
    operator.open_run(run_id)
    operator.press("Terminate")
    operator.press("Terminate 1 run")
    assert operator.client.wait(run_id) == "CANCELED"
    wait_until("The end of the run worker", lambda: has_ended(worker))
    assert operator.world.rows("SELECT status FROM sync_runs") == [("running",)]
    resumed = subprocess.run(
        [Path(sys.executable).with_name("elysiactl"), "index", "resume"],
        env={**operator.dagster.environment, **operator.world.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert resumed.returncode == 0, resumed.stderr
    operator.world.assert_applied()


def test_the_inbox_asks_for_one_run_and_sets_a_broken_file_aside(operator: "Operator") -> None:
    inbox = Path(operator.dagster.environment["ELYSIACTL_INBOX"])
    good = {"repo": "alpha", "op": "modify", "path": "a.py", "content": "x = 1\n"}
    for name, text in (("0001.jsonl", json.dumps(good) + "\n"), ("0002.jsonl.gz", "no gzip")):
        aside = inbox / f".{name}"
        aside.write_text(text)
        aside.rename(inbox / name)
    tags = {"elysiactl/inbox_file": "0001.jsonl"}
    (run,) = wait_until("A run of the file", lambda: operator.client.runs(**tags))
    assert operator.client.wait(run["runId"]) == "SUCCESS"
    wait_until("The file among those that are done", lambda: not (inbox / "0001.jsonl").exists())
    wait_until("The broken file among those that failed", (inbox / "failed" / "0002.jsonl.gz").exists)
    assert len(operator.client.runs(**tags)) == 1
    assert not operator.client.runs(**{"elysiactl/inbox_file": "0002.jsonl.gz"})
    operator.open_automation("sensors/inbox")
    operator.see("1 run requested")
    operator.photograph("inbox-ticks")


def test_a_schedule_turned_on_in_the_ui_ticks_and_says_why_it_skips(operator: "Operator") -> None:
    def skipped() -> list[dict[str, Any]]:
        return [tick for tick in operator.client.schedule(SCHEDULE)["ticks"] if tick["status"] == "SKIPPED"]

    first = wait_until("A tick of the schedule", skipped)[-1]
    assert first["skipReason"]
    operator.open_automation(f"schedules/{SCHEDULE}")
    operator.see("View logs")  # the list of ticks is there, and not only the latest one above it
    operator.page.get_by_text("0 runs requested").last.click()
    operator.see("Skip reason:")
    operator.see(first["skipReason"])
    operator.photograph("schedule-tick")
