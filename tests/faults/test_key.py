"""A server that wants a key: what a wrong one and none get, and where the key must never be found."""

import asyncio
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dagster_world
import pytest
import weaviate
from crash import dagster_driver
from crash.held import drop_collection
from crash.oracle import COLLECTION, Oracle, assert_everything, assert_store
from crash.scenario import BLANK, delete, inline, on_disk, text_of
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from weaviate.classes.init import Auth
from weaviate_server import WeaviateServer

from elysia_dagster.cli import run

pytestmark = pytest.mark.weaviate

KEY = "right-key-6f1d0c4be2"
WRONG = "wrong-key-0a9b8c7d6e"
LINES = (inline(("repo", "a.py"), text_of("a", 3), "add"), inline(("repo", "b.py"), text_of("b"), "add"))

ONLY_WITH_KEY = {
    "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
    "AUTHENTICATION_APIKEY_ENABLED": "true",
    "AUTHENTICATION_APIKEY_ALLOWED_KEYS": KEY,
    "AUTHENTICATION_APIKEY_USERS": "writer",
}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, weaviate_binary: None) -> Iterator[WeaviateServer]:
    """A server that lets nobody in without the key."""
    with WeaviateServer(tmp_path_factory.mktemp("locked"), environment=ONLY_WITH_KEY) as server:
        yield server


