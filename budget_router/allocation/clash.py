"""Budgets that no mixture fits: the proof by Farkas' lemma, and the least raise that mends it."""

import numpy as np

from budget_router.allocation.constraints import Constraints
from budget_router.allocation.table import FloatArray
from budget_router.errors import ClashingBudgets

FEASIBLE = 1e-9
"""Excess over a limit that is rounding: ten times what HiGHS tolerates, relative to the largest cost."""
_TINY = float(np.finfo(np.float64).tiny)


def clash(problem: Constraints, multipliers: FloatArray, excess: FloatArray) -> ClashingBudgets:
    """Say which limits clash and what would mend it, at prices that make the budgets together worth 1 if they are worth anything.

    Args:
        problem: that has no mixture.
        multipliers: (n_limits,) at which the cheapest strategies cost more than the budgets are worth.
        excess: (n_limits,) mean cost per task by which the least raise passes each budget.
    """
    worth = float(multipliers @ problem.allowed) / float(problem.weights.sum())
    certificate = multipliers / (worth if worth > 0 else float(multipliers.sum()))
    cheapest = 0.0
    for rows in problem.rows():
        cheapest += float(problem.weights[rows] @ problem.priced(certificate, rows).min(axis=1))
    cheapest /= float(problem.weights.sum())
    names = [str(limit) for limit in problem.limits]
    clashing = [name for name, price in zip(names, certificate, strict=True) if price > 0]
    mend = {
        name: limit.budget + more
        for name, limit, more in zip(names, problem.limits, excess.tolist(), strict=True)
        if more > FEASIBLE * max(limit.budget, _TINY)
    }
    told = ", ".join(f"{name} to {budget:g}" for name, budget in mend.items())
    return ClashingBudgets(
        f"budgets of {', '.join(clashing)} fit no mixture of strategies: at prices that make them worth {float(worth > 0):g} per "
        f"task together, the cheapest strategies cost {cheapest:g}: raise {told}, or add a strategy that is cheap in all of them",
        certificate=dict(zip(names, certificate.tolist(), strict=True)),
        mend=mend,
    )
