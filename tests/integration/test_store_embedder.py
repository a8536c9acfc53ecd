"""``--embedder store``: the store makes the vectors; the ledger holds the collection to the name of its model."""

import hashlib
from typing import Any

import pytest
from crash.within import Stopped, go_on, run_ids, stop_at
from sync_world import RecordingStore, World

from elysia_dagster.embedders import open_embedder
from elysia_dagster.embedders.store import StoreEmbedder
from elysia_dagster.errors import CollectionMismatch, UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.sync import engine as engine_module
from elysia_dagster.sync.batch import write_hash

MODEL = "text2vec-model2vec/256"


def line(path: str, text: str = "def total(items):\n    return sum(items)\n", op: str = "add") -> dict[str, Any]:
    return {"repo": "repo", "op": op, "path": path, "content": text}


@pytest.fixture
def store(light_world: World) -> RecordingStore:
    """A store with a vectorizer, behind the light world's engine."""
    assert light_world.recording is not None
    light_world.recording.own_model = MODEL
    return light_world.recording


def test_it_gives_texts_without_vectors() -> None:
    embedder = StoreEmbedder(MODEL)
    assert (embedder.model_id, embedder.dimensions) == (f"store:{MODEL}", 0)
    assert StoreEmbedder(embedder.model_id).model_id == embedder.model_id
    vectors = embedder.embed(["a", "b"])
    assert (vectors.shape, str(vectors.dtype)) == ((2, 0), "float32")
    assert embedder.embed([]).shape == (0, 0)
    text = ["readChangesetLine(x1)", "", "two words"]
    assert embedder.count_tokens(text) == open_embedder("hashing").count_tokens(text)
    embedder.check()
    embedder.close()
    embedder.close()


def test_objects_go_without_a_vector_and_their_hash_tells_text_and_model(
    light_world: World, store: RecordingStore
) -> None:
    run = light_world.sync(line("a.py"), line("b.py", "x = 1\n"), embedder="store")
    assert run.status is RunStatus.COMPLETED
    assert {each.vector is None for each in store.objects.values()} == {True}
    assert light_world.query("SELECT model, dimensions FROM collections") == [(f"store:{MODEL}", 0)]
    hashes = {each.relative_path: each.write_hash for each in store.objects.values()}
    no_vector = StoreEmbedder(MODEL).embed([""])[0]
    chunker = light_world.query("SELECT DISTINCT chunker FROM documents")[0][0]
    content_hash = hashlib.sha256(b"x = 1\n").hexdigest()
    known_by = write_hash("x = 1\n", no_vector, model_id=f"store:{MODEL}", chunker=chunker, content_hash=content_hash)
    assert hashes["b.py"] == known_by
    store.take_sent()
    light_world.sync(line("a.py", op="modify"), line("b.py", "x = 2\n", op="modify"), embedder="store")
    assert store.take_sent() == ["repo/b.py"], "what is unchanged is not sent again"


def test_a_run_killed_with_its_batch_saved_is_gone_on_with(light_world: World, store: RecordingStore) -> None:
    stop_at(light_world, "batch-saved")
    with pytest.raises(Stopped):
        light_world.sync(line("a.py"), line("b.py", "x = 1\n" * 2000), embedder="store")
    go_on(light_world)
    (run_id,) = run_ids(light_world)
    (saved,) = (light_world.state / "work" / run_id).glob("batch-*.arrow")
    assert b"store:" in saved.read_bytes()
    light_world.resume(run_id)
    assert light_world.report.run.status is RunStatus.COMPLETED
    assert light_world.report.objects == len(store.objects) > 2  # type: ignore[union-attr]


def test_a_saved_batch_is_taken_as_it_is(light_world: World, store: RecordingStore) -> None:
    stop_at(light_world, "embedded")
    with pytest.raises(Stopped):
        light_world.sync(line("a.py"), embedder="store")
    go_on(light_world)
    embedder = light_world.engine.embedder("store", collection="Demo")
    embedder.embed = lambda _texts: pytest.fail("embedded twice")  # type: ignore[assignment]
    light_world.resume(run_ids(light_world)[0])
    assert len(store.objects) == 1


def test_a_dry_run_counts_words_and_sends_nothing(light_world: World, store: RecordingStore) -> None:
    preview = light_world.preview(line("a.py", "one two three\n"), embedder="store")
    assert (preview.added, preview.chunks, preview.tokens) == (1, 1, 3)
    assert not store.collections


@pytest.mark.parametrize("url", ["lancedb", "recording"])
def test_a_store_without_a_vectorizer_says_what_to_set(world: World, light_world: World, url: str) -> None:
    where = world if url == "lancedb" else light_world
    with pytest.raises(UsageError, match=r"makes no vectors of its own.*ELYSIACTL_WEAVIATE_VECTORIZER.*--embedder"):
        where.sync(line("a.py"), embedder="store")
    assert where.query("SELECT status FROM sync_runs WHERE status = 'running'") == []
    assert where.query("SELECT * FROM collections") == []


def test_another_vectorizer_is_another_embedder(light_world: World, store: RecordingStore) -> None:
    light_world.sync(line("a.py"), embedder="store")
    store.own_model = "text2vec-other"
    with pytest.raises(CollectionMismatch, match=f"began with store:{MODEL}; this embedder is store:text2vec-other"):
        light_world.begin(line("b.py"), embedder="store", engine=light_world.open_engine())
    with pytest.raises(CollectionMismatch, match=f"began with store:{MODEL}; this embedder is hashing"):
        light_world.begin(line("b.py"))


def test_help_names_every_form_of_store_and_embedder(shell: Any) -> None:
    for command in ("sync", "search"):
        text = " ".join(shell.call(command, "--help").out.split())
        assert "lancedb:<folder>, weaviate:http[s]://host:port, or weaviate: alone" in text
        assert "fastembed:<model>, or store for the store's own vectorizer" in text


def test_a_search_sends_the_text_and_needs_no_embedder(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RecordingStore()
    store.own_model = MODEL
    monkeypatch.setattr(engine_module.Engine, "store", lambda _engine, _url="": store)
    shell.write(read_py="x = 1\n")
    assert shell.call("sync", "--stdin", "--embedder", "store", stdin=b"read.py\n").code == 0
    for arguments in ((), ("--embedder", "store"), ("--mode", "vector")):
        assert shell.call("search", "where", *arguments).code == 0
        (query,) = store.queries
        assert (query.text, query.vector) == ("where", None)
        store.queries.clear()
    other = shell.call("search", "where", "--embedder", "hashing")
    assert (other.code, f"store:{MODEL}" in other.err) == (2, True)