@pytest.fixture(autouse=True)
def reader(locked: WeaviateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads the truth past the adapter has the key; what an earlier test has made is dropped."""
    connect = partial(weaviate.connect_to_custom, auth_credentials=Auth.api_key(KEY))
    monkeypatch.setattr(weaviate, "connect_to_custom", connect)
    for name in list(os.environ):
        if name.lower().startswith(("elysiactl_", "wcd_")):
            monkeypatch.delenv(name)
    drop_collection(locked.url, COLLECTION)


def assert_nowhere(folder: Path) -> None:
    """No file below a folder holds a key, byte for byte."""
    files = [each for each in folder.rglob("*") if each.is_file()]
    assert files
    told = [each for each in files for key in (KEY, WRONG) if key.encode() in each.read_bytes()]
    assert not told


def test_the_command(
    locked: WeaviateServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit 3 and one sentence that says what to set; with the right key the same command goes on."""
    state = tmp_path / "state"
    changeset = tmp_path / "changeset.jsonl"
    changeset.write_bytes(b"".join(line.raw + b"\n" for line in LINES))
    monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_DIR", str(state))
    monkeypatch.setenv("ELYSIACTL_STORE_RETRY", "2")
    collection = ["--collection", COLLECTION, "--store", locked.url]
    sync = ["index", "sync", str(changeset), *collection, "--root", str(tmp_path)]
    search = ["index", "search", "a value", *collection]

    def said(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        output = capfd.readouterr()
        assert KEY not in output.out + output.err
        assert WRONG not in output.out + output.err
        assert "This is a bug" not in output.err
        return code, output.out, output.err

    def assert_refused(*arguments: str) -> None:
        code, _, errors = said(*arguments)
        told = [line for line in errors.splitlines() if "ELYSIACTL_WEAVIATE_API_KEY" in line]
        assert code == 3, errors
        assert len(told) == 1, errors
        assert f"127.0.0.1:{locked.http_port}" in told[0]

    assert_refused(*sync)
    for variable in ("WCD_API_KEY", "ELYSIACTL_WEAVIATE_API_KEY"):
        monkeypatch.setenv(variable, WRONG)
        for arguments in (sync, [*sync, "--verbose"], search):
            assert_refused(*arguments)
        monkeypatch.delenv(variable)
    monkeypatch.setenv("WCD_API_KEY", KEY)
    assert said(*sync, "--verbose")[0] == 0
    monkeypatch.delenv("WCD_API_KEY")
    monkeypatch.setenv("ELYSIACTL_WEAVIATE_API_KEY", KEY)
    assert said(*sync, "--json")[0] == 0
    code, found, _ = said(*search)
    assert (code, "repo/a.py" in found) == (0, True)
    assert said("index", "status", "--json")[0] == 0
    assert_nowhere(tmp_path)
    oracle = Oracle().apply(LINES)
    assert_store(state, oracle, weaviate=locked.url)


def test_white_space_in_a_key(
    locked: WeaviateServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Around it, as a mounted secret has it, it is no matter; in the middle it is told, and the key is not."""
    changeset = tmp_path / "changeset.jsonl"
    changeset.write_bytes(b"".join(line.raw + b"\n" for line in LINES))
    monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_DIR", str(tmp_path / "state"))
    sync = ["index", "sync", str(changeset), "--collection", COLLECTION, "--store", locked.url, "--root", str(tmp_path)]
    for variable in ("WCD_API_KEY", "ELYSIACTL_WEAVIATE_API_KEY"):
        for wrong in (f"{KEY}\n{KEY}", f"{KEY}\u00e9"):
            monkeypatch.setenv(variable, wrong)
            code = run([*sync, "--verbose"])
            output = capfd.readouterr()
            assert code == 2, output.err
            assert variable in output.err
            assert KEY not in output.out + output.err
            assert "tried" not in output.err, "nothing was, once more"
        monkeypatch.delenv(variable)
    monkeypatch.setenv("ELYSIACTL_WEAVIATE_API_KEY", f"\n{KEY}\n")
    code = run([*sync, "--verbose"])
    output = capfd.readouterr()
    assert code == 0, output.err
    assert KEY not in output.out + output.err
    assert_nowhere(tmp_path)


@pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning")
def test_the_job(
    locked: WeaviateServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nor in what Dagster keeps and shows: events, run record, log files, the answer of its web server."""
    world = dagster_world.World(tmp_path, monkeypatch)
    monkeypatch.setenv("ELYSIACTL_STORE", locked.url)
    monkeypatch.setenv("ELYSIACTL_STORE_RETRY", "1")
    monkeypatch.setenv("ELYSIACTL_WEAVIATE_API_KEY", WRONG)
    success, failed, reason = dagster_driver.attempt(world.run_config())
    assert not success
    assert "ELYSIACTL_WEAVIATE_API_KEY" in reason
    monkeypatch.setenv("ELYSIACTL_WEAVIATE_API_KEY", KEY)
    success, metadata, reason = dagster_driver.attempt(world.run_config(), parent=failed["run"])
    assert success, reason
    shown = "".join(page(failed["run"]) + page(metadata["run"]))
    assert "StoreUnavailable" in shown or "refuses the key" in shown, "the page shows the failure"
    output = capfd.readouterr()
    for key in (KEY, WRONG):
        assert key not in shown
        assert key not in output.out + output.err
    assert_nowhere(tmp_path)
    written = [on_disk(("repo", path), text) for path, text in world.documents.items()]
    lines = [*written, delete(("repo", dagster_world.DELETED)), BLANK]
    assert_everything(world.state, Oracle().apply(lines), weaviate=locked.url)


def page(run_id: str) -> str:
    """What Dagster's web server answers of a run: config, tags, steps and every event with its error."""
    from dagster_graphql.schema import create_schema

    with (
        DagsterInstance.get() as instance,
        WorkspaceProcessContext(instance, workspace_load_target=EmptyWorkspaceTarget()) as context,
    ):
        answer = asyncio.run(
            create_schema().execute_async(
                QUERY, variables={"runId": run_id}, context_value=context.create_request_context()
            )
        )
    assert not answer.errors, answer.errors
    return str(answer.data)


QUERY = """
query Run($runId: ID!) {
  runOrError(runId: $runId) {
    ... on Run {
      status runConfigYaml tags { key value } stats { __typename }
      eventConnection {
        events {
          __typename
          ... on MessageEvent { message }
          ... on ErrorEvent { error { message stack causes { message stack } } }
          ... on DisplayableEvent { description metadataEntries { label ... on TextMetadataEntry { text } } }
        }
      }
    }
  }
}
"""
