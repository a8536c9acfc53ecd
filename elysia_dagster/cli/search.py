"""``index search``: the best chunks of a collection for some words."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from elysia_dagster.cli.options import collection_option, command, embedder_option, store_option
from elysia_dagster.cli.terminal import Terminal, printable
from elysia_dagster.errors import CollectionMismatch, UsageError
from elysia_dagster.models import SearchHit, SearchMode, SearchQuery
from elysia_dagster.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from elysia_dagster.sync.engine import Engine

_SHOWN_LINES = 6
"""Lines of each hit that a person is shown."""

_SHOWN_COLUMNS = 160


@command("search", json=True)
@click.argument("text")
@collection_option
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in SearchMode]),
    default=SearchMode.HYBRID.value,
    show_default=True,
    help="By meaning, by words, or both.",
)
@click.option("-k", "limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="Hits, at most.")
@click.option("--repository", metavar="NAME", help="Only this repository.")
@store_option
@embedder_option
def search(
    terminal: Terminal,
    text: str,
    collection: str | None,
    mode: str,
    limit: int,
    repository: str | None,
    store: str | None,
    embedder: str | None,
    as_json: bool,
) -> int:
    """Print the chunks that answer TEXT best.

    \b
    Example: elysiactl index search "where is a batch settled" --collection Demo -k 3
    """
    settings = Settings.from_environment()
    name = collection or settings.collection
    if not text.strip():
        raise UsageError("There is nothing to search for.", next_step="Give some words.")
    if settings.find_database() is None:
        raise UsageError("Nothing was indexed yet.", next_step="See: elysiactl index sync --help")

    from elysia_dagster.cli.work import opened_engine
    from elysia_dagster.stores.aliases import Aliasing

    with opened_engine(settings, terminal) as engine:
        where = engine.store(store or "")
        if isinstance(where, Aliasing):
            name = where.resolve(name)
        if where.describe(name) is None:
            raise _not_there(engine, name, where.url)
        if heir := _heir_of(engine, name, where.url):
            terminal.note(f"{name} is no longer kept true: it was rebuilt as {heir}.")
        ranking = SearchMode(mode)
        vector = None if ranking is SearchMode.TEXT else _vector_of(engine, text, name, where.url, embedder)
        hits = where.search(
            name, SearchQuery(text=text, vector=vector, mode=ranking, limit=limit, repository=repository)
        )
    if as_json:
        terminal.result_json([asdict(hit) for hit in hits])
    elif hits:
        terminal.result("\n\n".join(_shown(number, hit) for number, hit in enumerate(hits, start=1)))
    else:
        terminal.note("Nothing was found.")
    return 0


def _not_there(engine: "Engine", collection: str, store: str) -> CollectionMismatch:
    """The error for a collection that this store does not have; the ledger may know another that does."""
    from elysia_dagster.checkpoint.collections import stores_of

    elsewhere = stores_of(engine.database, collection)
    if heir := _heir_of(engine, collection, store):
        next_step = f"It was rebuilt as {heir}."
    elif not elsewhere:
        next_step = "See: elysiactl index status --summary"
    else:
        next_step = f"It is in {' and '.join(elsewhere)}: name that with --store, or ELYSIACTL_STORE."
    return CollectionMismatch(f"There is no collection {collection} in {store}.", next_step=next_step)


def _heir_of(engine: "Engine", collection: str, store: str) -> str:
    """The options that name the collection which has taken this one's place, '' where none has."""
    from elysia_dagster.checkpoint.collections import find_collection, load_collection

    known = find_collection(engine.database, store, collection)
    if known is None or known.replaced_by is None:
        return ""
    heir = load_collection(engine.database, known.replaced_by)
    if heir.rebuilt_from is not None:  # not yet
        return ""
    return f"--collection {heir.name}" + ("" if heir.store == store else f" --store {heir.store}")


def _vector_of(engine: "Engine", text: str, collection: str, store: str, spec: str | None) -> "np.ndarray | None":
    """The query's vector, by the embedder that made the collection's; None where the store makes it of the text.

    A collection whose vectors its store makes needs no ``spec``. Raises ``CollectionMismatch`` for another embedder.
    """
    from elysia_dagster.checkpoint.collections import find_collection
    from elysia_dagster.embedders import STORE_EMBEDDER
    from elysia_dagster.embedders.store import MODEL_PREFIX

    known = find_collection(engine.database, store, collection)
    if spec is None and known is not None and known.model.startswith(MODEL_PREFIX):
        spec = STORE_EMBEDDER
    embedder = engine.embedder(spec or "", store=store, collection=collection)
    if known is not None and known.model != embedder.model_id:
        raise CollectionMismatch(
            f"Collection {collection} holds vectors of {known.model}; this embedder is {embedder.model_id}.",
            next_step="Name the embedder that it began with (--embedder), or search with --mode text.",
        )
    vector: np.ndarray = embedder.embed([text])[0]
    return vector if vector.size else None


def _shown(number: int, hit: SearchHit) -> str:
    lines = hit.text.rstrip().splitlines()
    lines = lines[next((place for place, line in enumerate(lines) if line.strip()), 0) :]
    shown = [f"   {printable(line.expandtabs(4))[:_SHOWN_COLUMNS]}" for line in lines[:_SHOWN_LINES]]
    if len(lines) > _SHOWN_LINES:
        shown.append("   …")
    place = f"{hit.repository}/{hit.relative_path}:{hit.start_line}-{hit.end_line}"
    return "\n".join([f"{number}. {printable(place)}  ({hit.score:.3f})", *shown])
