"""The commands that ask a log what budgets can buy."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from budget_router import Budget, LoggedFrontier, Solved
from budget_router import frontier as frontier_of
from budget_router import solve as solve_ledger
from budget_router.errors import InvalidInput
from budget_router.solving import Ground
from budget_router_cli.options import SHARED, AsJson, LogUrl, PerTask, Seed, Since, Until, moment, opened_to_read
from budget_router_cli.terminal import busy, console_of, lines, say, say_json, table_of

app = typer.Typer()


@app.command(epilog="Example: budget-router solve --ledger sqlite:///spend.db --budget 800:tokens --since 30d")
def solve(
    ledger: LogUrl,
    budget: PerTask,
    since: Since = None,
    until: Until = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Find the best allocation of the logged tasks within a budget, and its shadow price; nothing is learned or saved."""
    average = Budget.parse(budget)
    with opened_to_read(ledger) as book, busy("reading, completing, solving"):
        solved = solve_ledger(book, menu=book.latest().menu, budget=average, since=moment(since), until=moment(until), seed=seed)
    if as_json:
        say_json(_solved_facts(solved))
        return
    allocation, unit = solved.allocation, average.unit.replace("_", " ")
    lines(
        ("read", _told_ground(solved.ground)),
        ("solved", f"λ = {allocation.lam:.3g} accuracy per {unit} · duality gap {allocation.duality_gap:.1g}"),
        ("spend", f"{allocation.spend:.4g} of {average.per_task:g} {unit} per task, and the budget is {allocation.status}"),
        ("accuracy", f"{allocation.accuracy:.3f}, when each task's own outcomes are known: no policy reaches more"),
    )
    told = table_of("strategy", "share of tasks", "graded on", "alone: cost", "accuracy")
    for one in solved.ground.fixed:
        told.add_row(
            one.strategy, f"{solved.shares[one.strategy]:.1%}", f"{one.n_graded:,}", f"{one.cost:.4g}", f"{one.accuracy:.3f}"
        )
    typer.echo()
    console_of().print(told)


@app.command(epilog="Example: budget-router frontier --ledger sqlite:///spend.db --budgets 400,800,1600 --json")
def frontier(
    ledger: LogUrl,
    budgets: Annotated[
        str | None, typer.Option(help="Averages per task, with commas between; from cheapest to dearest if none.")
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(envvar=f"{SHARED}BUDGET", help="Average whose unit is meant; that of the latest decision if none."),
    ] = None,
    since: Since = None,
    until: Until = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Trace the most accuracy that every budget buys on the logged tasks, beside strategies that all tasks get."""
    wanted = _numbers(budgets)
    with opened_to_read(ledger) as book, busy("reading, completing, tracing"):
        latest = book.latest()
        unit = latest.decision.budget.unit if budget is None else Budget.parse(budget).unit
        traced = frontier_of(
            book, menu=latest.menu, unit=unit, budgets=wanted, since=moment(since), until=moment(until), seed=seed
        )
    if as_json:
        say_json(_frontier_facts(traced))
        return
    lines(("read", _told_ground(traced.ground)))
    spelled = unit.replace("_", " ")
    told = table_of(f"{spelled} per task", "accuracy at best", "λ", "a policy's, held out", "95 % interval")
    for point in traced.points:
        best = f"{point.spend:.4g}", f"{point.accuracy:.3f}", f"{point.shadow_price:.3g}"
        interval = f"[{point.held_out.low:.3f}, {point.held_out.high:.3f}]" if point.held_out.is_conclusive else "unsure"
        told.add_row(*best, f"{point.held_out.value:.3f}", interval)
    told.add_section()
    for one in traced.ground.fixed:
        told.add_row(f"{one.cost:.4g}  always {one.strategy}", f"{one.accuracy:.3f}", "", "", "")
    typer.echo()
    console_of().print(told)
    doubts = list(dict.fromkeys(point.held_out.reason for point in traced.points if point.held_out.reason))
    say(*(f"\nunsure: {doubt}" for doubt in doubts[:1]))


def _numbers(text: str | None) -> Sequence[float]:
    try:
        return [] if text is None else [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInput(f"budgets {text!r} are not numbers: write them as 400,800,1600") from error


def _told_ground(ground: Ground) -> str:
    window = " ".join(
        f"{word} {at:%Y-%m-%d %H:%M}" for word, at in (("since", ground.since), ("until", ground.until)) if at is not None
    )
    return f"{ground.n_decisions:,} decisions on {ground.n_tasks:,} tasks, {window or 'all of the log'}; seed {ground.seed}"


def _ground_facts(ground: Ground) -> dict[str, object]:
    return {**ground._asdict(), "fixed": [one._asdict() for one in ground.fixed]}


def _solved_facts(solved: Solved) -> dict[str, object]:
    allocation = solved.allocation
    return {
        "budget": solved.budget.per_task,
        "shadow_price": allocation.lam,
        "spend": allocation.spend,
        "accuracy": allocation.accuracy,
        "dual_bound": allocation.dual_bound,
        "duality_gap": allocation.duality_gap,
        "status": allocation.status,
        "shares": solved.shares,
        **_ground_facts(solved.ground),
    }


def _frontier_facts(traced: LoggedFrontier) -> dict[str, object]:
    points = [{**point._asdict(), "held_out": asdict(point.held_out)} for point in traced.points]
    return {"points": points, **_ground_facts(traced.ground)}
