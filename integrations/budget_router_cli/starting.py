"""The command to begin with."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from budget_router_cli.first_files import init as write_first_files
from budget_router_cli.options import AsJson
from budget_router_cli.terminal import lines, say_json

app = typer.Typer()


@app.command(epilog="Example: budget-router init --budget 0.002:usd")
def init(
    folder: Annotated[Path, typer.Argument(help="Where the files are written.")] = Path(),
    ledger: Annotated[
        str | None, typer.Option(show_default=False, help="URL of the ledger; the one in the folder, or a new one, if none.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Average per task, as number:unit; that of the ledger if none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a commented budget-router.toml and a menu.toml; asks nothing, and never overwrites."""
    done = write_first_files(folder, ledger=ledger, budget=budget)
    if as_json:
        say_json(asdict(done))
        return
    lines(
        *(("wrote", str(path)) for path in done.written),
        *(("kept", f"{path}, which stood there already") for path in done.kept),
        *([("found", "a ledger: its budget and its menu were taken")] if done.is_found else []),
        ("next", "look them over; then budget-router refresh, once a router has served with this ledger"),
    )
