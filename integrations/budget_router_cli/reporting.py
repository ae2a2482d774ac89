"""The command that makes a page of a ledger, for people to look at."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from budget_router import Budget
from budget_router import report as report_of
from budget_router.errors import InvalidInput
from budget_router.reports import Report, write_report
from budget_router_cli.menu_file import read_menu
from budget_router_cli.options import AsJson, LogUrl, PerTaskIfTold, moment, opened_to_read
from budget_router_cli.terminal import talk

app = typer.Typer()


@app.command(epilog="Example: budget-router report --ledger sqlite:///spend.db --since 30d --out report.html")
def report(
    ledger: LogUrl,
    out: Annotated[Path, typer.Option(help="HTML page to write; one that stands there is replaced.")] = Path("report.html"),
    budget: PerTaskIfTold = None,
    since: Annotated[str | None, typer.Option(help="Window, e.g. 30d, 12h, or an ISO date.")] = None,
    until: Annotated[str | None, typer.Option(help="End of the window, told alike.")] = None,
    policy: Annotated[str | None, typer.Option(help="Version that is judged; the active one when not given.")] = None,
    compare: Annotated[str | None, typer.Option(help="Two versions side by side, e.g. 77ac9cca7023,941eb26d58b0.")] = None,
    menu: Annotated[Path | None, typer.Option(help="TOML menu file; the latest decision's menu when not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn by lot.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show in one page what was spent, what it bought, what the policy is worth, and why; nothing is changed."""
    version, against = _versions(policy, compare)
    if not out.resolve().parent.is_dir():
        raise InvalidInput(f"{str(out.parent)!r} is no folder: make it first, or name another")
    talk.print("reading the ledger", highlight=False)
    with opened_to_read(ledger) as book:
        told = report_of(
            book,
            menu=None if menu is None else read_menu(menu).menu,
            budget=None if budget is None else Budget.parse(budget),
            version=version,
            against=against,
            since=moment(since),
            until=moment(until),
            seed=seed,
            command=_command(
                budget=budget, since=since, until=until, policy=policy, compare=compare, menu=menu, seed=seed or None
            ),
        )
    talk.print("drawing", highlight=False)
    write_report(told, out)
    typer.echo(json.dumps(_facts(told, out), indent=1) if as_json else f"{told.verdict}\n\n{out}")


def _versions(policy: str | None, compare: str | None) -> tuple[str | None, str | None]:
    if compare is None:
        return policy, None
    versions = [name.strip() for name in compare.split(",") if name.strip()]
    if len(versions) != 2 or policy is not None:
        raise typer.BadParameter("--compare takes two versions with a comma between, and no --policy beside it")
    return versions[0], versions[1]


def _command(**options: object) -> str:
    """The command without the ledger's address, which may hold a password."""
    given = [f"--{name} {value}" for name, value in options.items() if value is not None]
    return " ".join(["budget-router report --ledger URL", *given])


def _facts(told: Report, out: Path) -> dict[str, Any]:  # Any: JSON
    return {
        "path": str(out),
        "verdict": told.verdict,
        "figures": [{"name": name, "value": value, "note": note} for name, value, note in told.figures],
        "gate": None
        if told.gate is None
        else {"version": told.gate.version, "conditions": [row._asdict() for row in told.gate.rows]},
        "missing": dict(told.missing),
        "provenance": dict(told.provenance),
    }
