"""A collection made anew by another embedder, from what the ledger knows; syncs meanwhile; the switch; the way back."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import other_embedder
import pytest
from crash.held import LANCEDB_TOLERANCE, lancedb_holds
from crash.oracle import Line, Oracle, assert_collection, assert_ledger
from crash.scenario import delete, inline, on_disk, record, rename, text_of
from crash.within import Stopped, apply, go_on, stop_at
from sync_world import World, git

from elysia_dagster.checkpoint.lookup import load_run
from elysia_dagster.checkpoint.retention import forget_collection
from elysia_dagster.errors import CollectionMismatch, RepositoriesHeld, UsageError
from elysia_dagster.models import RunStatus
from elysia_dagster.settings import DATABASE_NAME
from elysia_dagster.sync.drive import carry_out
from elysia_dagster.sync.engine import Engine
from elysia_dagster.sync.finalize import SyncReport
from elysia_dagster.sync.rebuild import RebuildReport, RebuildRequest, rebuild
from elysia_dagster.sync.reconcile import compared
from elysia_dagster.sync.repair import repair
from elysia_dagster.sync.request import ChangesetManifest
from elysia_dagster.sync.resume import resume_run

NEW = "Anew"
SHOP: tuple[Line, ...] = (
    inline(("shop", "cart.py"), text_of("cart", 3), "add"),
    inline(("shop", "odd -> name.py"), text_of("arrow"), "add"),
    on_disk(("shop", "disk.py"), text_of("disk", 2), "add"),
    inline(("web", "index.py"), text_of("index"), "add"),
    inline(("web", "gone.py"), text_of("gone"), "add"),
    delete(("web", "gone.py")),
    record("shop", "c1", "c0"),
    record("web", "w1"),
)


@pytest.fixture
def demo(world: World) -> World:
    """A world whose collection holds two repositories, and that knows another embedder."""
    other_embedder.teach(world.engine)
    world.write("shop/disk.py", text_of("disk", 2))
    (world.root / "web").mkdir()
    apply(world, SHOP)
    return world


def anew(world: World, *, engine: Engine | None = None, **options: Any) -> RebuildReport:
    """Rebuilds, by default into ``NEW`` with the other embedder."""
    engine = engine or world.engine

    def finish(manifest: ChangesetManifest) -> SyncReport:
        done = carry_out(engine, manifest, lambda _work, _report: None)
        assert isinstance(done, SyncReport)
        return done

    fields: dict[str, Any] = {
        "collection": world.collection,
        "into": NEW,
        "embedder": other_embedder.SPEC,
        "batch_size": 2,
        **options,
    }
    return rebuild(engine, RebuildRequest(**fields), finish)


def assert_anew(world: World, *changesets: tuple[Line, ...], collection: str = NEW, spec: str | None = None) -> None:
    """The new collection and its ledger are what these changesets make of the old one."""
    oracle = Oracle()
    for lines in changesets:
        oracle.apply(lines)
    spec = spec or other_embedder.SPEC
    assert_collection(
        lancedb_holds(world.state, collection), oracle, tolerance=LANCEDB_TOLERANCE, collection=collection, spec=spec
    )
    with closing(sqlite3.connect(world.state / DATABASE_NAME)) as connection:
        connection.row_factory = sqlite3.Row
        assert_ledger(connection, oracle, collection=collection, spec=spec)
    assert commits(world, collection) == {name: commit for name, (commit, _) in oracle.commits.items()}


def commits(world: World, collection: str) -> dict[str, str]:
    return dict(
        world.query(
            "SELECT repository, commit_id FROM repository_changesets JOIN collections USING (collection_id) "
            "WHERE name = ? AND NOT incomplete AND gap IS NULL",
            collection,
        )
    )


def test_it_holds_what_the_ledger_says_with_the_other_vectors(demo: World) -> None:
    report = anew(demo)
    assert (report.standing.is_whole, report.standing.agreeing, report.switched) == (True, 4, False)
    assert report.outcomes == {"indexed": 4, "changeset": 2}
    assert_anew(demo, SHOP)
    rows = lancedb_holds(demo.state, NEW)
    assert {each.properties["commit"] for each in rows} == {"c1", "w1"}
    times = {each.properties["relative_path"]: each.properties["last_modified"] for each in rows}
    before = {
        each.properties["relative_path"]: each.properties["last_modified"]
        for each in lancedb_holds(demo.state, demo.collection)
    }
    assert times == before
    assert times["disk.py"] is not None

    again = anew(demo)
    assert (again.runs, again.standing.is_whole) == ([], True)


def test_a_file_that_has_moved_on_is_not_indexed_as_what_the_ledger_said(demo: World) -> None:
    """Found in git by its hash, or not had at all: then it is listed, and nothing is switched."""
    repository = demo.root / "shop"
    demo.write("shop/disk.py", text_of("other"))
    report = anew(demo, switch=True)
    assert (report.missing, report.standing.behind, report.switched) == (1, 1, False)
    assert report.file is not None
    assert [json.loads(line) for line in report.file.read_text().splitlines()] == [
        {"repo": "shop", "path": "disk.py", "op": "add"}
    ]
    assert "--collection Demo" in report.command
    assert commits(demo, NEW) == {"web": "w1"}, "of the other repository something is missing"
    demo.sync(inline(("shop", "more.py"), text_of("more")).raw)  # the old collection takes changesets as before

    git(repository, "init")
    demo.write("shop/disk.py", text_of("disk", 2))
    git(repository, "add", ".")
    git(repository, "commit", "-m", "as the ledger knows it")
    demo.write("shop/disk.py", text_of("other"))
    report = anew(demo, switch=True)
    assert (report.missing, report.file, report.switched) == (0, None, True)
    assert_anew(demo, SHOP, (inline(("shop", "more.py"), text_of("more")),))


def test_the_listed_changeset_leads_on(demo: World) -> None:
    demo.write("shop/disk.py", text_of("other"))
    report = anew(demo)
    assert report.file is not None
    demo.sync_file(report.file)
    assert anew(demo, switch=True).switched
    assert_anew(demo, SHOP, (on_disk(("shop", "disk.py"), text_of("other")),))


def test_syncs_of_the_old_collection_are_carried_over_by_the_next_pass(demo: World) -> None:
    later = (
        inline(("shop", "cart.py"), text_of("cart")),
        delete(("web", "index.py")),
        inline(("new", "first.py"), text_of("first"), "add"),
        record("shop", "c2", "c1"),
    )
    passed: list[str] = []

    def sync_meanwhile(point: str) -> None:
        passed.append(point)
        if point == "before-finalize" and passed.count(point) == 1:  # what the pass in hand does not know
            apply(demo, later, engine=demo.open_engine())

    demo.engine.faults = sync_meanwhile
    report = anew(demo, switch=True)
    assert (report.switched, len(report.runs)) == (True, 2)
    assert_anew(demo, SHOP, later)


def test_the_old_one_takes_no_changeset_after_the_switch_and_the_new_one_none_before(demo: World) -> None:
    more = inline(("web", "more.py"), text_of("more")).raw
    anew(demo)
    with pytest.raises(CollectionMismatch, match=r"is being rebuilt from Demo.*rebuild --collection Demo --into Anew"):
        demo.sync(more, collection=NEW, embedder=other_embedder.SPEC)
    assert demo.query("SELECT COUNT(*) FROM sync_runs WHERE status = 'running'") == [(0,)]
    assert anew(demo, switch=True).switched
    with pytest.raises(CollectionMismatch, match=r"was rebuilt as Anew.*--collection Anew"):
        demo.sync(more)
    demo.sync(more, collection=NEW, embedder=other_embedder.SPEC)
    assert anew(demo, switch=True).runs == [], "what is done is done"
    assert_anew(demo, SHOP, (inline(("web", "more.py"), text_of("more")),))
    with pytest.raises(UsageError, match="was rebuilt as Anew"):
        anew(demo, into="Third")


@pytest.mark.parametrize("end", ["switched", "killed", "opened again"])
def test_a_changeset_that_comes_during_the_switch_is_kept(demo: World, end: str) -> None:
    more = inline(("web", "more.py"), text_of("more"))
    codes: list[int] = []

    def arrive(point: str) -> None:
        if point == "switch-begun":
            with pytest.raises(RepositoriesHeld, match="is being switched over to Anew at the moment") as caught:
                demo.sync(more.raw, engine=demo.open_engine())
            codes.append(caught.value.exit_code)
            if end != "switched":
                raise Stopped

    demo.engine.faults = arrive
    if end == "switched":
        assert anew(demo, switch=True).switched
    else:
        with pytest.raises(Stopped):
            anew(demo, switch=True)
    go_on(demo)
    assert codes == [4]
    (run_id,) = (row[0] for row in demo.query("SELECT run_id FROM sync_runs WHERE status = 'running'"))
    if end == "opened again":
        anew(demo)
        assert demo.resume(run_id).status is RunStatus.COMPLETED
    assert anew(demo, switch=True).switched
    if end == "opened again":
        assert_anew(demo, SHOP, (more,))
        return
    with pytest.raises(CollectionMismatch, match="was rebuilt as Anew"):
        demo.resume(run_id)
    assert_anew(demo, SHOP)
    demo.sync(more.raw, collection=NEW, embedder=other_embedder.SPEC)
    assert_anew(demo, SHOP, (more,))


def test_the_way_back_carries_over_only_what_has_changed_since(demo: World) -> None:
    anew(demo, switch=True)
    later = (inline(("web", "more.py"), text_of("more"), "add"), delete(("shop", "cart.py")), record("web", "w2", "w1"))
    apply(demo, later, collection=NEW, embedder=other_embedder.SPEC)
    report = anew(demo, collection=NEW, into=demo.collection, embedder="hashing", switch=True)
    assert report.switched
    assert report.outcomes == {"indexed": 1, "deleted": 1, "changeset": 1}
    assert_anew(demo, SHOP, later, collection=demo.collection, spec="hashing")
    with pytest.raises(CollectionMismatch, match="was rebuilt as Demo"):
        demo.sync(later[0].raw, collection=NEW, embedder=other_embedder.SPEC)


FAILING: tuple[Line, ...] = (on_disk(("shop", "late.py"), None, "add"), record("shop", "c2", "c1"))
NEXT: tuple[Line, ...] = (inline(("shop", "more.py"), text_of("more"), "add"), record("shop", "c3", "c2"))


def test_the_way_back_brings_no_commit_back_that_failed_lines_make_untrue(demo: World) -> None:
    """The failed line is settled there, since the two agree in its document; what ``c3`` says of it never came."""
    apply(demo, FAILING)
    apply(demo, NEXT)
    assert anew(demo, switch=True).without_commit == ["shop"]
    report = anew(demo, collection=NEW, into=demo.collection, embedder="hashing", switch=True)
    assert (report.switched, report.without_commit) == (True, ["shop"])
    assert commits(demo, demo.collection) == {"web": "w1"}
    assert demo.query("SELECT COUNT(*) FROM repository_changesets WHERE repository = 'shop' AND NOT incomplete") == [
        (0,)
    ]


def test_after_the_way_back_no_line_of_before_is_tried_again(demo: World) -> None:
    """What the other collection has removed since, the ledger of this one has never known."""
    failing = (rename("shop", "cart.py", "late.py", None),)
    run = apply(demo, failing)
    anew(demo, switch=True)
    late = inline(("shop", "late.py"), text_of("late"), "add")
    meanwhile = (late, record("shop", "c2"))
    apply(demo, meanwhile, collection=NEW, embedder=other_embedder.SPEC)
    gone = (delete(("shop", "late.py")), record("shop", "c3"))
    apply(demo, gone, collection=NEW, embedder=other_embedder.SPEC)
    anew(demo, collection=NEW, into=demo.collection, embedder="hashing", switch=True)
    demo.write("shop/late.py", text_of("late"))
    with pytest.raises(UsageError, match="was forgotten, or replaced"):
        demo.retry(run.run_id, every=True, permanent=True)
    assert_anew(demo, SHOP, meanwhile, gone, collection=demo.collection, spec="hashing")


def test_a_commit_that_was_carried_over_and_is_no_longer_true_of_the_old_one_goes(demo: World) -> None:
    assert anew(demo).standing.is_whole
    apply(demo, FAILING)
    apply(demo, NEXT)
    report = anew(demo, switch=True)
    assert (report.switched, report.without_commit) == (True, ["shop"])
    assert commits(demo, NEW) == {"web": "w1"}


def test_its_runs_are_resumed_like_any_other(demo: World) -> None:
    stop_at(demo, "inserted", 2)
    with pytest.raises(Stopped):
        anew(demo)
    go_on(demo)
    (run_id,) = (row[0] for row in demo.query("SELECT run_id FROM sync_runs WHERE status = 'running'"))
    assert demo.resume(run_id).status is RunStatus.COMPLETED
    report = anew(demo, switch=True)
    assert (report.runs, report.switched) == ([], True)
    assert_anew(demo, SHOP)


def test_a_new_collection_that_was_damaged_is_not_switched_to(demo: World) -> None:
    anew(demo)
    store = demo.engine.store()
    store.delete_objects(NEW, [next(iter(store.scan(NEW))).id])
    with pytest.raises(CollectionMismatch, match=r"its ledger says 7 .*index reconcile --collection Anew"):
        anew(demo, switch=True)
    demo.sync(inline(("web", "index.py"), text_of("index")).raw)  # the old one is open again
    with compared(demo.engine, NEW) as comparison:
        assert repair(comparison).remaining == 0
    assert anew(demo, switch=True).switched
    assert_anew(demo, SHOP)


@pytest.mark.parametrize("point", ["claimed", "intended"])
def test_an_unfinished_run_of_the_old_collection_stands_in_the_way_of_the_switch(demo: World, point: str) -> None:
    """It has still something to say, whether the ledger can tell or not."""
    later = (inline(("web", "index.py"), text_of("later")), record("web", "w2", "w1"))
    stop_at(demo, point)
    with pytest.raises(Stopped):
        apply(demo, later)
    go_on(demo)
    (run_id,) = (row[0] for row in demo.query("SELECT run_id FROM sync_runs WHERE status = 'running'"))
    if point == "claimed":
        with pytest.raises(RepositoriesHeld, match=f"Run {run_id} of collection Demo is not finished"):
            anew(demo, switch=True)
    else:
        report = anew(demo, switch=True)
        assert (report.switched, report.standing.unsure, report.standing.first_unsure) == (False, 1, ["web/index.py"])
    assert demo.finish(resume_run(demo.engine, run_id)).status is RunStatus.COMPLETED
    assert anew(demo, switch=True).switched
    assert_anew(demo, SHOP, later)


def test_the_old_collection_is_dropped_when_told_and_its_name_remembered(demo: World) -> None:
    with pytest.raises(UsageError, match="Add --switch"):
        anew(demo, drop_old=True)
    report = anew(demo, switch=True, drop_old=True)
    assert (report.switched, report.dropped, report.aliases) == (True, True, None)
    assert not [each for each in (demo.state / "vectors").iterdir() if "Demo" in each.name and each.is_dir()]
    with pytest.raises(CollectionMismatch, match="was rebuilt as Anew"):
        demo.sync(SHOP[0].raw)
    assert anew(demo, drop_old=True).dropped
    assert_anew(demo, SHOP)
    assert demo.query("SELECT COUNT(*) FROM documents WHERE collection_id = 1") == [(0,)]


@pytest.mark.parametrize("lost", ["an object", "the collection"])
def test_the_old_collection_is_kept_where_the_new_one_has_lost_something_since(demo: World, lost: str) -> None:
    anew(demo, switch=True)
    store = demo.engine.store()
    if lost == "an object":
        store.delete_objects(NEW, [next(iter(store.scan(NEW))).id])
        says = r"its ledger says 7: the old one is not dropped.*index reconcile --collection Anew"
    else:
        there = store.describe(NEW)
        assert there is not None
        store.drop_collection(NEW, incarnation=there.incarnation)
        says = "Anew in .* was dropped or made anew.*index forget --collection Anew"
    with pytest.raises(CollectionMismatch, match=says):
        anew(demo, drop_old=True)
    assert len(lancedb_holds(demo.state, demo.collection)) == 7
    if lost == "an object":
        with compared(demo.engine, NEW) as comparison:
            assert repair(comparison).remaining == 0
        assert anew(demo, drop_old=True).dropped


def test_into_another_store_and_runs_of_whole_repositories(demo: World, tmp_path: Path) -> None:
    store = f"lancedb:{tmp_path / 'elsewhere' / 'vectors'}"
    report = anew(demo, store=store, into=demo.collection, run_bytes=1, switch=True, embedder="hashing")
    assert (report.switched, len(report.runs)) == (True, 2)
    assert [load_run(demo.engine.database, each).total_lines for each in report.runs] == [4, 2]
    oracle = Oracle().apply(SHOP)
    assert_collection(lancedb_holds(tmp_path / "elsewhere", demo.collection), oracle, tolerance=LANCEDB_TOLERANCE)
    assert commits(demo, demo.collection) == {"shop": "c1", "web": "w1"}


def test_a_collection_of_its_own_or_of_nobody_is_left_alone(demo: World) -> None:
    apply(demo, SHOP[:1], collection="Own")
    with pytest.raises(UsageError, match=r"Own in .* is no rebuild of Demo"):
        anew(demo, into="Own")
    with pytest.raises(UsageError, match="into itself"):
        anew(demo, into=demo.collection)
    with pytest.raises(UsageError, match="knows no collection Nowhere"):
        anew(demo, collection="Nowhere")
    with pytest.raises(UsageError, match="has no aliases"):
        anew(demo, alias="Readers", switch=True)
    demo.engine.store().ensure_collection("Theirs", incarnation="x", model_id="y", dimensions=2)
    with pytest.raises(CollectionMismatch, match=r"Theirs in .* which this checkpoint did not make"):
        anew(demo, into="Theirs")
    anew(demo)
    with pytest.raises(CollectionMismatch, match=f"{NEW} began with folded"):
        anew(demo, embedder="hashing")


def test_a_document_that_is_refused_keeps_the_switch_back(demo: World) -> None:
    picky = other_embedder.teach(demo.open_engine(), refused="cart_value")
    report = anew(demo, engine=picky, switch=True)
    assert (report.switched, report.failed, report.standing.behind) == (False, 1, 1)
    assert report.failures == ["shop/cart.py: Lines 1 to 36: a text is refused"]
    assert commits(demo, NEW) == {"web": "w1"}
    report = anew(demo, switch=True)
    assert (report.switched, report.failed) == (True, 0)
    assert_anew(demo, SHOP)
    assert demo.query("SELECT COUNT(*) FROM failed_lines") == [(0,)], "answered by the later run"


@pytest.mark.parametrize("gone", [delete(("shop", "cart.py")), inline(("shop", "cart.py"), "a\0binary")])
def test_a_document_that_was_refused_and_is_gone_meanwhile_keeps_nothing_back(demo: World, gone: Line) -> None:
    picky = other_embedder.teach(demo.open_engine(), refused="cart_value")
    assert not anew(demo, engine=picky, switch=True).switched
    later = (gone, record("shop", "c2", "c1"))
    apply(demo, later)
    report = anew(demo, engine=picky, switch=True)
    assert (report.switched, report.failed, report.without_commit) == (True, 0, [])
    assert commits(demo, NEW) == {"shop": "c2", "web": "w1"}
    assert demo.query("SELECT COUNT(*) FROM failed_lines") == [(0,)]
    assert {each.properties["relative_path"] for each in lancedb_holds(demo.state, NEW)} == {
        "disk.py",
        "index.py",
        "odd -> name.py",
    }


def test_a_document_that_no_line_may_hold_is_named(demo: World) -> None:
    small = other_embedder.teach(demo.open_engine(max_line_bytes=5_000))
    with pytest.raises(UsageError, match=r"shop/cart.py takes a line of .* ELYSIACTL_MAX_LINE_BYTES="):
        anew(demo, engine=small, switch=True)
    assert anew(demo, switch=True).switched


def test_what_a_repair_needs_is_in_the_spool_of_the_rebuild(demo: World) -> None:
    anew(demo, switch=True)
    first = demo.query("SELECT run_id FROM sync_runs ORDER BY sequence LIMIT 1")[0][0]
    (demo.state / "work" / first / "changeset.jsonl").unlink()
    demo.engine.store().delete_objects(NEW, [each.id for each in demo.engine.store().scan(NEW)])
    with compared(demo.engine, NEW) as comparison:
        assert repair(comparison).rewritten == 4
    assert_anew(demo, SHOP)


def test_a_collection_that_is_forgotten_leaves_no_trace_in_others(demo: World) -> None:
    anew(demo, switch=True)
    forget_collection(demo.engine.database, demo.engine.store_url(), NEW, demo.engine.host)
    assert demo.query("SELECT name, rebuilt_from, replaced_by FROM collections") == [("Demo", None, None)]
    apply(demo, SHOP)
