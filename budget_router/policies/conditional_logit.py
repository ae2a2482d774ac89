"""Conditional logit: learn the worth of options from choices that were made at known prices."""

from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray, IntArray

_STRENGTH = 10.0
"""Inverse penalty of the slopes; features have about unit length, so weaker ones could not bend."""
_MAX_STEPS = 60
"""Steps of the search: five times as many moved no benchmark's AIQ by more than .0003."""


class Logit(NamedTuple):
    """P(option k | x, price) is proportional to `exp((worth_k(x) - paid_k(x)) / temperature)`."""

    lines: FloatArray
    """(n_features + 1, n_options) of the worth, slopes and offset, in the unit of what is paid."""
    temperature: float
    """How far apart worths must be for a clear choice, in the same unit; > 0."""


def conditional_logit(
    features: FloatArray, paid: FloatArray, chosen: IntArray, weight: FloatArray, *, temperature: float
) -> Logit:
    """Fit worths, linear in the features, and the temperature to choices by penalised maximum likelihood.

    Args:
        features: (n, n_features).
        paid: (n_prices, n, n_options), what each option costs at each price, in any unit.
        chosen: (n_prices, n) option chosen.
        weight: (n_prices, n), ≥ 0, of each choice; the penalty is that of one unit of weight per `_STRENGTH`.
        temperature: where the search starts, > 0.

    Reference: McFadden (1974), Conditional Logit Analysis of Qualitative Choice Behavior, in Frontiers in Econometrics.
    """
    from scipy.optimize import minimize

    design = np.column_stack([features, np.ones(len(features))])
    shape = design.shape[1], paid.shape[2]
    is_chosen = chosen[..., None] == np.arange(shape[1])

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        lines, steepness = parameters[:-1].reshape(shape), np.exp(parameters[-1])
        utility = design @ lines - steepness * paid
        utility -= utility.max(axis=2, keepdims=True)
        odds = np.exp(utility)
        total = odds.sum(axis=2)
        slopes = np.vstack([lines[:-1], np.zeros(shape[1])])
        value = (weight * (np.log(total) - utility[is_chosen].reshape(chosen.shape))).sum() + (slopes**2).sum() / (2 * _STRENGTH)
        excess = (odds / total[..., None] - is_chosen) * weight[..., None]
        of_lines = design.T @ excess.sum(axis=0) + slopes / _STRENGTH
        return float(value), np.append(of_lines.ravel(), -steepness * (excess * paid).sum())

    start = np.append(np.zeros(shape[0] * shape[1]), -np.log(temperature))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS}).x
    fitted = float(np.exp(-found[-1]))
    return Logit(found[:-1].reshape(shape) * fitted, fitted)
