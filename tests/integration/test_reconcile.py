"""A collection is damaged past the adapter, and its ledger past the project: what is told of it, and what is mended."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compared_world import BIG, OTHER, SMALL, TEXTS, TRUTH, assert_true, found, mended
from crash.oracle import Oracle
from crash.scenario import inline, text_of
from damage import Damage
from sync_world import COLLECTION, World, git

from elysia_dagster.checkpoint.records import DocumentRow
from elysia_dagster.errors import CollectionMismatch, Interrupted, UsageError
from elysia_dagster.models import RunStatus, StoreObject
from elysia_dagster.sync import mend, reconcile
from elysia_dagster.sync.difference import Difference, Finding
from elysia_dagster.sync.gitquote import quote
from elysia_dagster.sync.reconcile import compared
from elysia_dagster.sync.repair import repair


def spoil_all(world: World) -> None:
    """Nothing of any content is to be had any more but what lies on disk."""
    for spool in (world.state / "work").glob("*/changeset.jsonl"):
        spool.unlink()


Harm = Callable[[Damage], Any]

KINDS: dict[str, tuple[Harm, dict[str, dict[str, int]]]] = {
    "nothing": (lambda _: None, {}),
    "an object missing": (lambda it: it.remove(BIG, 2), {"repo/big.py": {"missing": 1}}),
    "a document missing": (lambda it: it.remove(BIG), {"repo/big.py": {"nothing there": 5}}),
    "doubled": (lambda it: it.double(BIG, 1), {"repo/big.py": {"doubled": 1}}),
    "stale": (lambda it: it.make_stale(OTHER, 1), {"other/pkg/a.py": {"stale": 1}}),
    "without a vector": (lambda it: it.take_vector(SMALL), {"repo/small.py": {"without vector": 1}}),
    "a chunk too many": (lambda it: it.leave_over(SMALL, 1), {"repo/small.py": {"left over": 1}}),
    "a chunk far too many": (lambda it: it.leave_over(SMALL, 900_000), {"repo/small.py": {"left over": 1}}),
    "an unknown document": (lambda it: it.leave_over(("new", "x.py"), 3), {"new/x.py": {"left over": 1}}),
    "the ledger's hash": (lambda it: it.set_row(BIG, write_hash="0" * 64), {"repo/big.py": {"stale": 1}}),
    "the ledger's chunks": (
        lambda it: it.set_row(BIG, chunks=4, max_chunks=4),
        {"repo/big.py": {"left over": 1, "stale": 1}},
    ),
    "suspect and right": (lambda it: it.set_row(BIG, state="suspect"), {"repo/big.py": {"suspect": 0}}),
    "suspect, nobody knows": (
        lambda it: it.set_row(BIG, state="suspect", write_hash=None),
        {"repo/big.py": {"suspect": 0}},
    ),
    "writing": (lambda it: it.set_row(BIG, state="writing", write_hash=None), {"repo/big.py": {"writing": 0}}),
}
KINDS["writing"] = (KINDS["writing"][0], {"repo/big.py": {"in writing": 0}})


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_told_and_mended(damaged: tuple[World, Damage], kind: str) -> None:
    world, damage = damaged
    harm, expected = KINDS[kind]
    harm(damage)
    differing, comparison = found(world)
    assert differing == expected
    assert comparison.documents == 3
    report = mended(world)
    assert (report.remaining, report.sent_again, report.held) == (0, 0, {})
    assert report.cleared == (kind == "suspect and right")
    assert_true(world, TRUTH)


def test_a_document_that_the_ledger_lost_or_removed_goes(damaged: tuple[World, Damage]) -> None:
    world, damage = damaged
    damage.forget(BIG)
    damage.set_row(OTHER, state="absent", chunks=0, max_chunks=0, write_hash=None)
    assert found(world)[0] == {"repo/big.py": {"left over": 5}, "other/pkg/a.py": {"left over": 2}}
    assert mended(world).removed == 7
    assert_true(world, Oracle().apply([inline(SMALL, TEXTS[SMALL])]))


def test_one_repository_alone(damaged: tuple[World, Damage]) -> None:
    world, damage = damaged
    damage.remove(OTHER)
    damage.remove(SMALL)
    damage.add_foreign()
    differing, comparison = found(world, repository="other")
    assert differing == {"other/pkg/a.py": {"nothing there": 2}}
    assert (comparison.objects, comparison.documents, comparison.foreign) == (0, 1, 0)
    with compared(world.engine, COLLECTION, repository="other") as comparison:
        assert repair(comparison).remaining == 0
    assert set(found(world)[0]) == {"repo/small.py"}


def test_objects_that_are_not_ours_go_when_that_is_asked_for(damaged: tuple[World, Damage]) -> None:
    world, damage = damaged
    ids = {damage.add_foreign(), damage.add_foreign(BIG)}
    differing, comparison = found(world)
    assert (differing, comparison.foreign) == ({}, 2)
    with compared(world.engine, COLLECTION) as comparison:
        assert {id_ for id_, _, _ in comparison.first_foreign()} == ids
        assert repair(comparison).foreign == 0
        assert repair(comparison, foreign=True).foreign == 2
    assert_true(world, TRUTH)


def test_an_object_under_the_id_of_another_is_seen(damaged: tuple[World, Damage]) -> None:
    """By its id it is there, and yet no search would find the document."""
    world, damage = damaged
    damage._table.update(where="relative_path = 'small.py'", values={"relative_path": "moved.py"})
    differing, comparison = found(world)
    assert (differing, comparison.foreign) == ({"repo/small.py": {"nothing there": 1}}, 1)
    assert mended(world).rewritten == 1
    assert_true(world, TRUTH)


def test_from_the_working_tree_and_from_git(world: World) -> None:
    files = {"here.py": text_of("here"), "changed.py": text_of("changed"), "gone.py": text_of("gone")}
    for name, text in files.items():
        world.write(f"repo/{name}", text)
    world.git("repo", "init", "-q")
    world.git("repo", "add", ".")
    world.git("repo", "commit", "-qm", "first")
    first = world.git("repo", "rev-parse", "HEAD").strip()
    lines = [{"repo": "repo", "path": name, "op": "add"} for name in files]
    world.sync(*lines, {"repo": "repo", "new_changeset": {"commit": first}})
    oracle = Oracle().apply([inline(("repo", name), text) for name, text in files.items()])
    world.write("repo/changed.py", "x = 1\n")
    (world.root / "repo/gone.py").unlink()
    world.git("repo", "commit", "-qam", "second")
    damage = Damage(world.state)
    for name in files:
        damage.remove(("repo", name))
    assert mended(world).rewritten == 3
    assert_true(world, oracle)

    git(world.root / "repo", "checkout", "-q", "--orphan", "new")
    git(world.root / "repo", "commit", "-qm", "third")
    world.query("UPDATE repository_changesets SET commit_id = '--output=x'")
    damage = Damage(world.state)
    for name in files:
        damage.double(("repo", name))
    world.query("UPDATE sync_runs SET changeset_info = NULL")
    for plan in (world.state / "work").glob("*/plan.arrow"):
        plan.unlink()
    report = mended(world)
    assert (report.rewritten, report.sent_again) == (1, 2)
    assert report.file is not None
    left = {line["path"]: line["op"] for line in map(json.loads, report.file.read_text().splitlines())}
    assert left == {"changed.py": "add", "gone.py": "delete"}
    assert str(report.file) in report.command
    world.sync_file(report.file)
    assert_true(
        world,
        Oracle().apply([inline(("repo", "here.py"), files["here.py"]), inline(("repo", "changed.py"), "x = 1\n")]),
    )


def test_what_is_not_to_be_had_is_sent_again(damaged: tuple[World, Damage], tmp_path: Path) -> None:
    world, damage = damaged
    damage.double(BIG)
    damage.take_vector(SMALL)
    damage.remove(OTHER, 1)
    spoil_all(world)
    report = mended(world, send_again=tmp_path / "rest.jsonl")
    assert (report.remaining, report.sent_again, report.file) == (3, 3, tmp_path / "rest.jsonl")
    assert "--store lancedb:" in report.command
    assert "--collection Demo" in report.command
    # what a sync would not mend is gone, and no sync takes the rest for unchanged
    assert {kind for each in found(world)[0].values() for kind in each} == {"suspect"}
    for (repository, path), text in TEXTS.items():
        world.write(f"{repository}/{path}", text)
    world.sync_file(tmp_path / "rest.jsonl")
    assert_true(world, TRUTH)


def test_what_the_store_rejects_is_told(damaged: tuple[World, Damage], monkeypatch: pytest.MonkeyPatch) -> None:
    world, damage = damaged
    damage.remove(SMALL)
    damage.remove(OTHER)
    store = world.engine.store()
    whole = store.upsert

    def refuse(collection: str, objects: list[StoreObject]) -> list[str | None]:
        refused = ["too odd" if each.relative_path == "small.py" else None for each in objects]
        whole(collection, [each for each, reason in zip(objects, refused, strict=True) if reason is None])
        return refused

    with monkeypatch.context() as patched:
        patched.setattr(store, "upsert", refuse)
        report = mended(world)
    assert (report.reasons, report.remaining, report.rewritten) == ({"repo/small.py": "too odd"}, 1, 1)
    assert mended(world).remaining == 0
    assert_true(world, TRUTH)


def test_many_documents_in_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in ((reconcile, "SLICE", 3), (reconcile, "LOOKED_AT_ONCE", 4), (mend, "MENDED_CHUNKS", 3)):
        monkeypatch.setattr(module, name, value)
    lines = [inline((f"repo{number % 3}", f"é{number}.py"), text_of("x", 1 + number % 4)) for number in range(17)]
    world.sync(*(each.raw for each in lines))
    damage = Damage(world.state)
    for number in range(0, 17, 2):
        damage.remove((f"repo{number % 3}", f"é{number}.py"), 0)
    differing, comparison = found(world)
    assert len(differing) == comparison.differing == 9
    assert list(differing) == sorted(differing)
    assert mended(world).rewritten == 9
    assert_true(world, Oracle().apply(lines))


def test_after_an_adoption_what_is_not_ours_is_listed_and_the_rest_suspect(
    damaged: tuple[World, Damage], tmp_path: Path
) -> None:
    first, damage = damaged
    id_ = damage.add_foreign()
    url = first.engine.store_url()
    (tmp_path / "second").mkdir()
    with World(tmp_path / "second") as second:
        with pytest.raises(CollectionMismatch, match="--adopt"), compared(second.engine, COLLECTION, store=url):
            pass
        second.sync(inline(SMALL, TEXTS[SMALL]).raw, store=url, adopt=True)
        differing, _ = found(second, store=url)
        assert differing == {"repo/big.py": {"suspect": 0}, "other/pkg/a.py": {"suspect": 0}}
        with compared(second.engine, COLLECTION, store=url) as comparison:
            assert [each[0] for each in comparison.first_foreign()] == [id_]
            report = repair(comparison)
        assert (report.remaining, report.sent_again) == (2, 2)
        with pytest.raises(CollectionMismatch), compared(first.engine, COLLECTION):
            pass


def test_it_stops_when_it_is_asked_to(damaged: tuple[World, Damage]) -> None:
    world, damage = damaged
    damage.remove(SMALL)
    stopped = world.open_engine(parts={"stop_requested": lambda: True})
    with pytest.raises(Interrupted, match="changes nothing"), compared(stopped, COLLECTION):
        pass
    asked: list[str] = []
    stopping = world.open_engine(parts={"faults": asked.append, "stop_requested": lambda: "reconcile-claimed" in asked})
    with compared(stopping, COLLECTION) as comparison, pytest.raises(Interrupted, match="index reconcile --collection"):
        repair(comparison)
    assert mended(world).remaining == 0
    assert_true(world, TRUTH)


def test_no_collection(world: World) -> None:
    with pytest.raises(UsageError, match="no collection"), compared(world.engine, COLLECTION):
        pass


def test_from_the_shell(shell: Any) -> None:
    shell.write(read_py="x = 1\n", other_py="y = 1\n")
    assert shell.call("reconcile").code == 2
    assert shell.call("sync", "--stdin", stdin=b"read.py\nother.py\n").code == 0
    fine = shell.call("reconcile")
    assert (fine.code, "0 documents differ" in fine.out) == (0, True)
    damage = Damage(shell.state)
    damage.remove(("demo", "read.py"))
    damage.double(("demo", "other.py"))
    damage.add_foreign()
    told = shell.call("reconcile")
    assert told.code == 1
    for words in ("2 documents differ", "nothing there", "doubled", "demo/read.py", "not ours"):
        assert words in told.out
    machine = json.loads(shell.call("reconcile", "--json").out)
    assert (machine["differing"], machine["foreign"], machine["repair"]) == (2, 1, None)
    assert machine["differences"]["doubled"] == {"documents": 1, "objects": 1}
    assert shell.call("reconcile", "--foreign").code == 2
    (shell.repository / "other.py").write_text("z = 2\n")
    done = shell.call("reconcile", "--repair", "--send-again", "rest.jsonl")
    assert done.code == 1
    assert "1 document deleted and written anew" in done.out
    command = done.out.splitlines()[-1].partition("Apply it: ")[2].split()
    assert shell.call(*command[2:]).code == 0
    assert shell.call("reconcile", "--repair", "--foreign", "--json").code == 0
    last = shell.call("reconcile")
    assert (last.code, "not ours" in last.out) == (0, False)
    assert "reconcile-" in shell.call("status").out


def test_a_finding_is_kept_whole() -> None:
    row = DocumentRow("r", "p", reconcile.DocumentState.SUSPECT, (3, 4), "c", None, "k", 2, 5, None)
    held = reconcile.HeldDocument(
        repository="r", path="p", hashes={0: "a", 7: ""}, contents={0: "c"}, doubled=frozenset([0])
    )
    finding = Finding({Difference.DOUBLED: 1, Difference.SUSPECT: 0}, held, row, False)
    assert Finding.from_json(finding.to_json()) == finding
    assert Finding.from_json(finding._replace(row=None).to_json()).row is None


def test_what_is_to_be_sent_again_asks_for_just_that_document(world: World, tmp_path: Path) -> None:
    """Names that a line could mean otherwise: an arrow would be a rename, a quotation mark a quoted name."""
    names = ("a", "b.py", "a -> b.py", '"q".py')
    for name in names:
        world.write(f"repo/{name}", text_of("first", 2))
    world.sync(*({"repo": "repo", "path": quote(name), "op": "add"} for name in names))
    for name in names[2:]:
        Damage(world.state).remove(("repo", name), 1)
        world.write(f"repo/{name}", text_of("changed", 2))
    spoil_all(world)
    assert mended(world, send_again=tmp_path / "rest.jsonl").sent_again == 2
    assert world.sync_file(tmp_path / "rest.jsonl").status is RunStatus.COMPLETED
    changed = dict.fromkeys((("repo", name) for name in names[2:]), text_of("changed", 2))
    kept = dict.fromkeys((("repo", name) for name in names[:2]), text_of("first", 2))
    assert_true(world, Oracle().apply(tuple(inline(key, text, "add") for key, text in (kept | changed).items())))


def test_an_object_under_the_id_of_another_is_removed_before_that_is_mended(damaged: tuple[World, Damage]) -> None:
    world, damage = damaged
    damage._table.update(where="relative_path = 'small.py'", values={"relative_path": "moved.py"})
    report = mended(world, foreign=True)
    assert (report.rewritten, report.foreign, report.remaining) == (1, 1, 0)
    assert_true(world, TRUTH)
