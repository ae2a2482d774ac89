"""Numbers of any kind on one scale: centred, in deviations, cut off where they run away."""

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray

REACH = 4.0
"""Deviations beyond which a number is cut off, so that one odd task cannot run away with a line."""
_LEAST_SPREAD = 1e-9
"""A number that never varied in training is left unscaled."""


def centre_and_scale(rows: NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of each column, (n_columns,) each, the deviation > 0; NaN is left out."""
    spread = np.nanstd(rows, axis=0, dtype=np.float64)
    return np.nanmean(rows, axis=0, dtype=np.float64), np.where(spread > _LEAST_SPREAD, spread, 1.0)


def standardised(rows: NDArray[np.floating], centre: FloatArray, scale: FloatArray) -> FloatArray:
    """Rows in deviations from the centre, within `REACH` of it."""
    return np.asarray(np.clip((rows - centre) / scale, -REACH, REACH))
