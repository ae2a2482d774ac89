"""The commands that learn a policy: from a file, once, and from a ledger, again."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from budget_router import Budget, Refresh, save_policy
from budget_router import refresh as refresh_ledger
from budget_router import report as report_of
from budget_router import train as train_on
from budget_router.evaluation import Gate, OffPolicyEstimate
from budget_router.evaluation.judgement import STATIC_MIX
from budget_router.reports import write_report
from budget_router_cli.options import MENU, AsJson, LogUrl, PerTask, is_log, moment, opened, opened_to_read
from budget_router_cli.terminal import lines, progress_bars
from budget_router_cli.watching import span
from budget_router_cli.watching import watch as watch_ledger
from budget_router_cli.workers import workers

app = typer.Typer()


@app.command(epilog="Example: budget-router train log.db --budget 0.002:usd --out policy")
def train(
    log: Annotated[Path, typer.Argument(help="SQLite file that `record` or a router wrote, or what `export` wrote.")],
    budget: PerTask,
    out: Annotated[Path, typer.Option(help="Folder of the policy, for load_policy.")],
    menu: Annotated[
        Path | None,
        typer.Option(envvar=MENU, help="TOML menu to choose from; that of the log's latest decision if none."),
    ] = None,
    learner: Annotated[str, typer.Option(help="value or imitator.")] = "value",
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Learn a policy from a log and write it to a folder, which load_policy reads."""
    from budget_router_cli.menu_file import read_menu

    average = Budget.parse(budget)
    with opened_to_read(str(log) if is_log(str(log)) else f"sqlite:///{log}") as book, progress_bars() as progress:
        offered = read_menu(menu).menu if menu else book.latest().menu
        result = train_on(book, out, menu=offered, budget=average, learner=learner, seed=seed, progress=progress)
    if as_json:
        typer.echo(json.dumps({**_told(result, seed), "folder": str(out)}, indent=1))
        return
    _tell(result)
    lines(("saved", f'{out}: BudgetRouter(menu, budget, policy=load_policy("{out}"))'))


