"""The commands that look after the books: prove them, say who spent what, carry them away and bring them up to date."""

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from budget_router import export as export_ledger
from budget_router.records import usd
from budget_router.reports.escaping import clipped, visible
from budget_router_cli.menu_file import read_menu
from budget_router_cli.options import MENU, AsJson, LedgerUrl, moment, opened
from budget_router_cli.terminal import busy, console_of, table_of
from budget_router_sql import Amount, Audit, SpendRow
from budget_router_sql import audit as prove
from budget_router_sql import close_open as close_calls
from budget_router_sql import doctor as look_over
from budget_router_sql import migrate as migrate_ledger
from budget_router_sql import roles as roles_sql
from budget_router_sql import spend as spend_of
from budget_router_sql.spend import BY

app = typer.Typer()


@app.command(epilog="Example: budget-router audit --ledger sqlite:///spend.db --menu menu.toml --close-open")
def audit(
    ledger: LedgerUrl,
    menu: Annotated[
        Path | None, typer.Option(envvar=MENU, help="TOML menu file whose [tariff.MODEL] tables priced calls.")
    ] = None,
    close_open: Annotated[
        bool, typer.Option("--close-open", help="Book calls that were opened and never closed, as estimated.")
    ] = False,
    hours: Annotated[float, typer.Option(min=0, help="After which what has not ended is told of.")] = 1.0,
    most: Annotated[int, typer.Option(min=1, help="Ids named of each kind of finding.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Prove that calls = decisions = tariffs × tokens, and name what is wrong; exit 1 when it does not hold."""
    tariffs = None if menu is None else read_menu(menu).tariffs
    open_for = timedelta(hours=hours)
    with opened(ledger) as book, busy("proving the books"):
        closed = close_calls(book, tariffs=tariffs, open_for=open_for) if close_open else ()
        proof = prove(book, tariffs=tariffs, open_for=open_for, most=most)
    if as_json:
        findings = [asdict(one) | {"is_fault": one.is_fault, "says": one.says, "mend": one.mend} for one in proof.findings]
        facts = asdict(proof) | {"holds": proof.holds, "n_closed": len(closed), "findings": findings}
        typer.echo(json.dumps(facts, indent=1, default=str))
    else:
        _tell(proof, n_closed=len(closed))
    if not proof.holds:
        raise typer.Exit(1)


def _tell(proof: Audit, *, n_closed: int) -> None:
    console = console_of()
    is_known = not any(one.kind == "unpriced" for one in proof.findings)
    sums = table_of("", "calls", "prompt tokens", "completion tokens", "USD" if is_known else "USD, if known")
    parts = (proof.settled, proof.late, proof.unsettled)
    rest = [
        getattr(proof.calls, name) - sum(getattr(part, name) for part in parts)
        for name in ("prompt_tokens", "completion_tokens", "nano_usd")
    ]
    for name, amount in (("calls", proof.calls), ("settlements", proof.settled)):
        sums.add_row(name, f"{amount.n_calls:,}", *_cells(amount))
    sums.add_row("  + ended after their settlement", "", *_cells(proof.late))
    sums.add_row("  + of decisions not settled", f"{proof.unsettled.n_calls:,}", *_cells(proof.unsettled))
    sums.add_row("  + unexplained", "", f"{rest[0]:,}", f"{rest[1]:,}", f"{usd(rest[2]):,.6f}" if is_known else "unknown")
    console.print(sums)
    priced = f"{proof.n_priced_again:,} of {proof.calls.n_calls:,} calls priced again by tariff × tokens"
    console.print(f"\n{proof.n_decisions:,} decisions · {priced} · {proof.n_open:,} open", highlight=False)
    if n_closed:
        console.print(f"{n_closed:,} calls that were left open are booked as estimated", highlight=False)
    for one in proof.findings:
        mark = "[bold red]fault[/]" if one.is_fault else "note "
        console.print(f"\n{mark} {one.n:,} × {one.says}", highlight=False)
        names = ", ".join(one.names) + (f" and {one.n - len(one.names):,} more" if len(one.names) < one.n else "")
        console.print(f"      {names}", markup=False, highlight=False)
        console.print(f"      mend: {one.mend}", markup=False, highlight=False)
    console.print("\nthe books hold" if proof.holds else "\n[bold red]the books do not hold[/]", highlight=False)


def _cells(amount: Amount) -> tuple[str, str, str]:
    return f"{amount.prompt_tokens:,}", f"{amount.completion_tokens:,}", f"{usd(amount.nano_usd):,.6f}"


@app.command(epilog="Example: budget-router spend --ledger sqlite:///spend.db --by group,strategy --since 30d")
def spend(
    ledger: LedgerUrl,
    by: Annotated[str, typer.Option(help=f"What to tell apart, with commas between: {', '.join(BY)}.")] = "group,strategy",
    since: Annotated[str | None, typer.Option(help="Window, e.g. 30d, 12h, or an ISO date.")] = None,
    until: Annotated[str | None, typer.Option(help="End of the window, told alike.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Rows shown, the dearest first; by day, the earliest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Say who spent what, and what accuracy it bought."""
    names = [name.strip() for name in by.split(",") if name.strip()]
    with opened(ledger) as book, busy("adding up"):
        report = spend_of(book, by=names, since=moment(since), until=moment(until), most=most)
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=1, default=str))
        return
    heads = ("decisions", "calls", "tokens in", "tokens out", "USD", "each", "graded", "score ± SE")
    told = table_of(*report.by, *heads, n_names=len(report.by))
    for row in report.rows:
        told.add_row(*("-" if name is None else clipped(visible(name), 24) for name in row.by), *_spent(row))
    if not report.by:
        told.add_row(*_spent(report.total))
    elif len(report.rows) != 1:
        told.add_section()
        told.add_row("all", *[""] * (len(report.by) - 1), *_spent(report.total), style="bold")
    console_of().print(told)


def _spent(row: SpendRow) -> tuple[str, ...]:
    if row.nano_usd is None:
        money = "unknown" if row.n_unpriced else "-"
    else:
        money = f"{'≥ ' if row.n_unpriced else ''}{usd(row.nano_usd):,.6g}"
    error = "" if row.standard_error is None else f" ± {row.standard_error:.3f}"
    return (
        f"{row.n_decisions:,}",
        f"{row.n_calls:,}",
        f"{row.prompt_tokens:,}",
        f"{row.completion_tokens:,}",
        money,
        f"{row.tokens_per_decision:,.0f}",
        f"{row.graded_share:.0%}",
        "-" if row.score is None else f"{row.score:.3f}{error}",
    )


@app.command(epilog="Example: budget-router forget --before 90d --ledger sqlite:///spend.db")
def forget(
    ledger: LedgerUrl,
    task_id: Annotated[str | None, typer.Argument(help="Of the task that is to be forgotten.")] = None,
    before: Annotated[str | None, typer.Option(help="Forget all that is older, e.g. 90d, 12h, or an ISO date.")] = None,
    as_json: AsJson = False,
) -> None:
    """Erase what a task said, or all that is older than a span; what was decided, spent and graded stays."""
    until = moment(before)
    if (task_id is None) == (until is None):
        raise typer.BadParameter("name a task, or say --before")
    with opened(ledger) as book:
        n_decisions = book.forget(task_id) if task_id is not None else book.forget_before(until) if until else 0
    typer.echo(json.dumps({"n_decisions": n_decisions}) if as_json else f"erased what {n_decisions:,} decisions said")


@app.command(epilog='Example: budget-router roles | psql "postgresql://owner@host/spend"')
def roles(as_json: AsJson = False) -> None:
    """Print the SQL that makes three roles on PostgreSQL: writer, trainer and reader, each with what it needs and no more."""
    typer.echo(json.dumps({"sql": roles_sql()}) if as_json else roles_sql(), nl=as_json)


@app.command(epilog="Example: budget-router doctor --ledger postgresql+psycopg://user@host/spend")
def doctor(ledger: LedgerUrl, as_json: AsJson = False) -> None:
    """Look an installation over, and say the mend of what is wrong; exit 1 when something fails."""
    checkup = look_over(ledger)
    if as_json:
        typer.echo(json.dumps({"is_healthy": checkup.is_healthy, "lines": [asdict(line) for line in checkup.lines]}, indent=1))
    else:
        told = table_of("", "what", "found", n_names=3)
        colours = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        for line in checkup.lines:
            told.add_row(f"[{colours[line.health]}]{line.health}[/]", line.what, escape(line.found))
            if line.mend:
                told.add_row("", "", f"mend: {escape(line.mend)}")
        console_of().print(told)
    if not checkup.is_healthy:
        raise typer.Exit(1)


@app.command(epilog="Example: budget-router export spend.parquet --ledger sqlite:///spend.db --since 30d")
def export(
    path: Annotated[Path, typer.Argument(help="File to write: .jsonl and .parquet are exact logs, .csv and .parquet tables.")],
    ledger: LedgerUrl,
    since: Annotated[str | None, typer.Option(help="Window, e.g. 30d, 12h, or an ISO date.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write decisions with their spend and grades to a file."""
    with opened(ledger) as book, busy("exporting"):
        done = export_ledger(book, path, since=moment(since))
    if as_json:
        typer.echo(json.dumps({"path": str(done.path), "n_decisions": done.n_decisions}, indent=1))
    else:
        typer.echo(f"{done.n_decisions:,} decisions in {done.path}")


@app.command(epilog="Example: budget-router migrate --ledger postgresql+psycopg://owner@host/spend")
def migrate(ledger: LedgerUrl, as_json: AsJson = False) -> None:
    """Bring a ledger to the schema of this version, or make one; SQLite files need no such command."""
    with busy("migrating"):
        done = migrate_ledger(ledger)
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=1))
    elif done.found == done.revision:
        typer.echo(f"at schema {done.revision} already")
    else:
        typer.echo(f"at schema {done.revision}, {'made anew' if done.found is None else f'migrated from {done.found}'}")
