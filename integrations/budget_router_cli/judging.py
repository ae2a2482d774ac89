"""The command that judges a policy by what was logged after it was trained."""

from dataclasses import asdict
from typing import Annotated

import typer

from budget_router import Budget, Evaluation
from budget_router import evaluate as evaluate_policy
from budget_router.evaluating import MIX
from budget_router.evaluation import OffPolicyEstimate
from budget_router_cli.options import AsJson, LedgerUrl, PerTask, Until, moment, opened
from budget_router_cli.terminal import busy, console_of, say, say_json, table_of

app = typer.Typer()


@app.command(epilog="Example: budget-router evaluate 77ac9cca7023 --ledger sqlite:///spend.db --budget 800:tokens --since 7d")
def evaluate(
    ledger: LedgerUrl,
    budget: PerTask,
    version: Annotated[str | None, typer.Argument(help="As `policies` lists it; the active one if none.")] = None,
    against: Annotated[
        str, typer.Option(help="What it is compared with: a version, or mix, the best static mix at the same spend.")
    ] = MIX,
    since: Annotated[
        str | None, typer.Option(help="Window, e.g. 30d, 12h, or an ISO date; all that came after training if none.")
    ] = None,
    until: Until = None,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="Judge on decisions that trained it too, which flatters it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate what a saved policy would have reached on decisions that were logged after it was trained."""
    average = Budget.parse(budget)
    with opened(ledger) as book, busy("reading and estimating"):
        menu = book.latest().menu
        told = evaluate_policy(
            book,
            version,
            menu=menu,
            budget=average,
            since=moment(since),
            until=moment(until),
            against=against,
            in_sample=in_sample,
        )
    if as_json:
        say_json(_facts(told))
    else:
        _tell(told)


def _facts(told: Evaluation) -> dict[str, object]:
    keys = ("version", "against", "since", "until", "trained_until", "is_in_sample", "n_decisions", "n_tasks", "n_graded")
    return {
        **{key: getattr(told, key) for key in keys},
        "budget": told.budget.per_task,
        "unit": told.budget.unit,
        "shares": {told.version: told.policy.shares, told.against: told.rival.shares},
        "estimates": [
            {"policy": row.policy, "measure": row.measure, "estimator": row.estimator, **asdict(row.estimate)}
            for row in told.rows
        ],
    }


def _tell(told: Evaluation) -> None:
    console, unit = console_of(), told.budget.unit.replace("_", " ")
    if told.is_in_sample:
        console.print(
            "[bold red]in-sample[/]: some of these decisions trained it, so it looks better than it is\n", highlight=False
        )
    since = "from the first on" if told.since is None else f"since {told.since:%Y-%m-%d %H:%M}"
    say(
        f"policy {told.version} at {told.budget}, against {_rival(told)}",
        f"judged on {told.n_decisions:,} decisions on {told.n_tasks:,} tasks, {told.n_graded:,} of them graded, {since}; "
        f"trained on decisions up to {told.trained_until:%Y-%m-%d %H:%M}\n",
    )
    table = table_of("", "IPS", "SNIPS", "doubly robust")
    for title, measure in (("accuracy", "accuracy"), (f"{unit} per task", "spend")):
        for name, worth in ((title, told.policy), (f"  {told.against}", told.rival)):
            table.add_row(name, *(_shown(one, signed=False) for one in getattr(worth, measure)))
    table.add_row("gain in accuracy", "", "", _shown(told.gain, signed=True), style="bold")
    console.print(table)
    reasons = [told.gain.reason, *(one.reason for worth in (told.policy, told.rival) for one in (*worth.accuracy, *worth.spend))]
    say(*(f"\nnothing concluded where no interval stands: {reason}" for reason in list(dict.fromkeys(filter(None, reasons)))[:2]))
    shares = table_of("share of tasks", told.version, told.against)
    for name, share in told.policy.shares.items():
        shares.add_row(name, f"{share:.1%}", f"{told.rival.shares[name]:.1%}")
    typer.echo()
    console.print(shares)


def _rival(told: Evaluation) -> str:
    return "the best static mix at the same expected spend" if told.against == MIX else f"policy {told.against}"


def _shown(one: OffPolicyEstimate, *, signed: bool) -> str:
    sign = "+" if signed else ""
    number = f"{sign}.3f" if abs(one.value) < 10 else f"{sign},.1f"
    interval = f" [{one.low:{number}}, {one.high:{number}}]" if one.is_conclusive else ""
    return f"{one.value:{number}}{interval}"
