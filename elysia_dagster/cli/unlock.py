"""``index unlock``: who holds what, and taking it from a process that is gone for good."""

import sys
from typing import TYPE_CHECKING

import click

from elysia_dagster.cli.options import command, run_id_option
from elysia_dagster.cli.terminal import Terminal, counted, moment, printable
from elysia_dagster.errors import UsageError
from elysia_dagster.settings import Settings

if TYPE_CHECKING:
    from elysia_dagster.checkpoint.unlocking import Holding
    from elysia_dagster.sync.engine import Engine

_SHOWN_REPOSITORIES = 10


@command("unlock")
@run_id_option("The run to take from its holder.")
@click.option("--repository", metavar="NAME", help="The run that claims this repository.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
def unlock(terminal: Terminal, run_id: str | None, repository: str | None, yes: bool) -> int:
    """Show who holds which run, or take one from its holder.

    Needed only for a process of another host, or container, that is gone before its lease has run out: a dead one of
    this host is taken over by itself, a living one must be stopped. A process that lives all the same is refused from
    then on, and what it was writing is suspect until it is written anew. Asks first.

    \b
    Example: elysiactl index unlock --run-id sync-20260102-030405-0123abcd
    """
    if run_id and repository:
        raise UsageError("--run-id and --repository exclude each other.", next_step="Give one of them.")
    settings = Settings.from_environment()
    if settings.find_database() is None:
        if run_id:
            raise UsageError(f"There is no run {run_id}.", next_step="No changeset was applied yet.")
        terminal.result("Nobody holds anything: there are no runs yet.")
        return 0

    from elysia_dagster.checkpoint.owner import Liveness
    from elysia_dagster.checkpoint.unlocking import holdings, is_alive
    from elysia_dagster.cli.work import opened_engine

    with opened_engine(settings, terminal) as engine:
        if repository:
            run_id = _claimant(engine, repository)
            if run_id is None:
                terminal.result(f"Nobody claims repository {repository}.")
                return 0
        found = holdings(engine.database, engine.host, run_id=run_id)
        if run_id is None:
            _show_all(terminal, found)
            return 0
        if not found:
            return _nobody(terminal, engine, run_id)
        (holding,) = found
        if holding.liveness is Liveness.ALIVE:
            raise is_alive(holding)
        _show(terminal, holding)
        if not yes:
            _ask(holding)
        _take(terminal, engine, holding)
    return 0


def _take(terminal: Terminal, engine: "Engine", holding: "Holding") -> None:
    from elysia_dagster.checkpoint import queries
    from elysia_dagster.sync.unlock import unlock as take

    suspects = take(engine, holding)
    run = holding.run
    go_on = f"elysiactl index resume --run-id {run.run_id}"
    if queries.is_repair(run):
        go_on = queries.repair_command(run.collection_name, run.store or "")
    terminal.result(
        f"Run {run.run_id} is free; {counted(suspects, 'document')} of it may be half written, until written anew. "
        f"Go on with it: {go_on}"
    )


def _claimant(engine: "Engine", repository: str) -> str | None:
    from elysia_dagster.checkpoint.unlocking import claimants

    found = claimants(engine.database, repository)
    if len(found) > 1:
        raise UsageError(
            f"Repository {repository} is claimed in several collections, by the runs {', '.join(found)}.",
            next_step=f"Name one: elysiactl index unlock --run-id {found[0]}",
        )
    return found[0] if found else None


def _nobody(terminal: Terminal, engine: "Engine", run_id: str) -> int:
    """A run that no process holds is no obstacle; what it claims is taken over by whoever needs it."""
    from elysia_dagster.checkpoint.lookup import load_run
    from elysia_dagster.models import RunStatus

    run = load_run(engine.database, run_id)
    if run.status is not RunStatus.RUNNING:
        terminal.result(f"Nobody holds run {run_id}: it is {run.status.value}.")
    else:
        terminal.result(f"Nobody holds run {run_id}; it keeps no other run from its repositories.")
    return 0


def _show_all(terminal: Terminal, found: list["Holding"]) -> None:
    from elysia_dagster.cli.listing import Listing

    if not found:
        terminal.result("Nobody holds anything.")
        return
    listing = Listing(
        names=("run", "held by", "alive", "since (UTC)", "heard of (UTC)", "lease ends (UTC)", "repositories"), heads=2
    )
    for each in found:
        listing.add(
            each.run.run_id,
            str(each.owner),
            _alive(each),
            moment(each.run.lease_since),
            moment(each.run.lease_heartbeat),
            moment(each.run.lease_expires_at),
            _some(each.repositories),
        )
    listing.show(terminal)
    terminal.note("Take one from its holder: elysiactl index unlock --run-id ID")


def _show(terminal: Terminal, holding: "Holding") -> None:
    run = holding.run
    rows = {
        "run": run.run_id,
        "collection": f"{run.collection_name} ({run.store})",
        "held by": f"{holding.owner}{', between two steps of a Dagster run' if run.lease_parked else ''}",
        "alive": _alive(holding),
        "since": f"{moment(run.lease_since)} UTC",
        "heard of": f"{moment(run.lease_heartbeat)} UTC",
        "lease ends": f"{moment(run.lease_expires_at)} UTC" + (" (it has)" if holding.has_run_out else ""),
        "repositories": _some(holding.repositories) or "none yet",
    }
    terminal.result("\n".join(f"{name:13}{printable(value)}" for name, value in rows.items()))


def _alive(holding: "Holding") -> str:
    from elysia_dagster.checkpoint.owner import Liveness

    words = {
        Liveness.ALIVE: "yes",
        Liveness.DEAD: "no",
        Liveness.UNKNOWN: "cannot be told from this host",
    }
    return words[holding.liveness]


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN_REPOSITORIES:,} more" if len(names) > _SHOWN_REPOSITORIES else ""
    return ", ".join(names[:_SHOWN_REPOSITORIES]) + more


def _ask(holding: "Holding") -> None:
    """Raises ``UsageError`` unless a person types the name of the holder's host, having looked whether it is dead."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            "There is no terminal to ask on whether that process is gone for good.",
            next_step="Make sure that it is, then add --yes.",
        )
    host = holding.owner.host.name
    click.echo(
        f"If {holding.owner} is alive, what it is doing now is lost and done again. Make sure that it is gone.\n"
        f"Type the name of its host ({printable(host)}) to take the run from it: ",
        nl=False,
        err=True,
    )
    if sys.stdin.readline().strip() != host:
        raise UsageError("That is not the name of the host; nothing was changed.", next_step="Ask again when sure.")
