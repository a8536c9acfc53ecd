"""Every fault point of the engine, and where the tests kill at it."""

import re
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "elysia_dagster"

NO_RUN_YET = ("spool-begun", "spooled", "spool-renamed")
"""Killed here there is no run: the input must be given again, and what comes first counts as older."""

OPENING = ("run-opened", "lease-taken")
PLANNING = ("plan-drafted", "claimed-before-plan", "plan-recorded", "before-plan-renamed", "planned")
SETTLING_UNSENT = ("claimed", "unsent-settled", "unsent-removed")
BATCH = (
    "before-batch-saved",
    "batch-saved",
    "embedded",
    "intended",
    "inserted",
    "verified",
    "removed",
    "settled",
    "unlinked",
)
"""Passed once a batch; ``intended`` twice where a rename's old side waits for its new one."""

FINISHING = ("before-finalize", "suspects-verified", "commit-moved", "commits-moved", "commits-marked")
RUN_CLOSED = ("finished",)
"""Killed here the run is finished: there is nothing to resume."""

NEW_COLLECTION = ("collection-registered", "collection-created")
REPAIR = ("repair-deleted", "repair-inserted")
"""Passed where the store does not hold what it acknowledged."""

ADOPTION = ("adoption-fenced", "adoption-registered", "adoption-noted", "adoption-scanned", "adopted")
"""Passed where a collection is taken over; killed before the last of them it must be taken over again."""

REWRITING = ("interrupted-cleared",)
"""Passed where a store does not make whole what an interrupted write left, and its document is written again."""

REMOVING_UNSURE = ("documents-removed",)
"""Passed where documents go of which the ledger is not sure how many chunks there are."""

RECONCILE = (
    "reconcile-scanned",
    "reconcile-compared",
    "reconcile-opened",
    "reconcile-claimed",
    "reconcile-removed",
    "reconcile-cleared",
    "reconcile-intended",
    "reconcile-deleted",
    "reconcile-inserted",
    "reconcile-settled",
    "reconcile-foreign-removed",
    "reconcile-finished",
)
"""Passed where store and ledger are compared, and what differs is mended."""

RECONCILE_REST = ("reconcile-marked", "reconcile-hole-made", "reconcile-listed")
"""Passed where content is not to be had: what is left is written as a changeset."""

MENDING = ("suspects-cleared", "suspects-mended")
"""Passed where a run ends that finds documents in doubt which another process has overwritten late."""

CLEARING = ("suspects-rest-removed",)
"""Passed where such a document is gone, and the store's index of ids may lack what is left of it."""

UNLOCK = ("unlocked",)
"""Passed where an operator takes a run from a process that cannot be told to be dead."""

REBUILD = ("rebuild-begun", "switch-begun", "switch-finished", "old-dropped", "old-forgotten")
"""Passed where a collection is made anew, takes the old one's place, and that is dropped."""

REBUILD_RUN = ("spooled", "collection-created", "inserted", "finished")
"""Of the run that carries documents over, some of those that every run passes."""

REBUILD_REST = ("rebuild-listed",)
"""Passed where the content of a document is not to be had."""

REBUILD_ALIASES = ("alias-moved", "old-name-pointed")
"""Passed on Weaviate, where readers are switched by aliases."""

RETRY = ("retry-asked", "plan-recorded")
CLEANUP = ("run-dropped", "run-folder-removed", "orphans-removed", "tombstones-dropped")
COLLECT = ("collect-written", "collect-linked")
"""Passed where a producer's output goes into the inbox."""

INBOX = ("inbox-seen", "inbox-read", "inbox-requested", "inbox-settled", "inbox-moved")
"""Passed in a tick of the sensor that looks at the inbox."""

PLACES: tuple[tuple[str, int], ...] = (
    *((point, 1) for point in (*NO_RUN_YET, *OPENING, *PLANNING, *SETTLING_UNSENT)),
    *((point, 1) for point in ("intended", "inserted", "removed")),
    *((point, passing) for point in BATCH for passing in (2, 5)),
    ("intended", 3),
    *((point, 1) for point in (*FINISHING, *RUN_CLOSED)),
)
"""(point, passing): where a run over a collection that is there is killed. Of its batches, the first holds the document
that shrinks; the rename is in the second, which says twice what it intends; the folder's files fill the next ones."""


def points_in_sources() -> set[str]:
    """Every name that the engine hands to ``faults``."""
    found: set[str] = set()
    for source in SOURCES.rglob("*.py"):
        found |= set(re.findall(r'faults\(\s*"([^"]+)"', source.read_text()))
    return found
