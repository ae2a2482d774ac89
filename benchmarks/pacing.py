"""Pacing in simulated traffic, beside ParetoBandit's own pacer: `python -m benchmarks.pacing`.

Each scenario of `benchmarks.pacing_world` is served by our pacer, by ParetoBandit's `BudgetPacer`, and at the static price that
hindsight would have set, all on the same predictions. Over the seeds (each draws its own tasks and bills) it shows the average
at the end, the worst running excess after 200 decisions and how much room it left under its limit, and the accuracy against the
static price. Teams share a budget in a scenario of their own, with and without lending, and so do workers who hear late of each
other.
Needs `pip install paretobandit`.
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.pacing_picture import Shown, picture
from benchmarks.pacing_rivals import OURS, PEERS, Ours, Peer, Run, hindsight, serve
from benchmarks.pacing_teams import TEAMS, team_rows
from benchmarks.pacing_workers import N_WORKERS, worker_rows
from benchmarks.pacing_world import BUDGET, N_KNOWN, SCENARIOS, Calibrated, Stream, stream_of
from budget_router.budget import Budget
from budget_router.pacing import Pacer

MAX_ERROR = 0.01
"""Of the average at the end, in budgets."""
MAX_EXCESS, FIRST = 0.05, 200
"""After so many decisions the running average may be ahead of the budget by this and the dearest bill over so many budgets."""
MAX_LOSS = 0.005
"""Of accuracy, against the static price with hindsight."""


class Marks(NamedTuple):
    """What one run of one pacer came to."""

    budget_error: float
    """Average over budget at the end, less one."""
    excess: float
    """Worst running average over budget after `FIRST` decisions, less one."""
    excess_limit: float
    gain: float
    """Accuracy less that of the static price with hindsight."""


def marks(stream: Stream, run: Run, best: Run, budget: float = BUDGET) -> tuple[Marks, Shown]:
    """Judge a run."""
    bill, accuracy = stream.outcome(run.actions)
    average = np.cumsum(bill) / np.arange(1, len(bill) + 1) / budget
    limit = MAX_EXCESS + float(bill.max()) / (FIRST * budget)
    gain = float(accuracy.mean() - stream.outcome(best.actions)[1].mean())
    excess = float(average[FIRST - 1 :].max() - 1)
    return Marks(float(average[-1] - 1), excess, limit, gain), Shown(average, run.price * budget)


def simulate(name: str, *, seed: int, n_tasks: int) -> dict[str, tuple[Marks, Shown]]:
    """One scenario, once: the marks and the picture of each pacer."""
    rng = np.random.default_rng([seed, n_tasks])
    known = Stream.drawn(rng, np.zeros(N_KNOWN))
    stream = stream_of(name, rng, n_tasks)
    best = hindsight(stream, BUDGET)
    ours = Ours(stream, Calibrated(known, stream), Pacer(Budget(per_task=BUDGET, unit="usd")), rng)
    runs = {OURS: serve(stream, ours), **{name: serve(stream, Peer(stream, mode=mode)) for name, mode in PEERS.items()}}
    runs["static"] = best
    return {pacer: marks(stream, run, best) for pacer, run in runs.items()}


def row(name: str, pacer: str, found: list[Marks]) -> dict[str, Any]:  # Any: JSON
    """The figures of a scenario and a pacer over seeds."""
    error, excess, limit, gain = np.array(found).T
    return {
        "scenario": name,
        "pacer": pacer,
        "seeds": len(found),
        "budget_error": float(error.mean()),
        "worst_budget_error": float(error[np.abs(error).argmax()]),
        "share_within": float((np.abs(error) <= MAX_ERROR).mean()),
        "excess": float(excess.mean()),
        "worst_excess": float(excess.max()),
        "least_room": float((limit - excess).min()),
        "gain": float(gain.mean()),
        "gain_standard_error": float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else float("nan"),
        "keeps_average": bool((np.abs(error) <= MAX_ERROR).all()),
        "keeps_excess": bool((excess <= limit).all()),
        "keeps_accuracy": bool(gain.mean() >= -MAX_LOSS),
    }


def run(*, seeds: int, n_tasks: int) -> tuple[list[dict[str, Any]], dict[str, dict[str, Shown]]]:  # Any: JSON
    """One row per scenario and pacer, and the first seed's runs by scenario."""
    rows, shown = [], {}
    for name in track(SCENARIOS, description="scenarios", console=Console(stderr=True)):
        found = [simulate(name, seed=seed, n_tasks=n_tasks) for seed in range(seeds)]
        shown[name] = {pacer: drawn for pacer, (_, drawn) in found[0].items()}
        rows += [row(name, pacer, [one[pacer][0] for one in found]) for pacer in (OURS, *PEERS)]
    return rows, shown


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tasks", type=int, default=2000, help="decisions of each run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, help="draw the first seed's runs into this file of SVG")
    options = parser.parse_args()
    rows, shown = run(seeds=options.seeds, n_tasks=options.tasks)
    teams = team_rows(seeds=options.seeds, n_tasks=options.tasks)
    workers = worker_rows(seeds=options.seeds, n_tasks=options.tasks)
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_text(picture(shown))
    if options.json:
        print(json.dumps({"decisions": options.tasks, "scenarios": rows, "teams": teams, "workers": workers}, indent=1))
        return
    console = Console(width=100)
    console.print(_scenarios(rows, options.seeds))
    console.print(_teams(teams, options.seeds))
    console.print(_workers(workers, options.seeds))


