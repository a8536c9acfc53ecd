"""A rebuild on a Weaviate server: the new collection is true, readers are switched by aliases, killed or not."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crash import points
from crash.held import asking, drop_collection
from crash.oracle import Line
from crash.scenario import delete, inline, record, text_of
from crash.stage import Stage
from crash.zygote import Zygote
from other_embedder import SPEC

from elysia_dagster.cli import run

FIRST: tuple[Line, ...] = (
    inline(("shop", "cart.py"), text_of("cart", 3), "add"),
    inline(("web", "index.py"), text_of("index"), "add"),
    inline(("web", "gone.py"), text_of("gone"), "add"),
    record("shop", "c1"),
)
SECOND: tuple[Line, ...] = (delete(("web", "gone.py")), inline(("shop", "cart.py"), text_of("cart")))


@dataclass(frozen=True, kw_only=True)
class Names:
    """Of one test's own."""

    old: str
    new: str
    alias: str


@pytest.fixture
def names(weaviate_url: str) -> Iterator[Names]:
    """Whatever has them in the end, goes."""
    end = uuid.uuid4().hex[:12]
    made = Names(old=f"Old{end}", new=f"New{end}", alias=f"Readers{end}")

    def drop(client: Any) -> None:
        for each in (made.alias, made.old):
            client.alias.delete(alias_name=each)

    yield made
    asking(weaviate_url, drop)
    for each in (made.old, made.new):
        drop_collection(weaviate_url, each)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote("elysia_dagster.stores.weaviate") as running:
        yield running


@pytest.fixture
def stage(zygote: Zygote, tmp_path: Path, weaviate_url: str, names: Names) -> Stage:
    """The old collection holds ``FIRST``, and readers know it by an alias."""
    made = Stage(zygote, tmp_path, weaviate=weaviate_url)
    made.sync(made.changeset("first", FIRST), collection=names.old)
    asking(weaviate_url, lambda client: client.alias.create(alias_name=names.alias, target_collection=names.old))
    return made


def means(url: str, name: str) -> str | None:
    """The collection that an alias means."""

    def ask(client: Any) -> str | None:
        found = client.alias.get(alias_name=name)
        return None if found is None else str(found.collection)

    return asking(url, ask)


def asked(names: Names, **options: Any) -> dict[str, Any]:
    return {"collection": names.old, "into": names.new, "batch_size": 2, **options}


def test_readers_are_switched_and_the_old_name_too_once_it_is_dropped(
    stage: Stage, names: Names, weaviate_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.do("rebuild", **asked(names))
    assert means(weaviate_url, names.alias) == names.old, "nothing is switched yet"
    stage.sync(stage.changeset("second", SECOND), collection=names.old)
    done = stage.do("rebuild", **asked(names, switch=True)).result()
    assert (done["switched"], done["aliases"]) == (True, [names.alias])
    stage.assert_documents(FIRST, SECOND, collection=names.new, spec=SPEC)
    stage.assert_documents(FIRST, SECOND, collection=names.old)  # kept until told otherwise

    done = stage.do("rebuild", **asked(names, drop_old=True)).result()
    assert (done["dropped"], done["aliases"]) == (True, [names.alias])
    assert means(weaviate_url, names.old) == names.new
    assert stage.do("rebuild", **asked(names, drop_old=True)).result()["dropped"], "what is done is done"
    stage.assert_documents(FIRST, SECOND, collection=names.new, spec=SPEC)

    refused = stage.start_sync(stage.changeset("third", FIRST), collection=names.old)
    assert refused.wait() == 2
    assert f"--collection {names.new}" in refused.error()
    monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_DIR", str(stage.state))
    for name in (names.alias, names.old):  # a search follows an alias
        arguments = ("--collection", name, "--store", weaviate_url, "--mode", "text", "--json")
        assert run(["index", "search", "cart_value_0", *arguments]) == 0
        assert "cart.py" in capsys.readouterr().out


def test_the_old_name_is_no_place_to_rebuild_into_once_it_is_an_alias(
    stage: Stage, names: Names, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused before the ledger says anything else than it did."""
    stage.do("rebuild", **asked(names, switch=True))
    stage.do("rebuild", **asked(names, drop_old=True))
    before = stage.rows("SELECT * FROM collections")
    monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_DIR", str(stage.state))
    where = ("--store", stage.weaviate, "--from-store", stage.weaviate, "--embedder", "hashing")
    assert run(["index", "rebuild", "--collection", names.new, "--into", names.old, *where, "--switch"]) == 2
    assert f"{names.old} is an alias of collection {names.new}" in (told := capsys.readouterr().err)
    assert "Choose another name with --into." in told
    assert stage.rows("SELECT * FROM collections") == before


def test_an_alias_of_another_collection_is_not_taken_away(
    stage: Stage, names: Names, weaviate_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    third, alias = f"Third{names.old[3:]}", f"Others{names.old[3:]}"
    stage.sync(stage.changeset("third", FIRST), collection=third)
    asking(weaviate_url, lambda client: client.alias.create(alias_name=alias, target_collection=third))
    try:
        monkeypatch.setenv("ELYSIACTL_CHECKPOINT_DB_DIR", str(stage.state))
        where = ("--store", weaviate_url, "--from-store", weaviate_url, "--embedder", "hashing", "--alias", alias)
        assert run(["index", "rebuild", "--collection", names.old, "--into", names.new, *where, "--switch"]) == 2
        assert f"{alias} is an alias of collection {third}" in capsys.readouterr().err
        assert means(weaviate_url, alias) == third
    finally:
        asking(weaviate_url, lambda client: client.alias.delete(alias_name=alias))
        drop_collection(weaviate_url, third)


@pytest.mark.parametrize("point", points.REBUILD_ALIASES)
def test_killed_between_the_switch_in_the_ledger_and_the_readers(
    stage: Stage, names: Names, weaviate_url: str, point: str
) -> None:
    everything = asked(names, switch=True, drop_old=True)
    stage.kill(stage.start("rebuild", fault=f"kill:{point}:1", **everything), point)
    done = stage.do("rebuild", **everything).result()
    assert (done["switched"], done["dropped"]) == (True, True)
    assert {means(weaviate_url, each) for each in (names.alias, names.old)} == {names.new}
    stage.assert_documents(FIRST, collection=names.new, spec=SPEC)


def test_an_alias_that_is_a_collections_name_is_refused(stage: Stage, names: Names, weaviate_url: str) -> None:
    refused = stage.start("rebuild", **asked(names, switch=True, alias=names.old))
    assert refused.wait() == 2
    assert "and cannot be an alias" in refused.error()
    assert stage.rows("SELECT COUNT(*) FROM collections WHERE rebuilt_from IS NOT NULL") == [(0,)], (
        "said before anything"
    )
    done = stage.do("rebuild", **asked(names, switch=True, alias=f"{names.alias}_2")).result()
    assert done["aliases"] == [names.alias, f"{names.alias}_2"]
    asking(weaviate_url, lambda client: client.alias.delete(alias_name=f"{names.alias}_2"))
