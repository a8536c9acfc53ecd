"""Where repositories stand: commits that move forward, gaps that stay known, what is incomplete."""

from checkpoint_world import REPOSITORY, Checkpoint

from elysia_dagster.checkpoint import collections
from elysia_dagster.checkpoint.claims import Lease


def move(
    checkpoint: Checkpoint, lease: Lease, commit: str, parent: str = "", repository: str = REPOSITORY
) -> str | None:
    record = {"commit": commit, "parent": parent} if parent else {"commit": commit}
    return collections.move_commit(checkpoint.database, lease, repository, record)


def test_a_gap_is_known_still_when_the_same_run_is_finalized_again(checkpoint: Checkpoint) -> None:
    move(checkpoint, checkpoint.held(), "c1")
    lease = checkpoint.held()
    gap = move(checkpoint, lease, "c3", parent="c2")
    assert gap == "repo: the changeset follows c2, the collection stands at c1"
    before = checkpoint.rows("SELECT * FROM repository_changesets")
    assert move(checkpoint, lease, "c3", parent="c2") == gap
    assert checkpoint.rows("SELECT * FROM repository_changesets") == before
    assert move(checkpoint, checkpoint.held(), "c4", parent="c3") is None
