"""Which use of standard errors buys most true accuracy? `python -m benchmarks.uncertainty`.

Tasks whose truth is known are graded a few times each; the estimates are solved as they are, as lower confidence bounds, as
draws from each cell's posterior under a flat prior, shrunk strategy by strategy, and shrunk together. Each allocation is scored
by the truth; its promise is the accuracy that the solve believed in.
"""

import argparse
import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.world import drawn
from budget_router.allocation import FloatArray, IntArray, shrink, solve

BUDGET = 3.0
N_STRATEGIES = 6
SAMPLES = (2, 4, 8, 32)
"""Grades of each cell."""

Rule = Callable[[FloatArray, FloatArray, np.random.Generator], FloatArray]


class Bought(NamedTuple):
    """What a rule buys, mean over worlds."""

    rule: str
    n_samples: int
    accuracy: float
    """True mean accuracy of the allocation."""
    gain: float
    """Over the estimates as they are, paired by world."""
    gain_error: float
    """Standard error of the gain."""
    promise: float
    """Mean accuracy that the solve believed in."""


def by_column(estimate: FloatArray, error: FloatArray, _: np.random.Generator) -> FloatArray:
    """Shrink each cell to its strategy's mean, as far as its error is large beside the spread of tasks."""
    between = np.maximum(estimate.var(axis=0, ddof=1) - np.square(error).mean(axis=0), 1e-9)
    centre = estimate.mean(axis=0)
    return np.asarray(np.clip(centre + between / (between + np.square(error)) * (estimate - centre), 0, 1))


RULES: dict[str, Rule] = {
    "as they are": lambda estimate, *_: estimate,
    "lower bound, one error": lambda estimate, error, _: np.clip(estimate - error, 0, 1),
    "posterior draw": lambda estimate, error, rng: np.clip(rng.normal(estimate, error), 0, 1),
    "shrunk by strategy": by_column,
    "shrunk together": lambda estimate, error, _: shrink(estimate, error),
}


def graded(truth: FloatArray, n_samples: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Share of right ones among graded samples and its standard error, half a vote of either kind added so that none is 0."""
    right = rng.binomial(n_samples, truth)
    smoothed = (right + 0.5) / (n_samples + 1)
    return right / n_samples, np.sqrt(smoothed * (1 - smoothed) / n_samples)


def run(*, n_tasks: int, n_worlds: int) -> list[Bought]:
    """Every rule at every number of samples, on the same worlds."""
    rows = []
    for n_samples in SAMPLES:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES}
        for seed in range(n_worlds):
            rng = np.random.default_rng(seed)
            truth, cost = drawn(rng, n_tasks, N_STRATEGIES)
            estimate, error = graded(truth, n_samples, rng)
            for name, rule in RULES.items():
                believed = rule(estimate, error, rng)
                actions = solve(believed, cost, BUDGET).actions
                found[name].append((_mean(truth, actions), _mean(believed, actions)))
        plain = np.array(found["as they are"])[:, 0]
        for name, pairs in found.items():
            accuracy, promise = np.array(pairs).T
            gain = accuracy - plain
            error_of_gain = float(gain.std(ddof=1) / np.sqrt(n_worlds))
            rows.append(Bought(name, n_samples, float(accuracy.mean()), float(gain.mean()), error_of_gain, float(promise.mean())))
    return rows


def _mean(accuracy: FloatArray, actions: IntArray) -> float:
    return float(accuracy[np.arange(len(actions)), actions].mean())


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--worlds", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = run(n_tasks=options.tasks, n_worlds=options.worlds)
    if options.json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
        return
    table = Table(title="per cent", box=None, title_justify="left", pad_edge=False)
    for column in ("samples", "solved", "true accuracy", "gain", "95 % interval", "promised"):
        table.add_column(column, justify="left" if column == "solved" else "right")
    for row in rows:
        low, high = (100 * (row.gain + side * 1.96 * row.gain_error) for side in (-1, 1))
        table.add_row(
            str(row.n_samples),
            row.rule,
            f"{100 * row.accuracy:.1f}",
            f"{100 * row.gain:+.1f}",
            f"[{low:+.2f}, {high:+.2f}]",
            f"{100 * row.promise:.1f}",
            style="bold" if row.rule == "shrunk together" else "",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
