"""``index reconcile``: how a collection differs from the ledger, and mending it."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from elysia_dagster.cli.options import collection_option, command, store_option
from elysia_dagster.cli.terminal import Terminal, counted
from elysia_dagster.errors import RepositoriesHeld
from elysia_dagster.settings import Settings

if TYPE_CHECKING:
    from elysia_dagster.sync.reconcile import Comparison
    from elysia_dagster.sync.repair import RepairReport

_SHOWN = 20
"""Documents and foreign objects that a person is shown; ``--json`` gives 1,000."""


@command("reconcile", json=True)
@collection_option
@store_option
@click.option("--repository", metavar="NAME", help="Only this repository.")
@click.option("--repair", "is_repair", is_flag=True, help="Mend what differs; what is damaged is deleted first.")
@click.option("--foreign", is_flag=True, help="With --repair: remove objects that are not ours, too.")
@click.option(
    "--send-again",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --repair: where to write the changeset of what could not be mended.  [default: in the state folder]",
)
def reconcile(
    terminal: Terminal,
    collection: str | None,
    store: str | None,
    repository: str | None,
    is_repair: bool,
    foreign: bool,
    send_again: Path | None,
    as_json: bool,
) -> int:
    """Compare a collection with the ledger, and mend it.

    Without --repair nothing is changed. Exit code 0: nothing differs; 1: differences remain. Objects that are not ours
    are listed and are no difference. May run beside syncs; a repair leaves the repositories that one of them holds.

    \b
    Example: elysiactl index reconcile --collection Demo --repair
    """
    settings = Settings.from_environment()
    name = collection or settings.collection

    from elysia_dagster.cli.work import working_engine
    from elysia_dagster.sync.reconcile import compared
    from elysia_dagster.sync.repair import check_repair, repair

    check_repair(is_repair=is_repair, foreign=foreign, send_again=send_again)
    with working_engine(settings, terminal) as (engine, signals), ExitStack() as stack:
        signals.input_read()
        with terminal.waiting("comparing store and ledger"):
            comparison = stack.enter_context(compared(engine, name, store=store or "", repository=repository))
        if not as_json:
            _show(terminal, comparison)
        done = None
        if is_repair:
            with terminal.waiting("mending"):
                done = repair(comparison, foreign=foreign, send_again=send_again and send_again.absolute())
            if not as_json:
                _show_repair(terminal, done)
        if as_json:
            terminal.result_json({**_as_json(comparison), "repair": _repair_as_json(done) if done else None})
        if done is not None and done.held:
            return RepositoriesHeld.exit_code
        return 1 if (comparison.differing if done is None else done.remaining) else 0


def _show_repair(terminal: Terminal, done: "RepairReport") -> None:
    told = []
    if done.rewritten:
        told.append(f"  {counted(done.rewritten, 'document')} deleted and written anew")
    if done.cleared:
        told.append(f"  {counted(done.cleared, 'document')} only suspected, and right")
    if done.removed:
        told.append(f"  {counted(done.removed, 'object')} removed that were left over")
    if done.foreign:
        told.append(f"  {counted(done.foreign, 'object')} removed that were not ours")
    if done.sent_again:
        told.append(f"  {counted(done.sent_again, 'document')} not mended: content not to be had, changed, or refused")
    if done.holes:
        told.append(f"  {counted(done.holes, 'object')} of these deleted, which no sync would mend: missing until then")
    terminal.result("\n".join(["", "Repaired:" if told else "Nothing to repair.", *told]))
    for name, reason in done.reasons.items():
        terminal.note(f"{name}: {reason}")
    for repository, holder in done.held.items():
        terminal.note(f"Left as it is, {repository}: {holder}")
    if done.command:
        terminal.result(f"The rest is in {done.file}. Apply it: {done.command}")


def _repair_as_json(done: "RepairReport") -> dict[str, Any]:
    return {**asdict(done), "file": str(done.file) if done.file else None}


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
