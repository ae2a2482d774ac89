"""Settings that were never tried, between two that were: what a strategy with a numeric knob costs and is worth there."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.menu import Menu


class Between(NamedTuple):
    """A setting that was never tried, and all pairs of tried ones that enclose it."""

    column: int
    low: IntArray
    """(n_pairs,) column of the pair's lower setting; the first pair are the neighbours."""
    high: IntArray
    """(n_pairs,) column of the pair's higher setting."""
    share: FloatArray
    """(n_pairs,) of the way from the lower to the higher, on the logarithm of the knob; in (0, 1)."""


def untried(menu: Menu, is_tried: NDArray[np.bool_]) -> list[Between]:
    """Find the settings that stand between tried ones of the same knob.

    Args:
        menu: the strategies.
        is_tried: (n_strategies,) of which strategies the accuracy is known.
    """
    ladders: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for column, strategy in enumerate(menu):
        if (knob := strategy.knob) is not None:
            ladders[knob.of].append((float(np.log(knob.setting)), column))
    found = []
    for rungs in ladders.values():
        tried = sorted(rung for rung in rungs if is_tried[rung[1]])
        for place, column in rungs:
            below, above = [one for one in tried if one[0] < place], [one for one in tried if one[0] > place]
            pairs = [(low, high) for low in reversed(below) for high in above]
            if pairs and not is_tried[column]:
                share = [(place - low) / (high - low) for (low, _), (high, _) in pairs]
                columns = np.array([(low, high) for (_, low), (_, high) in pairs], dtype=np.intp)
                found.append(Between(column, columns[:, 0], columns[:, 1], np.array(share)))
    return found


def interpolated(accuracy: FloatArray, cost: FloatArray, between: Sequence[Between]) -> tuple[FloatArray, FloatArray]:
    """Tell the accuracy and the cost of settings that were never tried by those that were.

    Cost is log-linear between the neighbours. Accuracy lies on the upper concave curve through all tried settings, over the
    logarithm of the knob, along which test-time compute buys about evenly (Muennighoff et al. 2025, arXiv 2501.19393, figure 1):
    at any point it is the highest of the chords that pass over it. Settings left out of recordings come out below what was
    recorded there, and nearer than on a straight line over the cost: see `benchmarks.knobs`.

    Args:
        accuracy: (n_tasks, n_strategies), right in the columns that were tried.
        cost: (n_tasks, n_strategies), in the budget's unit, likewise.
        between: of `untried`.
    """
    if not between:
        return accuracy, cost
    accuracy, cost = accuracy.copy(), cost.copy()
    for column, low, high, share in between:
        accuracy[:, column] = ((1 - share) * accuracy[:, low] + share * accuracy[:, high]).max(axis=1)
        cost[:, column] = cost[:, low[0]] ** (1 - share[0]) * cost[:, high[0]] ** share[0]
    return accuracy, cost
