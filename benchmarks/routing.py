"""RouteLLM's protocol on recorded outcomes: `python -m benchmarks.routing --train ROOT [--dataset NAME ...]`.

A score says how soon a task is given to the strong model instead of the weak one; its eleven thresholds make a curve of accuracy
against what is called or spent. Shown are APGR, the mean recovered share of the two models' gap, with a 95 % bootstrap interval
over tasks, and CPT 20, 50 and 80, the least share of strong calls, or spend per task, that recovers that much of it.

- `random` knows nothing, `prompt length` gives long prompts to the strong model, and `oracle` scores by the true gain.
- `value` is the gain in accuracy that our policy predicts, trained in domain on the other four folds and on all strategies that
  the set recorded there. RouteLLM's published routers were trained on other data: figures beside theirs compare protocols.

The second unit is completion tokens, of both models alike, or with `--tariffs` USD; a set that recorded no tokens has none.
Scores rank by gain in either unit, not by gain per cost, so that in the second the oracle is no upper bound.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quality import folds
from benchmarks.recorded import Recorded, load
from budget_router import Task
from budget_router.allocation import FloatArray
from budget_router.evaluation import paired_bootstrap, threshold_curve
from budget_router.evaluation.routing_curve import CALL_SHARE
from budget_router.policies import ValuePolicy

DATASETS = ("routellm_mmlu", "gsm8k_six")
PAIRS = {"gsm8k_six": ("Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview")}
"""The weak and the strong model of a set that recorded more than two."""
CALLS = "strong calls"
N_DRAWS = 300


@dataclass(frozen=True)
class RoutingRow:
    """One score's curve in one unit."""

    dataset: str
    n_tasks: int
    score: str
    unit: str
    apgr: float
    apgr_low: float
    apgr_high: float
    cpt_20: float
    """Share of strong calls in [0, 1], or mean spend per task in the unit."""
    cpt_50: float
    cpt_80: float


def pair(recorded: Recorded) -> tuple[int, int]:
    """Columns of the weak and the strong model: those of `PAIRS`, or of a set of two the less and the more accurate."""
    names = recorded.menu.names
    if recorded.name in PAIRS:
        weak, strong = PAIRS[recorded.name]
        return names.index(weak), names.index(strong)
    if len(names) != 2:
        raise SystemExit(f"{recorded.name} holds {len(names)} strategies: routing is between two, so name its pair in PAIRS")
    weak_column, strong_column = np.argsort(recorded.accuracy.mean(axis=0)).tolist()
    return weak_column, strong_column


def predicted_gain(recorded: Recorded, weak: int, strong: int) -> FloatArray:
    """(n_tasks,) accuracy of the strong model minus the weak one's, predicted by policies that did not see the task's group."""
    gain = np.empty(len(recorded.texts))
    for outside, inside in folds(recorded, seed=0):
        policy = ValuePolicy().fit(recorded.rows(outside).full(), rng=np.random.default_rng(0))
        predicted = policy.predict([Task(recorded.texts[row]) for row in inside]).score  # of this policy: accuracy
        gain[inside] = predicted[:, strong] - predicted[:, weak]
    return gain


def costs(cost: FloatArray, tariffs: tuple[float, float] | None) -> dict[str, FloatArray]:
    """Each unit's cost, (n_tasks, 2) of the weak and the strong model; not where the strong one is no dearer.

    Args:
        cost: (n_tasks, 2) completion tokens; 0 and 1 where none were recorded.
        tariffs: USD per million completion tokens of the two models.
    """
    units = {CALLS: np.broadcast_to(CALL_SHARE, cost.shape)}
    if not np.isin(cost, CALL_SHARE).all():
        paid = cost if tariffs is None else cost * tariffs / 1e6
        if paid[:, 1].mean() > paid[:, 0].mean():
            units["tokens" if tariffs is None else "USD"] = paid
    return units


def run(recorded: Recorded, *, tariffs: tuple[float, float] | None = None) -> list[RoutingRow]:
    """All scores of a set in all its units."""
    columns = weak, strong = pair(recorded)
    accuracy = recorded.accuracy[:, columns]
    scores = {
        "random": np.random.default_rng(0).random(len(accuracy)),
        "prompt length": np.array([float(len(text)) for text in recorded.texts]),
        "value": predicted_gain(recorded, weak, strong),
        "oracle": accuracy[:, 1] - accuracy[:, 0],
    }
    return [
        _row(score, accuracy, cost, dataset=recorded.name, name=name, unit=unit)
        for unit, cost in costs(recorded.cost[:, columns], tariffs).items()
        for name, score in scores.items()
    ]


def _row(score: FloatArray, accuracy: FloatArray, cost: FloatArray, *, dataset: str, name: str, unit: str) -> RoutingRow:
    curve = threshold_curve(score, accuracy, cost=cost)
    apgr = paired_bootstrap(
        lambda rows: threshold_curve(score[rows], accuracy[rows], cost=cost[rows]).apgr,
        len(score),
        rng=np.random.default_rng(0),
        n_draws=N_DRAWS,
    )
    return RoutingRow(dataset, len(score), name, unit, *apgr, *(curve.cpt(share) for share in (0.2, 0.5, 0.8)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table per set, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="folder of recorded sets")
    parser.add_argument("--dataset", nargs="+", default=DATASETS, help="folders of the sets, by default both of RouteLLM's")
    parser.add_argument("--tariffs", type=float, nargs=2, metavar=("WEAK", "STRONG"), help="USD per million completion tokens")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    sets = [load(name, options.train, is_adaptive=False) for name in options.dataset]
    results = [run(recorded, tariffs=options.tariffs and tuple(options.tariffs)) for recorded in sets]
    if options.json:
        print(json.dumps([asdict(row) for rows in results for row in rows], indent=1))
        return
    console = Console(width=100)
    for rows in results:
        console.print(_table(rows))
        console.print()


def _table(rows: Sequence[RoutingRow]) -> Table:
    title = f"{rows[0].dataset}: {rows[0].n_tasks} tasks, five folds in domain"
    table = Table(title=title, min_width=len(title), box=None, title_justify="left", pad_edge=False)
    for column in ("unit", "score", "APGR", "95 % interval", "CPT 20", "CPT 50", "CPT 80"):
        table.add_column(column, justify="left" if column in {"unit", "score"} else "right", no_wrap=True)
    for row in rows:
        cpt = [f"{one:.1%}" if row.unit == CALLS else f"{one:.4g}" for one in (row.cpt_20, row.cpt_50, row.cpt_80)]
        table.add_row(row.unit, row.score, f"{row.apgr:.3f}", f"[{row.apgr_low:.3f}, {row.apgr_high:.3f}]", *cpt)
    return table


if __name__ == "__main__":
    main()
