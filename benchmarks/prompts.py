"""The prompts that the package `paretobandit` carries: what three models would earn and cost on each."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray


class Served(NamedTuple):
    """What serving a split came to."""

    reward: float
    """Mean over prompts, in [0, 1]."""
    spend: float
    """Mean over prompts, USD."""


@dataclass(frozen=True)
class Prompts:
    """One split of the table."""

    texts: tuple[str, ...]
    reward: FloatArray
    """(n_prompts, n_models) in [0, 1]."""
    cost: FloatArray
    """(n_prompts, n_models), USD."""

    def rows(self, chosen: IntArray) -> Self:
        """Some of the prompts."""
        return type(self)(tuple(self.texts[row] for row in chosen), self.reward[chosen], self.cost[chosen])

    def served(self, picked: IntArray) -> Served:
        """What came of giving each prompt to the model of this column."""
        rows = np.arange(len(self.texts))
        return Served(float(self.reward[rows, picked].mean()), float(self.cost[rows, picked].mean()))


def load(split: str) -> tuple[tuple[str, ...], Prompts]:
    """Names of the models, and a split of the table, `val` or `test_holdout`."""
    found = importlib.util.find_spec("pareto_bandit")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the table comes with the package paretobandit: pip install paretobandit")
    file = Path(found.submodule_search_locations[0]) / "data" / "examples" / f"{split}.jsonl"
    lines = file.read_text(encoding="utf-8").strip().split("\n")  # splitlines would split at other signs
    rows = [json.loads(line) for line in lines]
    models = tuple(rows[0]["arms"])
    cells = np.array([[[row["arms"][model]["reward"], row["arms"][model]["cost"]] for model in models] for row in rows])
    return models, Prompts(tuple(row["prompt"] for row in rows), cells[..., 0], cells[..., 1])
