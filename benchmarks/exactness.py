"""Is the solve exact? Whole problems against rational arithmetic, real ones against HiGHS."""

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import numpy as np

from benchmarks.linear_program import relaxed
from budget_router.allocation import Allocation, FloatArray, solve

Problem = tuple[FloatArray, FloatArray, float]
"""Accuracy, cost, budget."""

EIGHTHS = 8


def _drawn(rng: np.random.Generator, n_tasks: int, n_strategies: int) -> tuple[FloatArray, FloatArray]:
    shape = n_tasks, n_strategies
    return rng.integers(0, EIGHTHS + 1, shape) / EIGHTHS, rng.integers(0, 20, shape).astype(float)


def _right_or_wrong(rng: np.random.Generator, n_tasks: int, n_strategies: int) -> tuple[FloatArray, FloatArray]:
    accuracy, cost = _drawn(rng, n_tasks, n_strategies)
    return np.rint(accuracy), cost


def _equal_costs(rng: np.random.Generator, n_tasks: int, n_strategies: int) -> tuple[FloatArray, FloatArray]:
    accuracy, _ = _drawn(rng, n_tasks, n_strategies)
    return accuracy, np.tile(rng.integers(0, 4, n_strategies).astype(float), (n_tasks, 1))


def _zero_costs(rng: np.random.Generator, n_tasks: int, n_strategies: int) -> tuple[FloatArray, FloatArray]:
    accuracy, cost = _drawn(rng, n_tasks, n_strategies)
    return accuracy, cost * (rng.random(cost.shape) < 0.4)


def _alike(rng: np.random.Generator, n_tasks: int, n_strategies: int) -> tuple[FloatArray, FloatArray]:
    accuracy, cost = _drawn(rng, 1, n_strategies)
    return np.tile(accuracy, (n_tasks, 1)), np.tile(cost, (n_tasks, 1))


def _one_task(rng: np.random.Generator, _: int, n_strategies: int) -> tuple[FloatArray, FloatArray]:
    return _drawn(rng, 1, n_strategies)


def _one_strategy(rng: np.random.Generator, n_tasks: int, _: int) -> tuple[FloatArray, FloatArray]:
    return _drawn(rng, n_tasks, 1)


KINDS: dict[str, Callable[[np.random.Generator, int, int], tuple[FloatArray, FloatArray]]] = {
    "drawn": _drawn,
    "right or wrong": _right_or_wrong,
    "equal costs": _equal_costs,
    "zero costs": _zero_costs,
    "alike": _alike,
    "one task": _one_task,
    "one strategy": _one_strategy,
}


def whole_problem(kind: str, rng: np.random.Generator) -> Problem:
    """A problem that float64 holds without rounding: accuracies in eighths, whole costs, budgets in eighths of a task's cost.

    Tasks are 1, 2, 4, 8 or 16, so that a mean is as exact as a sum.
    """
    accuracy, cost = KINDS[kind](rng, 2 ** int(rng.integers(5)), int(rng.integers(1, 6)))
    low, high = cost.min(axis=1).sum(), cost.max(axis=1).sum()
    total = low + np.floor(EIGHTHS * (high - low + 1) * rng.random()) / EIGHTHS
    return accuracy, cost, float(total / len(cost))


def rational_bound(accuracy: FloatArray, cost: FloatArray, budget: float) -> Fraction:
    """Optimum of the linear relaxation in rational arithmetic: the least `mean_i max_k (A - λ C) + λ B` over λ ≥ 0.

    The dual is convex and bends only where two strategies of a task tie, so the least of those points is its minimum. Nothing is
    shared with the solve: no hull, no order of upgrades.
    """
    rows = [
        [(Fraction(gain), Fraction(spend)) for gain, spend in zip(*row, strict=True)] for row in zip(accuracy, cost, strict=True)
    ]
    bends = {Fraction(0)}
    for row in rows:
        for (gain, spend), (other_gain, other_spend) in combinations(row, 2):
            if spend != other_spend:
                bends.add((gain - other_gain) / (spend - other_spend))
    return min(
        sum((max(gain - lam * spend for gain, spend in row) for row in rows), Fraction(0)) / len(rows) + lam * Fraction(budget)
        for lam in bends
        if lam >= 0
    )


def rational_value(problem: Problem, allocation: Allocation) -> Fraction | None:
    """Mean accuracy of the mixed allocation, recomputed from its actions; `None` if it is over budget.

    The split task takes as much of its upgrade as the budget leaves: a share outside [0, 1] is over budget.
    """
    accuracy, cost, budget = problem
    left = Fraction(budget) * len(cost)
    value = Fraction(0)
    for row, action in enumerate(allocation.actions.tolist()):
        left -= Fraction(cost[row, action])
        value += Fraction(accuracy[row, action])
    if left < 0:
        return None
    if allocation.split is not None:
        task, dearer = allocation.split.task, allocation.split.action
        plainer = int(allocation.actions[task])
        share = left / (Fraction(cost[task, dearer]) - Fraction(cost[task, plainer]))
        if not 0 <= share <= 1:
            return None
        value += share * (Fraction(accuracy[task, dearer]) - Fraction(accuracy[task, plainer]))
    return value / len(cost)


def against_fractions(n_problems: int) -> dict[str, float | int]:
    """Of `n_problems` whole ones: how many are solved exactly, and how far the reported bound lies from the rational one.

    A solve is exact if the rational value of what it returns equals the rational dual bound.
    """
    rng = np.random.default_rng(0)
    n_exact, farthest = 0, 0.0
    for number in range(n_problems):
        problem = whole_problem(list(KINDS)[number % len(KINDS)], rng)
        allocation, bound = solve(*problem), rational_bound(*problem)
        n_exact += rational_value(problem, allocation) == bound
        farthest = max(farthest, abs(float(Fraction(allocation.dual_bound) - bound)))
    return {"n_problems": n_problems, "n_exact": n_exact, "farthest_reported_bound": farthest}


def against_highs(n_problems: int) -> dict[str, float | int]:
    """Of `n_problems` real ones: the farthest from HiGHS, and how many spend more than their budget."""
    rng = np.random.default_rng(1)
    farthest, n_over = 0.0, 0
    for _ in range(n_problems):
        shape = int(rng.integers(1, 200)), int(rng.integers(1, 8))
        accuracy, cost = rng.random(shape), rng.lognormal(3, 1.5, shape)
        share = rng.random()
        budget = float((1 - share) * cost.min(axis=1).mean() + share * cost.max(axis=1).mean())
        allocation, bound = solve(accuracy, cost, budget), relaxed(accuracy, cost[None], np.array([budget]))
        farthest = max(farthest, abs(allocation.dual_bound - bound) if bound is not None else np.inf)
        n_over += cost[np.arange(len(cost)), allocation.actions].mean() > budget * (1 + 1e-12)
    return {"n_problems": n_problems, "farthest": farthest, "n_over_budget": int(n_over)}