@app.command(epilog="Example: budget-router refresh --ledger sqlite:///spend.db --budget 800:tokens --since 30d")
def refresh(
    ledger: LogUrl,
    budget: PerTask,
    since: Annotated[str | None, typer.Option(help="Window, e.g. 30d, 12h, or an ISO date.")] = None,
    learner: Annotated[str, typer.Option(help="value or imitator.")] = "value",
    weak_labels: Annotated[
        bool, typer.Option("--weak-labels", help="Learn from ungraded votes too, by how far their samples agree.")
    ] = False,
    half_life: Annotated[
        str | None, typer.Option(help="Age at which a decision counts half, e.g. 14d; all alike if none.")
    ] = None,
    later: Annotated[
        float | None, typer.Option(help="Share of the decisions, the latest, that judge and do not train; else cross-fitted.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Points that the gain's lower bound must reach; negative allows a loss.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    promote: Annotated[bool, typer.Option("--promote/--no-promote", help="Let a candidate serve that the gate passes.")] = True,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Of the threads that it decides at first, as a canary; see `rollout`.")
    ] = 1.0,
    out: Annotated[Path | None, typer.Option(help="Folder to write the policy to, for load_policy.")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to write, with the evidence in pictures.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and learn whenever there is a reason to.")] = False,
    every: Annotated[str | None, typer.Option(help="A reason to: so much time has passed, e.g. 12h.")] = None,
    outcomes: Annotated[int | None, typer.Option(min=1, help="A reason to: so many grades have come.")] = None,
    on_drift: Annotated[bool, typer.Option("--on-drift", help="A reason to: what was learned from no longer holds.")] = False,
    dask: Annotated[
        str | None, typer.Option(help="Scheduler of workers that read a long log, e.g. tcp://10.0.0.7:8786; else this process.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn a policy again from what was logged, under the menu of the latest decision; it serves if the gate passes it."""
    average, gate = Budget.parse(budget), Gate(margin=margin / 100)
    learn = partial(
        refresh_ledger,
        learner=learner,
        weak_labels=weak_labels,
        half_life=None if half_life is None else span(half_life),
        later_share=later,
        seed=seed,
    )
    if watch:
        if not promote or out or report:
            raise typer.BadParameter("--watch promotes what the gate passes: leave --no-promote, --out and --report")
        if is_log(ledger):
            raise typer.BadParameter("an exported log does not grow: --watch the ledger that it came from")
        with opened(ledger) as book, workers(dask) as client:
            watch_ledger(
                book,
                budget=average,
                every=every,
                outcomes=outcomes,
                on_drift=on_drift,
                gate=gate,
                share=share,
                window=since,
                learn=partial(learn, client=client),
                as_json=as_json,
            )
        return
    if every or outcomes or on_drift:
        raise typer.BadParameter("--every, --outcomes and --on-drift are reasons to learn while watching: say --watch")
    is_file = is_log(ledger)
    if is_file and out is None:
        raise typer.BadParameter("an exported log has no shelf for policies: say --out FOLDER")
    with opened_to_read(ledger) as book:
        with workers(dask) as client, progress_bars() as progress:
            learn = partial(learn, client=client, progress=progress)
            result = learn(book, menu=book.latest().menu, budget=average, since=moment(since), gate=gate)
        is_promoted = promote and result.verdict.is_passed and not is_file
        if is_promoted:
            result.promote(share=share)
        if report is not None:
            told = report_of(book, menu=result.policy.menu, budget=average, version=result.version, since=moment(since))
            write_report(told, report)
    if out is not None:
        save_policy(result.policy, out)
    if as_json:
        typer.echo(json.dumps({**_told(result, seed), "promoted": is_promoted}, indent=1))
        return
    _tell(result)
    if weak_labels:
        lines(("weak", f"{max(result.n_weak.values()):,} tasks of a strategy labelled by agreement"))
    lines(*(("doubt", doubt) for doubt in result.weak_doubts))
    _tell_verdict(result, is_promoted=is_promoted, folder=out if is_file else None)
    if report is not None:
        lines(("report", str(report)))


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
        **result.judgement.facts(),
        "verdict": result.verdict.facts(),
        "seed": seed,
    }


def _tell(result: Refresh) -> None:
    """A candidate and its evidence for people."""
    unit, allocation, judgement = result.budget.unit.replace("_", " "), result.allocation, result.judgement
    mixed = judgement.gain_over_mix
    lines(
        ("read", f"{result.n_decisions:,} decisions on {result.n_tasks:,} tasks"),
        (
            "solved",
            f"λ = {allocation.lam:.3g} per {unit} · spend {allocation.spend:.4g} of {result.budget.per_task:g} · "
            f"duality gap {allocation.duality_gap:.1g}",
        ),
        ("candidate", f"{result.version} · accuracy {_percent(result.accuracy)} · spend {_amount(result.spend)}"),
        ("gain", f"{_points(result.gain)} against {judgement.incumbent}"),
        *([("", f"{_points(mixed)} against {STATIC_MIX}")] if mixed is not result.gain else []),
        (
            "evidence",
            f"{result.gain.n:,} graded decisions, effective sample {result.gain.effective_sample_size:,.0f}, doubly robust",
        ),
    )


def _percent(accuracy: OffPolicyEstimate) -> str:
    return _shown(accuracy, lambda share: f"{100 * share:.1f}", " %")


def _points(gain: OffPolicyEstimate) -> str:
    return _shown(gain, lambda share: f"{100 * share:+.1f}", " points")


def _amount(spend: OffPolicyEstimate) -> str:
    return _shown(spend, lambda amount: f"{amount:.4g}")


def _shown(estimate: OffPolicyEstimate, written: Callable[[float], str], unit: str = "") -> str:
    value = f"{written(estimate.value)}{unit}"
    if not estimate.is_conclusive:
        return f"{value}, nothing concluded: {estimate.reason}"
    return f"{value} [{written(estimate.low)}, {written(estimate.high)}]"


def _tell_verdict(result: Refresh, *, is_promoted: bool, folder: Path | None) -> None:
    """What the gate said, each condition with its figures, and what follows."""
    first, *others = result.verdict.failed or result.verdict.conditions
    said = "passed" if result.verdict.is_passed else "not passed"
    lines(("gate", f"{said}: {first}"), *(("", str(condition)) for condition in others))
    if is_promoted:
        lines(("promoted", "routers of this menu pick it up within seconds"))
    elif folder is not None:
        lines(("saved", f'{folder}: BudgetRouter(menu, budget, policy=load_policy("{folder}"))'))
    else:
        lines(("kept", f"serves nobody until: budget-router promote {result.version}"))
