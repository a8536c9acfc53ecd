"""Eight syncs, four readers, a cleanup, a reconcile and the store's maintenance at once: nothing locked or lost.

On SQLite, which has one writer at a time; ``make beside`` plays it with longer changesets, and on PostgreSQL too.
"""

from pathlib import Path

import pytest
from crash.zygote import Zygote
from soak.beside import BESIDE, SYNCS, Beside

pytestmark = pytest.mark.timeout(1800)  # a hang is found by the processes' own limit; this one is for a busy machine

LINES = 5


def test_all_at_once(tmp_path: Path, processes: Zygote) -> None:
    beside = Beside(tmp_path / "play", processes, seed="suite", lines=LINES)
    findings = beside.play()
    assert not findings, str(findings)
    assert beside.ended["sync"] == SYNCS
    assert all(beside.ended[role] for role in BESIDE)
