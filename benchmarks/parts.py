"""What each part of the menu adds: `python -m benchmarks.parts --dataset jhu_mcqa:gpt-4 --train ROOT`.

The learned choice among all strategies is held against each of its three parts alone at equal spend, by cross-validation: the
best static mix of votes that stop early, that of escalations, and the learned choice among fixed votes. The mixes are drawn on
the very test tasks; the learned part's accuracy is interpolated between its own budgets. Differences are means over the
budgets, with a paired bootstrap over groups.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import quality
from benchmarks.recorded import Recorded, load
from budget_router import Escalate
from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation import Estimate, mix_at_spend


class Difference(NamedTuple):
    """Accuracy of the whole menu's learned choice above one part's, mean over the budgets."""

    part: str
    difference: Estimate


def out_of_fold(recorded: Recorded, name: str, *, seed: int) -> tuple[Recorded, dict[float, FloatArray]]:
    """All tasks in the order of the folds, and how often a policy that did not see them picks each strategy, by budget."""
    parts = [(recorded.rows(outside), recorded.rows(inside)) for outside, inside in quality.folds(recorded, seed=0)]
    chosen = [quality.learned(name, *part, recorded.budgets, feedback="full", seed=seed) for part in parts]
    return quality.joined([test for _, test in parts]), {
        budget: np.concatenate([one[budget] for one in chosen]) for budget in recorded.budgets
    }


def run(recorded: Recorded, *, seed: int) -> list[Difference]:
    """One row per part; raises SystemExit where the menu has no adaptive strategies."""
    stops = np.flatnonzero([strategy.is_adaptive and not isinstance(strategy, Escalate) for strategy in recorded.menu])
    escalations = np.flatnonzero([isinstance(strategy, Escalate) for strategy in recorded.menu])
    if not stops.size or not escalations.size:
        raise SystemExit(
            f"{recorded.name} prices no early stopping and escalation: several samples of several prompts are needed"
        )
    tests, whole = out_of_fold(recorded, "value", seed=seed)
    _, fixed = out_of_fold(recorded, "value_fixed", seed=seed)
    ours = np.array([[(chosen * cells).sum(axis=1) for cells in (tests.accuracy, tests.cost)] for chosen in whole.values()])
    learned = np.array([[(chosen * cells).sum(axis=1) for cells in (tests.accuracy, tests.cost)] for chosen in fixed.values()])

    def differences(rows: IntArray) -> list[float]:
        accuracy, spend = ours[:, :, rows].mean(axis=2).T
        of_learned, at = learned[:, :, rows].mean(axis=2).T
        parts = [
            [mix_at_spend(tests.accuracy[np.ix_(rows, one)], tests.cost[np.ix_(rows, one)], x) for x in spend]
            for one in (stops, escalations)
        ]
        return [float((accuracy - part).mean()) for part in (*parts, np.interp(spend, at, of_learned))]

    values = differences(np.arange(len(tests.texts)))
    draws = [differences(rows) for rows in quality.resampled(tests, rng=np.random.default_rng(0))]
    lows, highs = np.percentile(draws, [2.5, 97.5], axis=0)
    names = ("early stopping alone, best static mix", "escalation alone, best static mix", "learned choice of fixed votes alone")
    return [Difference(name, Estimate(*map(float, one))) for name, *one in zip(names, values, lows, highs, strict=True)]


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="jhu_mcqa:gpt-3.5-turbo")
    parser.add_argument("--train", type=Path, required=True, help="folder of recorded sets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = run(load(options.dataset, options.train), seed=options.seed)
    if options.json:
        print(json.dumps([{"dataset": options.dataset, "part": row.part} | row.difference._asdict() for row in rows], indent=1))
        return
    table = Table("the whole menu above", title=options.dataset, box=None, title_justify="left", pad_edge=False)
    for column in ("accuracy", "95 % interval"):
        table.add_column(column, justify="right")
    for name, (value, low, high) in rows:
        table.add_row(name, f"{value:+.4f}", f"[{low:+.4f}, {high:+.4f}]")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
