"""One Dagster for all tests of this folder, with fault points, and headless Chromium to look at it with."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dagster_client import DagsterClient
from dagster_processes import DagsterProcesses
from dagster_world import COLLECTION, World
from fault_file import FaultFile, faulty_dagster
from lacking import lacking
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from waiting import wait_until

JOB = "sync_changeset"
SCHEDULE = "retry_failed_lines_schedule"
VIEWPORT = {"width": 1600, "height": 1000}
PATIENCE_MS = 60_000
"""Milliseconds that the browser waits for anything to appear, at most."""


class Operator:
    """A person before the screen: the running Dagster, a page of the browser, a world that runs are launched on."""

    def __init__(self, dagster: DagsterProcesses, fault: FaultFile, page: Page, world: World) -> None:
        self.dagster = dagster
        self.client: DagsterClient = dagster.client
        self.page = page
        self.world = world
        self.fault = fault

    def run_config(self, **read: Any) -> dict[str, Any]:
        """Applies the world's changeset to the world's own state."""
        return {
            **self.world.run_config(**read),
            "resources": {"checkpoint": {"config": {"state_folder": str(self.world.state)}}},
        }

    def open_job(self, tab: str = "") -> None:
        """The page of the job."""
        place = self.client.place
        name = f"{place['repositoryName']}@{place['repositoryLocationName']}"
        self.page.goto(f"{self.dagster.url}/locations/{name}/jobs/{JOB}/{tab}")

    def open_run(self, run_id: str) -> None:
        """The page of a run, with its log."""
        self.page.goto(f"{self.dagster.url}/runs/{run_id}")
        self.page.get_by_placeholder("Filter…").wait_for()

    def open_automation(self, name: str) -> None:
        """The page of a sensor or schedule (``sensors/<name>``, ``schedules/<name>``)."""
        place = self.client.place
        where = f"{place['repositoryName']}@{place['repositoryLocationName']}"
        self.page.goto(f"{self.dagster.url}/locations/{where}/{name}")
        self.see("Frequency" if name.startswith("sensors") else "Execution timezone")

    def open_asset(self, view: str = "overview") -> None:
        """The page of the collection."""
        self.page.goto(f"{self.dagster.url}/assets/collections/{COLLECTION}?view={view}")

    def see(self, text: str) -> None:
        """Waits until the page shows the text."""
        self.page.get_by_text(text).first.wait_for()

    def press(self, name: str) -> None:
        """Presses the button of this name."""
        self.page.get_by_role("button", name=name).first.click()

    def photograph(self, name: str) -> None:
        """Writes a picture of the page into the folder SCREENSHOTS, where that is set."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.mouse.move(5, 5)
            self.page.wait_for_timeout(1000)  # what moves has come to rest
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    @contextmanager
    def launching(self) -> Iterator[list[str]]:
        """Gives a list, which after the block holds the id of the run that was launched in it."""
        known = {run["runId"] for run in self.client.runs()}
        launched: list[str] = []
        yield launched
        launched += wait_until(
            "A new run", lambda: [run["runId"] for run in self.client.runs() if run["runId"] not in known]
        )


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's, since nothing is downloaded here."""
    program = shutil.which("chromium")
    if program is None:
        lacking("needs Chromium: install it (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def faulty(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DagsterProcesses, FaultFile]]:
    """Web server and daemon; ``chromium`` comes first, since without it they are not needed."""
    with faulty_dagster(tmp_path_factory.mktemp("dagster")) as running:
        yield running


def _page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    return page


@pytest.fixture(scope="module", autouse=True)
def schedule_turned_on(
    faulty: tuple[DagsterProcesses, FaultFile], chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By its switch, before all else, since the schedule ticks once a minute."""
    dagster, fault = faulty
    context = chromium.new_context(viewport=VIEWPORT)
    with pytest.MonkeyPatch.context() as patch:
        operator = Operator(dagster, fault, _page(context), World(tmp_path_factory.mktemp("unused"), patch))
    assert operator.client.schedule(SCHEDULE) == {"status": "STOPPED", "ticks": []}
    operator.open_automation(f"schedules/{SCHEDULE}")
    operator.page.locator("label:has(input[type=checkbox])").first.click()  # the box itself is hidden
    wait_until("The schedule turned on", lambda: operator.client.schedule(SCHEDULE)["status"] == "RUNNING")
    context.close()


@pytest.fixture
def operator(
    faulty: tuple[DagsterProcesses, FaultFile], chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Operator]:
    """Before a fresh page, with a world of its own."""
    context = chromium.new_context(viewport=VIEWPORT, locale="en-GB", timezone_id="UTC", reduced_motion="reduce")
    made = Operator(*faulty, _page(context), World(tmp_path, monkeypatch))
    yield made
    made.fault.clear()
    context.close()
