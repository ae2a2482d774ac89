"""The linear program over a few tasks, by HiGHS: a mixture of each task's strategies under what the limits have left."""

from typing import Any, NamedTuple

import numpy as np

from budget_router.allocation.table import FloatArray

TOLERANCE = 1e-10
"""Of primal and dual feasibility, relative to the largest coefficient: the tightest that HiGHS takes."""


class Restricted(NamedTuple):
    """An optimal basic solution."""

    shares: FloatArray
    """(n_rows, n_strategies) that sum to 1; at most n_limits more of them than rows are above 0."""
    multipliers: FloatArray
    """(n_limits,) dual variables, ≥ 0."""
    excess: FloatArray
    """(n_limits,) by which each limit is passed; 0 unless passing has a penalty."""


def mix(gain: FloatArray, costs: FloatArray, room: FloatArray, *, penalty: float | None = None) -> Restricted | None:
    """Maximise the gain of a mixture within the limits; None if there is none.

    Interior point with crossover: the dense rows of the limits make the simplex method many times slower.

    Args:
        gain: (n_rows, n_strategies).
        costs: (n_limits, n_rows, n_strategies), ≥ 0.
        room: (n_limits,) sum of costs that each limit allows.
        penalty: of passing a limit by the largest of its costs, in units of the largest gain; None: it may not be passed.
    """
    from scipy.optimize import linprog
    from scipy.sparse import csc_array, eye_array, hstack, kron

    n_rows, n_strategies = gain.shape
    n_limits = len(costs)
    unit, scale = _largest(np.abs(gain).reshape(1, -1))[0], _largest(costs.reshape(n_limits, -1))
    # Any: scipy's stubs know no sparse constraints
    limits: Any = csc_array(costs.reshape(n_limits, -1) / scale[:, None])
    one_each: Any = csc_array(kron(eye_array(n_rows), np.ones((1, n_strategies))))
    value = -gain.ravel() / unit
    if penalty is not None:
        value = np.append(value, np.full(n_limits, penalty))
        limits = hstack([limits, -eye_array(n_limits)], format="csc")
        one_each = hstack([one_each, csc_array((n_rows, n_limits))], format="csc")
    found: Any = linprog(
        value,
        A_ub=limits,
        b_ub=room / scale,
        A_eq=one_each,
        b_eq=np.ones(n_rows),
        method="highs-ipm",
        options={"primal_feasibility_tolerance": TOLERANCE, "dual_feasibility_tolerance": TOLERANCE},
    )
    if found.status != 0:
        return None
    shares = np.clip(found.x[: gain.size].reshape(gain.shape), 0, 1)
    shares[shares < TOLERANCE] = 0
    prices = -found.ineqlin.marginals
    return Restricted(
        shares / shares.sum(axis=1, keepdims=True),
        np.where(prices > TOLERANCE, prices, 0) * unit / scale,
        np.maximum(found.x[gain.size :], 0) * scale if penalty is not None else np.zeros(n_limits),
    )


def _largest(matrix: FloatArray) -> FloatArray:
    """(n_rows,) the largest of each row; 1 where all are 0."""
    largest = matrix.max(axis=1)
    return np.where(largest > 0, largest, 1.0)
