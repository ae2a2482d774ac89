"""The command line: each command parses, calls one public function, and prints.

Data goes to standard output, talk to standard error; exit code 0 is done, 1 failed, 2 misused.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from budget_router import BudgetRouterError
from budget_router_cli import (
    books,
    demonstration,
    drifting,
    judging,
    learning,
    policies,
    reasons,
    recorder,
    reporting,
    rollout,
    solving,
    starting,
)
from budget_router_cli.configuration import FILE, defaults, nearest
from budget_router_cli.options import SHARED
from budget_router_cli.terminal import talk

app = typer.Typer(
    name="budget-router",
    help="Decides, before each reasoning step of an LLM agent, how much test-time compute the task deserves.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(epilog=f"Options stand on the command line, in {SHARED}LEDGER and its like, or in {FILE}: see budget-router init.")
def configure(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(envvar=f"{SHARED}CONFIG", help=f"Options told once; {FILE} here or in a parent folder if none."),
    ] = None,
) -> None:
    """Take what the command line and the environment leave unsaid from a configuration file."""
    path = config or nearest(Path.cwd())
    if path is not None:
        context.default_map = defaults(path, _commands(context))


def _commands(context: typer.Context) -> Mapping[str, Any]:  # Any: click's commands
    assert isinstance(context.command, TyperGroup), "the app has commands"  # noqa: S101  ours
    return context.command.commands


app.add_typer(demonstration.app)
app.add_typer(starting.app)
app.add_typer(recorder.app)
app.add_typer(solving.app)
app.add_typer(learning.app)
app.add_typer(drifting.app)
app.add_typer(judging.app)
app.add_typer(policies.app)
app.add_typer(rollout.app)
app.add_typer(reasons.app)
app.add_typer(books.app)
app.add_typer(reporting.app)


def main() -> None:
    """Run a command; a user's slip shows our error text, not a traceback."""
    try:
        app()
    except BudgetRouterError as error:
        talk.print(f"[bold red]error[/] {type(error).__name__}:", end=" ", highlight=False)
        talk.print(str(error), markup=False, highlight=False)
        sys.exit(1)