def _scenarios(rows: list[dict[str, Any]], seeds: int) -> Table:  # Any: JSON
    table = Table(title=f"per cent, {seeds} seeds", box=None, title_justify="left", pad_edge=False)
    table.add_column("scenario")
    table.add_column("pacer")
    for column in ("average", "worst", "in 1 %", "excess", "room", "accuracy", "± s.e."):
        table.add_column(column, justify="right")
    for one in rows:
        figures = [f"{100 * one[key]:+.2f}" for key in ("budget_error", "worst_budget_error")]
        figures += [f"{100 * one['share_within']:.0f}", f"{100 * one['worst_excess']:.1f}", f"{100 * one['least_room']:+.1f}"]
        figures += [f"{100 * one['gain']:+.2f}", f"{100 * one['gain_standard_error']:.2f}"]
        is_ours = one["pacer"] == OURS
        table.add_row(one["scenario"] if is_ours else "", one["pacer"], *figures, style="bold" if is_ours else "")
    return table


def _teams(rows: list[dict[str, Any]], seeds: int) -> Table:  # Any: JSON
    table = Table(title=f"\nteams, per cent, {seeds} seeds", box=None, title_justify="left", pad_edge=False)
    for column in ("lend", "together", *(f"{team} spends" for team in TEAMS), "accuracy", "gain", "± s.e."):
        table.add_column(column, justify="right")
    for one in rows:
        spent = [f"{100 * one['spend'][team]:.1f}" for team in TEAMS]
        gained = (f"{100 * one['accuracy']:.2f}", f"{100 * one['gain']:+.2f}", f"{100 * one['gain_standard_error']:.2f}")
        table.add_row(f"{100 * one['lend']:.0f}", f"{100 * one['budget_error']:+.2f}", *spent, *gained)
    return table


def _workers(rows: list[dict[str, Any]], seeds: int) -> Table:  # Any: JSON
    table = Table(title=f"\n{N_WORKERS} workers, per cent, {seeds} seeds", box=None, title_justify="left", pad_edge=False)
    table.add_column("scenario")
    for column in ("heard after", "average", "worst", "in 1 %", "excess", "room", "accuracy", "± s.e."):
        table.add_column(column, justify="right")
    for one in rows:
        stale = one["decisions_between_exchanges"]
        figures = [f"{100 * one[key]:+.2f}" for key in ("budget_error", "worst_budget_error")]
        figures += [f"{100 * one['share_within']:.0f}", f"{100 * one['worst_excess']:.1f}", f"{100 * one['least_room']:+.1f}"]
        figures += [f"{100 * one['gain']:+.2f}", f"{100 * one['gain_standard_error']:.2f}"]
        table.add_row(one["scenario"], "never" if stale is None else str(stale), *figures)
    return table


if __name__ == "__main__":
    main()
