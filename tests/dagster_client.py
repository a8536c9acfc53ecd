"""What the Dagster UI does with its server, without a browser: launch, re-execute, terminate, read runs and ticks."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from waiting import wait_until

FINISHED = ("SUCCESS", "FAILURE", "CANCELED")
PATIENCE_S = 120.0
"""Seconds that the end of a run is waited for, at most: two cores may be busy with other things."""

LOOK_EVERY_S = 0.25
"""Seconds between two looks: each costs the web server time that the runs want."""

_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on PythonError { message } } }"""
_REEXECUTE = """mutation ($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_TERMINATE = """mutation ($id: String!) { terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) { __typename } }"""
_RUN = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status tags { key value } } } }"
_RUNS = "query { runsOrError { ... on Runs { results { runId status tags { key value } } } } }"
_EVENTS = """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename
  ... on MessageEvent { message stepKey } } } } }"""
_PLACE = "query { repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
_DAEMONS = "query { instance { daemonHealth { allDaemonStatuses { daemonType healthy required lastHeartbeatTime } } } }"
_SENSOR = """query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { __typename
  ... on Sensor { sensorState { status ticks(limit: 50) { status skipReason runIds error { message } } } } } }"""
_SCHEDULE = """query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) { __typename
  ... on Schedule { scheduleState { status ticks(limit: 50) { status skipReason runIds error { message } } } } } }"""


class DagsterClient:
    """One web server. What it refuses raises ``AssertionError`` with its words."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._place: dict[str, str] | None = None

    def query(self, text: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": text, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        assert "errors" not in told, told["errors"]
        data: dict[str, Any] = told["data"]
        return data

    def answers(self) -> bool:
        """Whether the server is there and has loaded the definitions."""
        try:
            return bool(self.query(_PLACE)["repositoriesOrError"]["nodes"])
        except OSError:
            return False

    def daemon_is_well(self, *, since: float) -> bool:
        """Whether each part of the daemon that this instance needs has had a good heartbeat since then (Unix time)."""
        told = self.query(_DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        required = [each for each in told if each["required"]]
        return bool(required) and all(each["healthy"] and each["lastHeartbeatTime"] > since for each in required)

    @property
    def place(self) -> dict[str, str]:
        """Location and repository, as selectors name them."""
        if self._place is None:
            (found,) = self.query(_PLACE)["repositoriesOrError"]["nodes"]
            self._place = {"repositoryLocationName": found["location"]["name"], "repositoryName": found["name"]}
        return self._place

    def launch(self, job: str, run_config: dict[str, Any], tags: dict[str, str] | None = None) -> str:
        """Puts a run into the queue, as the launchpad does; its id."""
        params = {
            "selector": {**self.place, "pipelineName": job},
            "runConfigData": run_config,
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
        }
        return _run_id(self.query(_LAUNCH, params=params)["launchRun"])

    def reexecute(self, run_id: str, *, whole: bool = False) -> str:
        """Re-executes a run from its failure, or ``whole``; the new run's id."""
        params = {"parentRunId": run_id, "strategy": "ALL_STEPS" if whole else "FROM_FAILURE"}
        return _run_id(self.query(_REEXECUTE, params=params)["launchRunReexecution"])

    def terminate(self, run_id: str) -> None:
        """Asks the run to end."""
        told = self.query(_TERMINATE, id=run_id)["terminateRun"]["__typename"]
        assert told == "TerminateRunSuccess", told

    def status(self, run_id: str) -> str:
        """Of one run: QUEUED, STARTING, STARTED, SUCCESS, FAILURE, CANCELING, CANCELED."""
        return str(self.query(_RUN, id=run_id)["runOrError"]["status"])

    def runs(self, **tags: str) -> list[dict[str, Any]]:
        """Every run with these tags, the newest first: ``runId``, ``status`` and ``tags``."""
        found = self.query(_RUNS)["runsOrError"]["results"]
        for each in found:
            each["tags"] = {tag["key"]: tag["value"] for tag in each["tags"]}
        return [each for each in found if tags.items() <= each["tags"].items()]

    def messages(self, run_id: str) -> list[str]:
        """Everything that the run's page lists, in order."""
        events = self.query(_EVENTS, id=run_id)["logsForRun"]["events"]
        return [each["message"] for each in events if each.get("message")]

    def wait(self, run_id: str, statuses: Sequence[str] = FINISHED, *, patience_s: float = PATIENCE_S) -> str:
        """Waits until the run has one of these statuses; which."""
        seen = ""

        def look() -> bool:
            nonlocal seen
            seen = self.status(run_id)
            return seen in statuses

        try:
            wait_until(f"Run {run_id} as {' or '.join(statuses)}", look, patience_s=patience_s, every_s=LOOK_EVERY_S)
        except AssertionError as error:
            raise AssertionError(f"{error}: it is {seen}\n" + "\n".join(self.messages(run_id))) from error
        return seen

    def sensor(self, name: str) -> dict[str, Any]:
        """Status and ticks of a sensor, the newest first."""
        found = self.query(_SENSOR, selector={**self.place, "sensorName": name})["sensorOrError"]
        state: dict[str, Any] = found["sensorState"]
        return state

    def schedule(self, name: str) -> dict[str, Any]:
        """The same of a schedule."""
        found = self.query(_SCHEDULE, selector={**self.place, "scheduleName": name})["scheduleOrError"]
        state: dict[str, Any] = found["scheduleState"]
        return state


def _run_id(told: dict[str, Any]) -> str:
    assert told["__typename"] == "LaunchRunSuccess", told
    return str(told["run"]["runId"])
