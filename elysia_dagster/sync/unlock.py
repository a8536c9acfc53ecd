"""An operator takes a run from its holder; see ``checkpoint/unlocking.py``."""

from elysia_dagster.checkpoint.unlocking import Holding, unlock_run
from elysia_dagster.sync.engine import Engine


def unlock(engine: Engine, holding: Holding) -> int:
    """Returns how many documents are suspect now. Raises what ``unlock_run`` raises."""
    suspects = unlock_run(engine.database, holding, engine.host)
    engine.faults("unlocked")
    return suspects
