"""Writes marks into the description that all tenants of a Weaviate collection share, and sees that they last there.

The server changes a description only as a whole, whatever it has become since it was read: of two that write at once
one loses its marks. So everybody looks again, and writes again what is lost.
"""

import random
import time
from collections.abc import Callable, Collection

from elysia_dagster.errors import StoreUnavailable
from elysia_dagster.stores.weaviate_description import Description, Marks

MOST_ATTEMPTS = 30
"""Writes of one mark: each round at least one of those who write at once gets through."""

PAUSE_S = (0.02, 0.3)
"""Before the next attempt, at random between these."""

OTHERS_WRITE_WITHIN_S = (0.4, 0.7)
"""Whoever read the description before our write has written by then what takes our marks away."""


def write_marks(
    tenant: str,
    marks: Marks,
    *,
    expected: Collection[str | None],
    read: Callable[[], Description],
    write: Callable[[Description], None],
    url: str,
) -> Marks:
    """Writes them where one of the ``expected`` incarnations is; the marks that are there in the end, ours or not.

    Raises ``StoreUnavailable`` where others take ours away as often as they are written.
    """
    for _ in range(MOST_ATTEMPTS):
        description = read()
        there = description.marks(tenant)
        if there.incarnation not in (*expected, marks.incarnation):
            return there
        if there != marks:
            write(description.marked(tenant, marks))
            there = read().marks(tenant)
        if there == marks and tenant:
            time.sleep(random.uniform(*OTHERS_WRITE_WITHIN_S))
            there = read().marks(tenant)
        if there == marks or there.incarnation not in (*expected, marks.incarnation):
            return there
        time.sleep(random.uniform(*PAUSE_S))
    raise StoreUnavailable(
        f"Others write the collection's description in {url} at the same time, again and again.",
        next_step="Run the same command again when they have done.",
        store=url,
    )
