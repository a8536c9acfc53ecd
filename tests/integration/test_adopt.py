"""A collection that is there and not ours: refused, or taken over by ``--adopt`` and then as true as any other."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crash.interposed import interpose
from crash.scenario import text_of
from crash.within import Stopped, expire_leases, go_on, run_ids, stop_at
from sync_world import COLLECTION, World, sha256

from elysia_dagster.checkpoint.owner import this_host
from elysia_dagster.errors import CollectionMismatch, Interrupted, LeaseLost, RepositoriesHeld, UsageError
from elysia_dagster.models import RunStatus, StoreObject, document_id, object_id
from elysia_dagster.sync import adopt
from elysia_dagster.sync.adopt import provisional_incarnation

BIG, SMALL = text_of("big", 5), text_of("small")


def line(path: str, text: str, repository: str = "repo", op: str = "add") -> dict[str, Any]:
    return {"repo": repository, "op": op, "path": path, "content": text}


LINES = (
    line("big.py", BIG),
    line("small.py", SMALL),
    line("gone.py", text_of("gone", 3)),
    line("pkg/a.py", SMALL, "other"),
)


@pytest.fixture
def said() -> list[str]:
    """What the engine of ``lost`` has said."""
    return []


@pytest.fixture
def lost(tmp_path: Path, said: list[str]) -> Iterator[World]:
    """A world whose collection was made by a state that is gone: another engine without a checkpoint."""
    with World(tmp_path) as before:
        before.sync(*LINES)
    (tmp_path / "state" / "vectors").rename(tmp_path / "vectors")
    shutil.rmtree(tmp_path / "state")
    with World(tmp_path) as opened:
        (tmp_path / "vectors").rename(opened.state / "vectors")
        opened.engine.say = said.append
        yield opened


def rows(world: World) -> dict[str, tuple[str, int, int]]:
    """State, chunks and most chunks by ``repository/path``."""
    found = world.query("SELECT repository || '/' || path, state, chunks, max_chunks FROM documents")
    return {name: (state, chunks, most) for name, state, chunks, most in found}


def incarnations(world: World) -> tuple[str | None, str | None]:
    """By the ledger and by the store."""
    there = world.engine.store().describe(COLLECTION)
    known = world.query("SELECT incarnation FROM collections")
    return known[0][0] if known else None, there.incarnation if there else None


def foreign(number: int, **changes: Any) -> StoreObject:
    """An object that is not ours: its id is made in another way."""
    fields: dict[str, Any] = dict.fromkeys(("language", "extension", "content_hash", "write_hash"), "")
    path = f"{number}.txt"
    return StoreObject(
        **{
            "id": f"foreign-{number}",
            "vector": np.zeros(1024, np.float32),
            "file_path": f"theirs/{path}",
            "relative_path": path,
            "file_name": path,
            "repository": "theirs",
            "content": "theirs",
            "size_bytes": 6,
            "line_count": 1,
            "last_modified": None,
            "document_id": f"theirs-{number}",
            "chunk_index": 0,
            "start_line": 1,
            "end_line": 1,
            "commit": None,
            **fields,
            **changes,
        }
    )


def test_without_adopt_it_is_refused_and_the_sentence_names_it(lost: World) -> None:
    before = incarnations(lost)
    with pytest.raises(CollectionMismatch, match=r"was not made by this checkpoint.*--adopt") as error:
        lost.sync(line("new.py", SMALL))
    assert error.value.exit_code == 2
    assert incarnations(lost) == before
    assert lost.query("SELECT status FROM sync_runs") == [("canceled",)]


def test_what_it_holds_becomes_suspect_and_what_is_not_ours_stays(lost: World, said: list[str]) -> None:
    store = lost.engine.store()
    beyond = foreign(3, id=object_id(COLLECTION, "theirs", "3.txt", 10**6), chunk_index=10**6)
    store.upsert(COLLECTION, [foreign(1), foreign(2), beyond])
    before = incarnations(lost)
    run = lost.sync(line("new.py", SMALL), adopt=True)
    assert run.status is RunStatus.COMPLETED
    assert rows(lost) == {
        "repo/big.py": ("suspect", 5, 5),
        "repo/small.py": ("suspect", 1, 1),
        "repo/gone.py": ("suspect", 3, 3),
        "other/pkg/a.py": ("suspect", 1, 1),
        "repo/new.py": ("present", 1, 1),
    }
    known, there = incarnations(lost)
    assert known == there
    assert known not in before
    (sentence,) = [each for each in said if "taken over" in each]
    assert "ours: 4;" in sentence
    assert "stay: 3." in sentence
    assert store.count(COLLECTION, repository="theirs") == 3


def test_taken_over_documents_are_rewritten_shrunk_and_removed_whole(lost: World) -> None:
    lost.sync(line("new.py", SMALL), adopt=True)
    _, embedder = interpose(lost.engine)
    lost.sync(line("small.py", SMALL, op="modify"))
    assert embedder.texts == 1, "what is suspect is never unchanged"
    assert rows(lost)["repo/small.py"] == ("present", 1, 1)
    lost.sync(line("big.py", text_of("big", 2), op="modify"))
    lost.sync(
        {"repo": "repo", "op": "delete", "path": "gone.py"}, {"repo": "other", "op": "delete", "path": "pkg/a.py"}
    )
    assert lost.held() == {
        "repo/big.py": sha256(text_of("big", 2)),
        "repo/small.py": sha256(SMALL),
        "repo/new.py": sha256(SMALL),
    }
    lost.sync(line("small.py", SMALL, op="modify"))
    assert embedder.texts == 3, "written once it is unchanged"


def test_a_folder_that_goes_takes_what_was_taken_over_below_it(lost: World) -> None:
    lost.sync({"repo": "other", "op": "delete", "path": "pkg/"}, adopt=True)
    assert {name.partition("/")[0] for name in lost.held()} == {"repo"}


def test_a_removal_takes_what_no_row_of_a_taken_over_collection_tells(lost: World) -> None:
    """What an owner of before still sent arrives after the collection was looked at."""
    lost.sync(line("new.py", SMALL), adopt=True)
    late = foreign(
        1,
        id=object_id(COLLECTION, "repo", "late.py", 7),
        repository="repo",
        relative_path="late.py",
        chunk_index=7,
        document_id=document_id(COLLECTION, "repo", "late.py"),
    )
    lost.engine.store().upsert(COLLECTION, [late])
    lost.sync({"repo": "repo", "op": "delete", "path": "late.py"})
    assert not [each for each in lost.engine.store().scan(COLLECTION) if each.relative_path == "late.py"]


def test_a_collection_made_anew_is_taken_over_and_what_it_lacks_is_absent(world: World) -> None:
    world.sync(*LINES, {"repo": "repo", "new_changeset": {"commit": "c1"}})
    store = world.engine.store()
    store.adopt_collection(
        COLLECTION, incarnation="another", model_id="m", dimensions=1024, expected=incarnations(world)[1]
    )
    store.delete_objects(COLLECTION, [object_id(COLLECTION, "repo", "gone.py", index) for index in range(3)])
    store.delete_objects(COLLECTION, [object_id(COLLECTION, "repo", "big.py", 1)])
    with pytest.raises(CollectionMismatch, match=r"dropped or made anew.*--adopt.*elysiactl index forget"):
        world.sync(line("new.py", SMALL))
    said: list[str] = []
    world.engine.say = said.append
    world.sync(line("new.py", SMALL), adopt=True)
    assert rows(world) == {
        "repo/big.py": ("suspect", 5, 5),
        "repo/small.py": ("suspect", 1, 1),
        "repo/gone.py": ("absent", 0, 3),
        "other/pkg/a.py": ("suspect", 1, 1),
        "repo/new.py": ("present", 1, 1),
    }
    assert any("those of m, not of hashing" in each for each in said)
    assert world.query("SELECT * FROM repository_changesets") == [], "nobody knows where it stands"
    # of the same bytes a run has been completed: of another collection
    assert world.sync(*LINES).run_id == run_ids(world)[-1]
    assert {state for state, _, _ in rows(world).values()} == {"present"}
    assert world.held()["repo/gone.py"] == sha256(text_of("gone", 3))


@pytest.mark.parametrize("passing", [1, 2])
def test_documents_are_noted_by_slices_whatever_the_order_of_their_chunks(
    lost: World, passing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopt, "NOTED_AT_ONCE", 1)
    store = lost.engine.store()
    scanned = sorted(store.scan(COLLECTION), key=lambda each: (each.chunk_index * 7) % 5)
    monkeypatch.setattr(store, "scan", lambda _collection: iter(scanned))
    stop_at(lost, "adoption-noted", passing)
    with pytest.raises(Stopped):
        lost.sync(line("new.py", SMALL), adopt=True)
    go_on(lost)
    with pytest.raises(CollectionMismatch, match=r"is being taken over.*--adopt again"):
        lost.sync(line("new.py", SMALL))
    lost.sync(line("new.py", SMALL), adopt=True)
    assert {name: chunks for name, (_, chunks, _) in rows(lost).items()} == {
        "repo/big.py": 5,
        "repo/small.py": 1,
        "repo/gone.py": 3,
        "other/pkg/a.py": 1,
        "repo/new.py": 1,
    }


def test_an_owner_of_before_is_refused_from_the_fence_on(world: World, tmp_path: Path) -> None:
    """Two checkpoints on one store: the one that made the collection loses it to the one that takes it over."""
    world.sync(*LINES)
    (tmp_path / "second").mkdir()
    with World(tmp_path / "second") as second:
        url = world.engine.store_url()

        def look(point: str) -> None:
            if point.startswith("adoption-"):
                with pytest.raises(CollectionMismatch):
                    world.sync(line("late.py", SMALL))

        second.engine.faults = look
        second.sync(line("new.py", SMALL), store=url, adopt=True)
    with pytest.raises(CollectionMismatch):
        world.sync(line("late.py", SMALL))
    assert "repo/late.py" not in world.held()


def test_vectors_of_another_length_are_refused_and_nothing_is_changed(lost: World) -> None:
    _, embedder = interpose(lost.engine)
    embedder.model_id, embedder.dimensions = "small", 8
    before = incarnations(lost)
    with pytest.raises(CollectionMismatch, match="vector"):
        lost.sync(line("new.py", SMALL), adopt=True)
    assert incarnations(lost) == before
    assert lost.query("SELECT * FROM collections") == []


def test_where_there_is_nothing_to_take_over_it_is_said_and_done_without(light_world: World) -> None:
    said: list[str] = []
    light_world.engine.say = said.append
    for sentence in ("there is no collection Demo", "is this checkpoint's already", "is this checkpoint's already"):
        run = light_world.sync(*LINES, adopt=True)  # the third is the same changeset, applied already
        assert run.status is RunStatus.COMPLETED
        assert sentence in said.pop()
        assert not said
    assert light_world.recording is not None
    assert len(light_world.recording.sent) == 1


def test_a_dry_run_takes_nothing_over(lost: World) -> None:
    before = incarnations(lost)
    with pytest.raises(UsageError, match="dry run"):
        lost.begin(line("new.py", SMALL), adopt=True, dry_run=True)
    with pytest.raises(CollectionMismatch):
        lost.begin(line("new.py", SMALL), dry_run=True)
    assert incarnations(lost) == before


def test_a_run_that_was_refused_is_gone_on_with_by_adopt(lost: World) -> None:
    """It is no part of what makes two starts the same run; a resume needs it no more."""
    stop_at(lost, "adoption-scanned")
    with pytest.raises(Stopped):
        lost.begin(*LINES, adopt=True)
    go_on(lost)
    (run_id,) = run_ids(lost)
    with pytest.raises(CollectionMismatch, match="--adopt again"):
        lost.resume(run_id)
    with pytest.raises(CollectionMismatch, match="--adopt again"):
        lost.begin(*LINES)
    manifest = lost.begin(*LINES, adopt=True)
    assert (manifest.run_id, manifest.resumed) == (run_id, True)
    assert lost.resume(run_id).status is RunStatus.COMPLETED
    assert {state for state, _, _ in rows(lost).values()} == {"present"}


def test_not_while_another_run_works_on_it(world: World) -> None:
    begun = world.begin(line("held.py", SMALL))
    other = world.open_engine()
    far = world.open_engine(parts={"host": replace(this_host(), name="elsewhere", boot_id="another")})
    with far.work_on(begun.run_id):
        world.engine.store().adopt_collection(
            COLLECTION, incarnation="another", model_id="m", dimensions=1024, expected=incarnations(world)[1]
        )
        with pytest.raises(RepositoriesHeld, match=rf"{begun.run_id} works on Demo .* Its lease ends at") as error:
            world.begin(line("new.py", SMALL), adopt=True, engine=other)
        assert error.value.exit_code == 4
        assert incarnations(world)[1] == "another"
        expire_leases(world)
        world.finish(world.begin(line("new.py", SMALL), adopt=True, engine=other), other)
    assert rows(world) == {"repo/new.py": ("present", 1, 1)}


def test_an_adoption_that_is_overtaken_changes_no_more(lost: World) -> None:
    def overtaken(point: str) -> None:
        if point == "adoption-fenced":
            lost.query("UPDATE sync_runs SET lease_token = lease_token + 1")

    lost.engine.faults = overtaken
    with pytest.raises(LeaseLost):
        lost.begin(*LINES, adopt=True)
    assert lost.query("SELECT * FROM collections") == []


def test_it_stops_when_it_is_asked_to(lost: World) -> None:
    stopping = lost.open_engine(parts={"stop_requested": lambda: True})
    with pytest.raises(Interrupted, match="--adopt"):
        lost.begin(*LINES, adopt=True, engine=stopping)
    assert lost.sync(*LINES, adopt=True).status is RunStatus.COMPLETED
    known, there = incarnations(lost)
    assert known == there
    assert there != provisional_incarnation(known or "")


def test_from_the_shell(shell: Any) -> None:
    shell.write(read_py="x = 1\n", other_py="y = 1\n")
    assert shell.call("sync", "--stdin", stdin=b"read.py\nother.py\n").code == 0
    forgot = shell.call("forget", "--yes")
    assert "--adopt" in forgot.err
    refused = shell.call("sync", "--stdin", stdin=b"read.py\n")
    assert (refused.code, "--adopt" in refused.err) == (2, True)
    assert shell.call("sync", "--stdin", "--adopt", "--dry-run", stdin=b"read.py\n").code == 2
    done = shell.call("sync", "--stdin", "--adopt", stdin=b"read.py\n")
    assert done.code == 0
    assert "ours: 2;" in done.err
    assert shell.query("SELECT path, state FROM documents ORDER BY path") == [
        ("other.py", "suspect"),
        ("read.py", "present"),
    ]
    summary = shell.call("status", "--summary")
    assert (summary.code, "Demo" in summary.out) == (0, True)
    assert "other.py" in shell.call("search", "y", "--mode", "text").out


def test_who_is_overtaken_by_another_checkpoint_does_not_bless_what_that_one_wrote(lost: World, tmp_path: Path) -> None:
    """Both take it over; the second begins, and ends, while the first stands before its last mark."""
    (tmp_path / "other").mkdir()
    with World(tmp_path / "other") as other:

        def overtake(point: str) -> None:
            if point == "adoption-scanned":
                other.sync(line("theirs.py", SMALL), store=lost.engine.store_url(), adopt=True)

        lost.engine.faults = overtake
        with pytest.raises(CollectionMismatch, match="taken over by another process"):
            lost.sync(line("new.py", SMALL), adopt=True)
        assert incarnations(lost)[1] == other.query("SELECT incarnation FROM collections")[0][0]
        other.sync(line("more.py", SMALL), store=lost.engine.store_url())
        with pytest.raises(CollectionMismatch, match="dropped or made anew"):
            lost.sync(line("new.py", SMALL))
