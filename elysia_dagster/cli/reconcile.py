"""``index reconcile``: how a collection differs from the ledger, and mending it."""

from typing import TYPE_CHECKING, Any

import click

from elysia_dagster.cli.options import collection_option, command, store_option
from elysia_dagster.cli.terminal import Terminal, counted
from elysia_dagster.settings import Settings

if TYPE_CHECKING:
    from elysia_dagster.sync.reconcile import Comparison

_SHOWN = 20
"""Documents and foreign objects that a person is shown; ``--json`` gives 1,000."""


@command("reconcile", json=True)
@collection_option
@store_option
@click.option("--repository", metavar="NAME", help="Only this repository.")
def reconcile(
    terminal: Terminal,
    collection: str | None,
    store: str | None,
    repository: str | None,
    as_json: bool,
) -> int:
    """Compare a collection with the ledger.

    Exit code 0: nothing differs. 1: differences remain.

    \b
    Example: elysiactl index reconcile --collection Demo
    """
    settings = Settings.from_environment()
    name = collection or settings.collection

    from elysia_dagster.cli.work import working_engine
    from elysia_dagster.sync.reconcile import compared

    with working_engine(settings, terminal) as (engine, signals):
        signals.input_read()
        with (
            terminal.waiting("comparing store and ledger"),
            compared(engine, name, store=store or "", repository=repository) as comparison,
        ):
            if as_json:
                terminal.result_json(_as_json(comparison))
            else:
                _show(terminal, comparison)
            return 1 if comparison.differing else 0


def _show(terminal: Terminal, comparison: "Comparison") -> None:
    from elysia_dagster.cli.listing import Listing
    from elysia_dagster.sync.difference import Difference

    where = f"{comparison.known.name} ({comparison.known.store})"
    if comparison.repository is not None:
        where = f"{comparison.repository} in {where}"
    differ = "differs" if comparison.differing == 1 else "differ"
    terminal.result(
        f"{where}: {counted(comparison.objects, 'object')} in the store, {counted(comparison.documents, 'document')} "
        f"in the ledger; {counted(comparison.differing, 'document')} {differ}."
    )
    if comparison.being_written:
        terminal.result(f"Not judged, since runs were writing them: {counted(comparison.being_written, 'document')}.")
    if comparison.differing:
        listing = Listing(names=("difference", "documents>", "objects>"))
        for each in Difference:
            if documents := comparison.documents_by_difference[each]:
                listing.add(each.value, f"{documents:,}", f"{comparison.objects_by_difference[each]:,}")
        terminal.result("")
        listing.show(terminal)
        listing = Listing(names=("document", "difference", "ledger"))
        for finding in comparison.first_findings(_SHOWN):
            listing.add(
                f"{finding.held.repository}/{finding.held.path}",
                ", ".join(
                    each.value + (f" ({count:,})" if count else "") for each, count in finding.differences.items()
                ),
                finding.row.state.value if finding.row else "unknown",
            )
        terminal.result("")
        listing.show(terminal)
        if comparison.differing > _SHOWN:
            terminal.note(f"These are the first {_SHOWN} of {comparison.differing:,} documents.")
    if comparison.foreign:
        listing = Listing(names=("object that is not ours", "as it says"))
        for id_, repository, path in comparison.first_foreign(_SHOWN):
            listing.add(id_, f"{repository}/{path}")
        terminal.result("")
        listing.show(terminal)
        if comparison.foreign > _SHOWN:
            terminal.note(f"These are the first {_SHOWN} of {comparison.foreign:,} objects that are not ours.")


def _as_json(comparison: "Comparison") -> dict[str, Any]:
    from elysia_dagster.sync.difference import Difference

    return {
        "collection": comparison.known.name,
        "store": comparison.known.store,
        "repository": comparison.repository,
        "objects": comparison.objects,
        "documents": comparison.documents,
        "differing": comparison.differing,
        "being_written": comparison.being_written,
        "foreign": comparison.foreign,
        "differences": {
            each.value: {
                "documents": comparison.documents_by_difference[each],
                "objects": comparison.objects_by_difference[each],
            }
            for each in Difference
        },
        "first": [
            {
                "repository": each.held.repository,
                "path": each.held.path,
                "differences": {kind.value: count for kind, count in each.differences.items()},
                "state": each.row.state.value if each.row else None,
            }
            for each in comparison.first_findings()
        ],
        "first_foreign": [
            {"id": id_, "repository": repository, "path": path} for id_, repository, path in comparison.first_foreign()
        ],
    }
