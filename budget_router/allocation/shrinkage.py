"""Accuracies that are estimates: shrunk, so that the solve does not buy luck.

An optimiser picks what was overestimated, and is disappointed: the optimiser's curse (Smith and Winkler 2006, Management Science
52(3)). Mean accuracy is linear in the cells, so the allocation of most expected true accuracy solves their posterior means; a
lower confidence bound pays for less variance, a posterior draw for exploration, both with accuracy.
`python -m benchmarks.uncertainty` holds the three against each other.
"""

import numpy as np
from numpy.typing import ArrayLike

from budget_router.allocation.table import AnyArray, FloatArray, check_table
from budget_router.errors import InvalidTable

_CELLS = 2**18
"""Of the rows' covariances that are inverted at once."""
_LEAST_VARIANCE = 1e-9
"""Of a direction in which tasks do not differ: the noise explains all of it."""


def shrink(accuracy: ArrayLike, standard_error: ArrayLike) -> FloatArray:
    """Posterior means of accuracies by empirical Bayes, to be solved in their stead.

    A task's accuracies, one per strategy, are drawn from a normal with mean m and covariance Σ, both estimated from all
    tasks: m is the mean of the rows, Σ their covariance less the mean of the squared standard errors on its diagonal, without
    what is negative of it. With D the squared standard errors of a task and a its estimates, the posterior mean is `m + Σ (Σ
    + D)⁻¹ (a - m)`: what one strategy tells of a task's difficulty informs its other cells (Efron and Morris 1972, Empirical
    Bayes on Vector Observations, Biometrika 59(2)).

    It assumes that the errors of a task's cells are independent of each other and of what is estimated. A standard error of 0
    says that a cell is known, so that of a few samples that all agree must not be 0: of n with a share p, take that of `(n p
    + 1/2) / (n + 1)`.

    >>> shrink([[0.9, 0.7], [0.1, 0.5], [0.5, 0.9]], [[0.3, 0.3], [0.3, 0.3], [0.3, 0.3]]).round(2).tolist()
    [[0.67, 0.75], [0.3, 0.64], [0.53, 0.71]]

    Args:
        accuracy: (n_tasks, n_strategies), estimated score in [0, 1].
        standard_error: (n_tasks, n_strategies) of the same, ≥ 0.

    Returns:
        (n_tasks, n_strategies), in [0, 1].

    Raises:
        InvalidTable: a value is NaN, infinite or out of range, or shapes do not match.
    """
    estimate, _ = check_table(accuracy, np.zeros(np.shape(accuracy)[-1:]))
    error = np.asarray(standard_error, np.float64)
    if error.shape != estimate.shape:
        raise InvalidTable(f"standard_error has shape {error.shape}, accuracy {estimate.shape}: they must be equal")
    is_fault = ~(np.isfinite(error) & (error >= 0))
    if is_fault.any():
        row, column = np.argwhere(is_fault)[0]
        raise InvalidTable(f"standard_error[{row}, {column}] is {error[row, column]:g}: it must be finite and not negative")
    variance = np.square(error)
    centre = estimate.mean(axis=0)
    spread = _spread(estimate - centre, variance)
    shrunk = np.empty_like(estimate)
    step = max(_CELLS // len(spread) ** 2, 1)
    for start in range(0, len(estimate), step):
        rows = slice(start, start + step)
        told = spread + variance[rows, None, :] * np.eye(len(spread))
        shrunk[rows] = centre + np.linalg.solve(told, (estimate[rows] - centre)[:, :, None])[:, :, 0] @ spread
    return np.clip(shrunk, 0, 1)


def _spread(deviation: FloatArray, variance: FloatArray) -> FloatArray:
    """Σ: the rows' covariance without that of their errors."""
    covariance: AnyArray = deviation.T @ deviation / max(len(deviation) - 1, 1) - np.diag(variance.mean(axis=0))
    values, directions = np.linalg.eigh(covariance)
    return np.asarray((directions * np.maximum(values, _LEAST_VARIANCE)) @ directions.T)
