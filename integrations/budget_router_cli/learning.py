"""The commands that learn a policy: from a file, once, and from a ledger, again."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from budget_router import Budget, Refresh
from budget_router import refresh as refresh_ledger
from budget_router.evaluation import OffPolicyEstimate
from budget_router_cli.options import AsJson, LedgerUrl, moment, opened
from budget_router_cli.terminal import lines

app = typer.Typer()


@app.command(epilog="Example: budget-router train log.db --budget 0.002:usd --out policy")
def train(
    log: Annotated[Path, typer.Argument(help="SQLite file that `record` or a router wrote.")],
    budget: Annotated[str, typer.Option(help="Average per task, as number:unit.")],
    out: Annotated[Path, typer.Option(help="Folder of the policy, for load_policy.")],
    menu: Annotated[
        Path | None, typer.Option(help="TOML menu to choose from; that of the log's latest decision if none.")
    ] = None,
    learner: Annotated[str, typer.Option(help="value or imitator.")] = "value",
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Learn a policy from a log and write it to a folder, which load_policy reads."""
    from budget_router import save_policy
    from budget_router_cli.menu_file import read_menu

    average = Budget.parse(budget)
    with opened(f"sqlite:///{log}") as book:
        offered = read_menu(menu).menu if menu else book.latest().menu
        result = refresh_ledger(book, menu=offered, budget=average, learner=learner, seed=seed)
    save_policy(result.policy, out)
    if as_json:
        typer.echo(json.dumps({**_told(result, seed), "folder": str(out)}, indent=1))
        return
    _tell(result)
    lines(("saved", f'{out}: BudgetRouter(menu, budget, policy=load_policy("{out}"))'))


@app.command(epilog="Example: budget-router refresh --ledger sqlite:///spend.db --budget 800:tokens --since 30d")
def refresh(
    ledger: LedgerUrl,
    budget: Annotated[str, typer.Option(help="Average per task, as number:unit.")],
    since: Annotated[str | None, typer.Option(help="Window, e.g. 30d, 12h, or an ISO date.")] = None,
    learner: Annotated[str, typer.Option(help="value or imitator.")] = "value",
    weak_labels: Annotated[
        bool, typer.Option("--weak-labels", help="Learn from ungraded votes too, by how far their samples agree.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    promote: Annotated[bool, typer.Option("--promote/--no-promote", help="Let the candidate serve.")] = True,
    as_json: AsJson = False,
) -> None:
    """Learn a policy again from what was logged, under the menu of the latest decision."""
    average = Budget.parse(budget)
    with opened(ledger) as book:
        menu = book.latest().menu
        result = refresh_ledger(
            book, menu=menu, budget=average, learner=learner, weak_labels=weak_labels, since=moment(since), seed=seed
        )
        if promote:
            result.promote()
    if as_json:
        typer.echo(json.dumps({**_told(result, seed), "promoted": promote}, indent=1))
        return
    _tell(result)
    if weak_labels:
        lines(("weak", f"{max(result.n_weak.values()):,} tasks of a strategy labelled by agreement"))
    lines(
        *(("doubt", doubt) for doubt in result.weak_doubts),
        ("promoted" if promote else "kept", "routers of this menu pick it up within seconds" if promote else "not serving"),
    )


def _told(result: Refresh, seed: int) -> dict[str, object]:
    """A candidate and its evidence for machines."""
    return {
        "version": result.version,
        "n_decisions": result.n_decisions,
        "n_tasks": result.n_tasks,
        "n_graded": result.n_graded,
        "n_weak": result.n_weak,
        "weak_doubts": result.weak_doubts,
        "shadow_price": result.allocation.lam,
        "duality_gap": result.allocation.duality_gap,
        "accuracy": _facts(result.accuracy),
        "gain": _facts(result.gain),
        "spend": _facts(result.spend),
        "budget": result.budget.per_task,
        "seed": seed,
    }


def _tell(result: Refresh) -> None:
    """A candidate and its evidence for people."""
    unit, allocation = result.budget.unit.replace("_", " "), result.allocation
    lines(
        ("read", f"{result.n_decisions:,} decisions on {result.n_tasks:,} tasks"),
        ("solved", f"λ = {allocation.lam:.3g} per {unit} · spend {allocation.spend:.4g} of {result.budget.per_task:g}"),
        ("candidate", f"{result.version} · accuracy {result.accuracy} · spend {result.spend}"),
        ("gain", f"{result.gain} over the best static mix at that spend, held out, doubly robust"),
        ("evidence", f"{result.gain.n:,} graded decisions, effective sample size {result.gain.effective_sample_size:,.0f}"),
    )


def _facts(estimate: OffPolicyEstimate) -> dict[str, float | str | None]:
    """An estimate for JSON, which knows no NaN."""
    return {key: None if isinstance(fact, float) and math.isnan(fact) else fact for key, fact in asdict(estimate).items()}
