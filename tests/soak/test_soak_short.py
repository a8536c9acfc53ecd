"""The short form of ``make soak``: forty kills on each store; the seed is new each time, and printed where it fails."""

import secrets
from pathlib import Path
from typing import Any

import pytest
from crash.zygote import Zygote
from faults.mortal import MortalServer
from soak.aim import SHORT
from soak.play import Soak

pytestmark = pytest.mark.timeout(1800)  # a hang is found by the processes' own limit; this one is for a busy machine

KILLS = 40


def soak(folder: Path, zygote: Zygote, **options: Any) -> None:
    told = ["As make soak SHORT=1 plays it, with this STORE, SEED and ONLY:"]
    with Soak(folder, seed=secrets.token_hex(3), say=told.append, zygote=zygote, habits=SHORT, **options) as playing:
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
