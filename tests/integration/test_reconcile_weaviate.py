"""A collection on a Weaviate server, damaged by its own client: told, and mended."""

import uuid
from pathlib import Path
from typing import Any

from crash.held import asking, weaviate_holds
from crash.scenario import inline, text_of
from sync_world import World

from elysia_dagster.models import object_id
from elysia_dagster.sync.reconcile import compared
from elysia_dagster.sync.repair import repair

NAMES = ("missing.py", "stale.py", "bare.py", "more.py", "fine.py")


def test_it_is_told_and_mended(tmp_path: Path, weaviate_url: str) -> None:
    name = f"Reconciled{uuid.uuid4().hex[:12]}"
    foreign = str(uuid.uuid4())

    def harm(client: Any) -> None:
        collection = client.collections.use(name)
        ids = {path: object_id(name, "repo", path, 0) for path in NAMES}
        collection.data.delete_by_id(ids["missing.py"])
        collection.data.update(ids["stale.py"], properties={"write_hash": "another"})
        whole = collection.query.fetch_object_by_id(ids["bare.py"])
        collection.data.delete_by_id(ids["bare.py"])
        collection.data.insert(whole.properties, uuid=ids["bare.py"])
        more = collection.query.fetch_object_by_id(ids["more.py"], include_vector=True)
        vector = more.vector["default"]
        collection.data.insert(
            {**more.properties, "chunk_index": 7}, uuid=object_id(name, "repo", "more.py", 7), vector=vector
        )
        collection.data.insert({**more.properties, "repository": "theirs"}, uuid=foreign, vector=vector)

    with World(
        tmp_path,
    ) as world:
        engine = world.open_engine(store=weaviate_url)
        lines = [inline(("repo", path), text_of(path.removesuffix(".py"), 2)).raw for path in NAMES]
        world.finish(world.begin(*lines, engine=engine, collection=name, store=weaviate_url), engine)
        asking(weaviate_url, harm)
        with compared(engine, name) as comparison:
            told = {
                each.held.path: {kind.value: count for kind, count in each.differences.items()}
                for each in comparison.first_findings()
            }
            assert told == {
                "missing.py": {"missing": 1},
                "stale.py": {"stale": 1},
                "bare.py": {"without vector": 1},
                "more.py": {"left over": 1},
            }
            assert [each[0] for each in comparison.first_foreign()] == [foreign]
            report = repair(comparison, foreign=True)
        assert (report.remaining, report.rewritten, report.removed, report.foreign) == (0, 3, 1, 1)
        with compared(engine, name) as comparison:
            assert (comparison.differing, comparison.foreign, comparison.objects) == (0, 0, 10)
        held = weaviate_holds(weaviate_url, name)
        assert all(each.vector is not None for each in held)
        assert {each.properties["write_hash"] for each in held}.isdisjoint({"another"})
