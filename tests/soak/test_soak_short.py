"""The short form of ``make soak``: forty kills on each store; the seed is new each time, and printed where it fails."""

import secrets
from pathlib import Path

import pytest
from faults.mortal import MortalServer
from soak.play import Soak

KILLS = 40


def soak(folder: Path, **options: object) -> None:
    """Few stories of small changesets; Dagster has few of the resumes, since it takes ten times as long."""
    told: list[str] = []
    seed = secrets.token_hex(3)
    with Soak(folder, seed=seed, say=told.append, dagster_share=0.04, most_lines=10, **options) as playing:  # type: ignore[arg-type]
        is_clean = playing.play(kills=KILLS)
    print(playing.table())
    assert is_clean, "\n".join([*told, "As `make soak` plays it: the same with LINES=10 DAGSTER=0.04"])
    assert playing.tally.kills.total() >= KILLS


def test_forty_kills_on_lancedb(tmp_path: Path) -> None:
    soak(tmp_path, store="lancedb")


@pytest.mark.weaviate
def test_forty_kills_on_weaviate(tmp_path: Path, weaviate_binary: None) -> None:
    with MortalServer(tmp_path / "server", environment={"ASYNC_INDEXING": "true"}) as server:
        soak(tmp_path, store="weaviate", server=server)
