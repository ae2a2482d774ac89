"""The commands that try a candidate live: in silence, and with a share of the tasks."""

import json
import math
from typing import Annotated, Any

import typer

from budget_router import Budget, Limits, ShadowResult, check_rollout, shadowed
from budget_router import shadow as shadow_policy
from budget_router.evaluation import OffPolicyEstimate
from budget_router_cli.options import AsJson, LedgerUrl, PerTask, PerTaskIfTold, moment, opened
from budget_router_cli.terminal import lines

app = typer.Typer()


@app.command(epilog="Example: budget-router shadow 77ac9cca7023 --ledger sqlite:///spend.db")
def shadow(
    what: Annotated[
        str, typer.Argument(help="Version of a saved policy, `off`, or `status`: what the candidate came to so far.")
    ],
    ledger: LedgerUrl,
    budget: PerTaskIfTold = None,
    since: Annotated[str | None, typer.Option(help="For `status`: window, e.g. 30d, 12h, or an ISO date.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a saved policy decide in silence, beside the one that decides; `off` ends it, `status` judges it."""
    with opened(ledger) as book:
        latest = book.latest()
        if what == "status":
            average = latest.decision.budget if budget is None else Budget.parse(budget)
            unbound = Budget(per_task=average.per_task, unit=average.unit)
            result = shadowed(book, menu=latest.menu, budget=unbound, since=moment(since))
            _tell(result, unbound, as_json=as_json)
            return
        stands = shadow_policy(book, None if what == "off" else what, menu=latest.menu)
    told = "nobody decides in silence" if stands.shadow is None else f"{stands.shadow} decides in silence"
    typer.echo(json.dumps({"shadow": stands.shadow}) if as_json else f"{told}; routers pick it up within seconds")


@app.command(epilog="Example: budget-router rollout --ledger sqlite:///spend.db --budget 800:tokens --complete")
def rollout(
    ledger: LedgerUrl,
    budget: PerTask,
    undo: Annotated[bool, typer.Option("--undo/--look", help="Take back what is bad, or only tell.")] = True,
    complete: Annotated[bool, typer.Option("--complete", help="Promote a canary that is good to decide all tasks.")] = False,
    max_loss: Annotated[float, typer.Option(help="Points of accuracy that may be lost, e.g. 1.")] = 0.0,
    min_gain: Annotated[float, typer.Option(help="Points that a good canary must gain, e.g. -1.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Look at the canary, or at a policy in its first days, and roll back what is bad; for cron, every few minutes.

    Exit code 1: something was bad.
    """
    with opened(ledger) as book:
        verdict = check_rollout(
            book,
            menu=book.latest().menu,
            budget=Budget.parse(budget),
            limits=Limits(max_loss=max_loss / 100, min_gain=min_gain / 100),
            undo=undo,
            complete=complete,
        )
    if as_json:
        typer.echo(json.dumps(verdict.facts(), indent=1))
    else:
        lines((verdict.action or verdict.finding, f"  {verdict.told}"))
    if verdict.finding == "bad":
        raise typer.Exit(1)


def _tell(result: ShadowResult, budget: Budget, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_facts(result), indent=1))
        return
    lines(
        ("shadow", f"{result.version} watched {result.n_decisions:,} decisions, and differs on {100 * result.differs:.1f} %"),
        ("accuracy", f"{result.accuracy}"),
        ("gain", f"{result.gain} over what decided"),
        ("spend", f"{result.spend} of {budget.per_task:g} {budget.unit.replace('_', ' ')}, {result.expected_spend:.4g} expected"),
        *(("strategy", f"{name}: {100 * ours:.1f} % served, {100 * theirs:.1f} %") for name, ours, theirs in result.shares),
    )


def _facts(result: ShadowResult) -> dict[str, Any]:  # Any: JSON
    told = {name: _known(value) if isinstance(value, OffPolicyEstimate) else value for name, value in vars(result).items()}
    return {**told, "shares": [{"strategy": name, "served": ours, "shadow": theirs} for name, ours, theirs in result.shares]}


def _known(estimate: OffPolicyEstimate) -> dict[str, float | str | None]:
    told = {name: getattr(estimate, name) for name in ("value", "low", "high", "effective_sample_size", "n", "reason")}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in told.items()}
