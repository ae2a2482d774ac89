"""The same allocation put to HiGHS, through scipy: the linear relaxation, and the integer program behind it."""

from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csc_array, eye_array, kron

from budget_router.allocation import FloatArray

TOLERANCE = 1e-10
"""Of primal and dual feasibility, the tightest that HiGHS takes."""


def relaxed(accuracy: FloatArray, costs: FloatArray, budgets: FloatArray) -> float | None:
    """Best mean accuracy by HiGHS' interior point with crossover; `None` where no mixture fits.

    Args:
        accuracy: (n_tasks, n_strategies).
        costs: (n_constraints, n_tasks, n_strategies).
        budgets: (n_constraints,) mean cost per task.
    """
    n_tasks = len(accuracy)
    found = linprog(
        -accuracy.ravel() / n_tasks,
        A_ub=_means(costs),
        b_ub=budgets,
        A_eq=_one_each(accuracy),
        b_eq=np.ones(n_tasks),
        method="highs-ipm",
        options={"dual_feasibility_tolerance": TOLERANCE, "primal_feasibility_tolerance": TOLERANCE},
    )
    return None if found.fun is None or found.status != 0 else -float(found.fun)


def whole(accuracy: FloatArray, costs: FloatArray, budgets: FloatArray, *, time_limit: float) -> float | None:
    """Best mean accuracy with one strategy per task, proven; `None` where it is not within the time limit.

    Args:
        accuracy: (n_tasks, n_strategies).
        costs: (n_constraints, n_tasks, n_strategies).
        budgets: (n_constraints,) mean cost per task.
        time_limit: in seconds.
    """
    n_tasks = len(accuracy)
    found = milp(
        -accuracy.ravel() / n_tasks,
        constraints=[
            LinearConstraint(_means(costs), -np.inf, budgets),
            LinearConstraint(_one_each(accuracy), 1, 1),
        ],
        integrality=np.ones(accuracy.size, np.uint8),
        bounds=Bounds(0, 1),
        options={"time_limit": time_limit, "mip_rel_gap": 0},
    )
    return None if found.fun is None or found.status != 0 else -float(found.fun)


def _means(costs: FloatArray) -> Any:  # Any, here and below: scipy's stubs know no sparse constraints
    return csc_array(costs.reshape(len(costs), -1) / costs.shape[1])


def _one_each(accuracy: FloatArray) -> Any:
    n_tasks, n_strategies = accuracy.shape
    return csc_array(kron(eye_array(n_tasks), np.ones((1, n_strategies))))
