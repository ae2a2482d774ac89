"""Settings that no log holds: `python -m benchmarks.knobs --train ROOT`.

From sets that were recorded at several settings of one knob (votes, thinking limit) each inner setting in turn is left out of
training, and told by those that stay. Beside what was recorded there: what the policy expects, and what it buys at the budget
that the setting costs on average, with the setting on its menu and without. Cross-validated by group.
"""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.quality import folds
from benchmarks.recorded import Recorded, load
from budget_router import ExtendedCoT, Menu, SelfConsistency, Strategy, Task
from budget_router.allocation import IntArray
from budget_router.policies import ValuePolicy

DATASETS = ("s1_global_mmlu_budgets", "jhu_mcqa:gpt-3.5-turbo", "jhu_mcqa:gpt-4", "esc_last_letters")
_THINKING = re.compile(r"(.*)@think(\d+)")


def ladders(recorded: Recorded) -> list[Recorded]:
    """One set for each knob with three settings or more: its columns alone, from low to high."""
    columns: dict[str, list[tuple[int, int]]] = {}
    for column, strategy in enumerate(_with_limits(recorded.menu)):
        if strategy.knob is not None:
            columns.setdefault(strategy.knob.of, []).append((strategy.knob.setting, column))
    return [recorded.only(np.array([column for _, column in sorted(one)])) for one in columns.values() if len(one) > 2]


def _with_limits(menu: Menu) -> Menu:
    """Recorded names tell thinking limits: as settings, so that they are one knob's."""
    return Menu([_with_limit(strategy) for strategy in menu])


def _with_limit(strategy: Strategy) -> Strategy:
    if isinstance(strategy, SelfConsistency) or not (found := _THINKING.fullmatch(strategy.name)):
        return strategy
    model, limit = found.groups()
    return ExtendedCoT(name=strategy.name, model=model, max_thinking_tokens=int(limit))


def left_out(recorded: Recorded, column: int) -> dict[str, Any]:  # Any: JSON
    """One setting, told by the others."""
    told = [_told(recorded, *part, column) for part in folds(recorded, seed=0)]
    weight = np.array([len(part[1]) for part in folds(recorded, seed=0)])
    cost, accuracy, *bought = (float(np.average(one, weights=weight)) for one in zip(*told, strict=True))
    return {
        "dataset": recorded.name,
        "setting": recorded.menu.names[column],
        "recorded_cost": float(recorded.cost[:, column].mean()),
        "told_cost": cost,
        "recorded_accuracy": float(recorded.accuracy[:, column].mean()),
        "told_accuracy": accuracy,
        **dict(zip(("with_accuracy", "with_spend", "without_accuracy", "without_spend"), bought, strict=True)),
    }


def _told(recorded: Recorded, train: IntArray, test: IntArray, column: int) -> list[float]:
    """On one fold: cost and accuracy told of the setting; accuracy and spend bought with it, and without."""
    others, budget = np.delete(np.arange(len(recorded.menu)), column), float(recorded.cost[:, column].mean())
    seen, outcomes = recorded.rows(test), recorded.rows(train).full()
    table = replace(outcomes, menu=_with_limits(outcomes.menu))
    for cells in (table.accuracy, table.standard_error, table.cost):
        cells[:, column] = np.nan
    tasks = [Task(text) for text in seen.texts]
    told = ValuePolicy().fit(table, rng=np.random.default_rng(0))
    prediction = told.predict(tasks)
    narrow = ValuePolicy().fit(recorded.only(others).rows(train).full(), rng=np.random.default_rng(0))
    bought = []
    for tested, probabilities in (
        (seen, told.choose(prediction, budget).probabilities),
        (seen.only(others), narrow.choose(narrow.predict(tasks), budget).probabilities),
    ):
        bought += [float((probabilities * cells).sum(axis=1).mean()) for cells in (tested.accuracy, tested.cost)]
    expected = prediction.accuracy if prediction.accuracy is not None else prediction.score
    return [float(prediction.cost[:, column].mean()), float(expected[:, column].mean()), *bought]


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="folder of recorded sets")
    parser.add_argument("--datasets", nargs="+", default=DATASETS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    knobs = [one for name in options.datasets for one in ladders(load(name, options.train, is_adaptive=False))]
    inner = [(one, column) for one in knobs for column in range(1, len(one.menu) - 1)]
    rows = [left_out(*one) for one in track(inner, description="settings left out", console=Console(stderr=True))]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(title="settings left out, told by their neighbours", box=None, title_justify="left", pad_edge=False)
    for name in ("set", "setting", "cost", "told", "accuracy", "told", "bought with it", "without it"):
        table.add_column(name, justify="left" if name in ("set", "setting") else "right")
    for row in rows:
        table.add_row(
            row["dataset"],
            row["setting"],
            *(f"{row[name]:.4g}" for name in ("recorded_cost", "told_cost")),
            *(f"{row[name]:.4f}" for name in ("recorded_accuracy", "told_accuracy")),
            *(f"{row[f'{which}_accuracy']:.4f} at {row[f'{which}_spend']:.4g}" for which in ("with", "without")),
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
