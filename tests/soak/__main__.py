"""``make soak KILLS=1000 STORE=lancedb|weaviate SEED=… ONLY=n``: kills at random, goes on at random, compares all.

Stories are played until so many processes (or servers) have been killed. A story is drawn from the seed and its number,
so ``ONLY`` plays one of them again: the same changesets, drivers and aims; a kill at a moment lands where it lands.
``LINES`` (of a changeset, at most) and ``SHORT=1`` (as the suite plays) belong to a story like its seed. ``FOLDER`` is
where all lies, a new one by default. ``BESIDE=1`` plays many processes at once instead, see ``beside``.
"""

import os
import secrets
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from soak import beside
from soak.aim import SHORT, Habits
from soak.play import Soak


def main() -> None:
    """Reads the environment, plays, prints the table; exit 1 where something was found."""
    asked = {name: value for name, value in os.environ.items() if value}
    if "BESIDE" in asked:
        beside.main()
    folder = Path(asked.get("FOLDER") or tempfile.mkdtemp(prefix="elysia-soak-"))
    seed = asked.get("SEED") or secrets.token_hex(3)
    store = asked.get("STORE", "lancedb")
    if store not in ("lancedb", "weaviate"):
        raise SystemExit(f"STORE={store} is none that can be soaked. Give lancedb or weaviate.")
    habits = SHORT if "SHORT" in asked else Habits(most_lines=int(asked.get("LINES", Habits.most_lines)))
    print(f"SEED={seed} STORE={store}, in {folder}", flush=True)
    with Soak(folder, store=store, seed=seed, say=partial(print, flush=True), habits=habits) as soak:
        is_clean = soak.play(kills=int(asked.get("KILLS", "200")), only=int(asked["ONLY"]) if "ONLY" in asked else None)
    print(soak.table())
    raise SystemExit(not is_clean)


if __name__ == "__main__":
    main()
