"""The command that tells why."""

from typing import Annotated

import typer

from budget_router import Explanation
from budget_router import explain as explain_decision
from budget_router.explaining import LATEST
from budget_router.reports.escaping import clipped, visible
from budget_router_cli.options import AsJson, LogUrl, opened_to_read
from budget_router_cli.terminal import console_of, say, say_json, table_of

MOST_SHOWN = 300
"""Characters of a task's text."""

app = typer.Typer()


@app.command(epilog="Example: budget-router explain latest --ledger sqlite:///spend.db")
def explain(
    ledger: LogUrl,
    decision: Annotated[str, typer.Argument(help="Its id, or `latest`.")] = LATEST,
    as_json: AsJson = False,
) -> None:
    """Tell in plain words why a task got its strategy, and what would have changed that."""
    with opened_to_read(ledger) as book:
        told = explain_decision(book, decision)
    if as_json:
        say_json(_facts(told))
    else:
        _tell(told)


def _facts(told: Explanation) -> dict[str, object]:
    return {
        **told.decision.model_dump(mode="json", exclude={"features"}),
        "strategies": [one._asdict() for one in told.strategies],
        "picked": told.picked,
        "cheaper": told.cheaper and told.cheaper._asdict(),
        "dearer": told.dearer and told.dearer._asdict(),
        "doubt": told.doubt,
        "settlement": told.entry.settlement and told.entry.settlement.model_dump(mode="json"),
        "outcome": told.entry.outcome and told.entry.outcome.model_dump(mode="json"),
        "sentences": told.sentences,
    }


def _tell(told: Explanation) -> None:
    say(f"decision {told.decision.id}")
    if told.entry.task_text is not None:
        say(f"“{clipped(visible(told.entry.task_text), MOST_SHOWN)}”")
    heads = ("propensity", "cost", "accuracy", "score", "score - λ cost")
    table = table_of("strategy", *heads)
    for one in told.strategies:
        marks = [name for name, holds in (("executed", one.is_executed), ("priced best", one.strategy == told.picked)) if holds]
        name = f"{'→' if one.is_executed else ' '} {one.strategy}" + (f" ({', '.join(marks)})" if marks else "")
        cells = (_number(one.cost, ".4g"), *(_number(part, ".3f") for part in (one.accuracy, one.score, one.value)))
        table.add_row(name, f"{one.propensity:.1%}", *cells, style="bold" if one.is_executed else "")
    typer.echo()
    console_of().print(table)
    say("", *told.sentences, *([f"\ndoubt: {told.doubt}"] if told.doubt else []))


def _number(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)
