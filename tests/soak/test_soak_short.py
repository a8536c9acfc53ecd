"""The short form of ``make soak``: forty kills on each store; the seed is new each time, and printed where it fails."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.worker import Zygote
from faults.mortal import MortalServer
from soak.play import SCRIPT, Soak

KILLS = 40
LINES, DAGSTER = 7, 0.03
"""Small changesets, and few starts of Dagster's, which take ten times as long."""


@pytest.fixture(scope="module")
def processes() -> Iterator[Zygote]:
    """Started once: the imports are what takes time."""
    with Zygote(SCRIPT) as running:
        yield running


def soak(folder: Path, zygote: Zygote, **options: Any) -> None:
    told = [f"As make soak LINES={LINES} DAGSTER={DAGSTER} with this STORE, SEED and ONLY plays it:"]
    seed = secrets.token_hex(3)
    with Soak(
        folder, seed=seed, say=told.append, zygote=zygote, dagster_share=DAGSTER, most_lines=LINES, **options
    ) as playing:
        is_clean = playing.play(kills=KILLS)
    print(playing.table())
    assert is_clean, "\n".join(told)
    assert playing.tally.kills.total() >= KILLS


def test_forty_kills_on_lancedb(tmp_path: Path, processes: Zygote) -> None:
    soak(tmp_path, processes, store="lancedb")


@pytest.mark.weaviate
def test_forty_kills_on_weaviate(tmp_path: Path, processes: Zygote, weaviate_binary: None) -> None:
    with MortalServer(tmp_path / "server", environment={"ASYNC_INDEXING": "true"}) as server:
        soak(tmp_path, processes, store="weaviate", server=server)
