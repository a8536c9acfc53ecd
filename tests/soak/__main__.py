"""``make soak KILLS=1000 STORE=lancedb|weaviate SEED=… ONLY=n``: kills at random, goes on at random, compares all.

Stories are played until so many processes (or servers) have been killed. A story is drawn from the seed and its number,
so ``ONLY`` plays one of them again: the same changesets, drivers and aims; a kill at a moment lands where it lands.
``LINES`` (of a changeset, at most) and ``DAGSTER`` (its share of starts) belong to a story like its seed.
"""

import os
import secrets
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from soak.play import Soak


def main() -> None:
    """Reads the environment, plays, prints the table; exit 1 where something was found."""
    asked = {
        name: os.environ.get(name, "") for name in ("KILLS", "STORE", "SEED", "ONLY", "FOLDER", "LINES", "DAGSTER")
    }
    folder = Path(asked["FOLDER"] or tempfile.mkdtemp(prefix="elysia-soak-"))
    seed = asked["SEED"] or secrets.token_hex(3)
    store = asked["STORE"] or "lancedb"
    if store not in ("lancedb", "weaviate"):
        raise SystemExit(f"STORE={store} is none that can be soaked. Give lancedb or weaviate.")
    print(f"SEED={seed} STORE={store}, in {folder}", flush=True)
    with Soak(
        folder,
        store=store,
        seed=seed,
        say=partial(print, flush=True),
        dagster_share=float(asked["DAGSTER"] or 0.15),
        most_lines=int(asked["LINES"] or 26),
    ) as soak:
        is_clean = soak.play(kills=int(asked["KILLS"] or 200), only=int(asked["ONLY"]) if asked["ONLY"] else None)
    print(soak.table())
    raise SystemExit(not is_clean)


if __name__ == "__main__":
    main()
