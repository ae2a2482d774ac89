"""The command line: each command parses, calls one public function, and prints.

Data goes to standard output, talk to standard error; exit code 0 is done, 1 failed, 2 misused.
"""

import sys

import typer

from budget_router import BudgetRouterError
from budget_router_cli import books, demonstration, drifting, learning, policies, recorder
from budget_router_cli.terminal import talk

app = typer.Typer(
    name="budget-router",
    help="Decides, before each reasoning step of an LLM agent, how much test-time compute the task deserves.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(demonstration.app)
app.add_typer(recorder.app)
app.add_typer(learning.app)
app.add_typer(drifting.app)
app.add_typer(policies.app)
app.add_typer(books.app)


def main() -> None:
    """Run a command; a user's slip shows our error text, not a traceback."""
    try:
        app()
    except BudgetRouterError as error:
        talk.print(f"[bold red]error[/] {type(error).__name__}:", end=" ", highlight=False)
        talk.print(str(error), markup=False, highlight=False)
        sys.exit(1)
