"""A collection keeps to the embedder that it began with, and says so without asking anybody."""

from dataclasses import replace
from pathlib import Path

import pytest

from elysia_dagster.checkpoint import queries
from elysia_dagster.errors import CollectionMismatch
from elysia_dagster.settings import Settings
from elysia_dagster.sync import drive
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.request import SyncRequest


def test_another_embedder_is_refused_before_its_endpoint_is_asked(tmp_path: Path) -> None:
    settings = Settings(
        checkpoint_db_dir=str(tmp_path / "state"), openai_base_url="http://127.0.0.1:9/v1", openai_api_key="key-1"
    )
    (tmp_path / "a.py").write_text("a = 1\n")
    changeset = tmp_path / "changeset"
    changeset.write_text("a.py\n")
    request = SyncRequest(changeset=changeset, collection="Demo", roots=(tmp_path,))
    engine = Engine.open(settings)
    try:
        drive.carry_out(engine, drive.sync(engine, request), lambda _work, _report: None)
        with pytest.raises(CollectionMismatch, match=r"Demo began with hashing.*this embedder is openai:other"):
            drive.sync(engine, replace(request, embedder="openai:other", force=True))
        assert not queries.unfinished_runs(engine.database), "the same changeset, asked for rightly, is another run"
    finally:
        engine.close()
