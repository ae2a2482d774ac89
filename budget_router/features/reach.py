"""How far the numbers of trained tasks reach, each column by itself."""

from collections.abc import Mapping
from typing import Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.strangeness import N_PARTS, Strange, limit_of
from budget_router.features.structure import STRUCTURE_NAMES, Structure

LEAST_MARGIN = 0.1
"""How far beyond its reach a number may lie in any case, in parts of the reach: lines and trees still hold there."""
_ROOM = 1.0
"""Added to every reach, so that what never varied has a margin too; of counts, kept as log(1 + n), it is a factor of e."""


class Reach:
    """Least and most of each structural feature in training, and how far beyond a task may lie.

        strangeness = max_j  max(x_j - most_j, least_j - x_j, 0) / (most_j - least_j + 1)

    The margin is what strangeness the trained tasks have beside each other, see `limit_of`, and at least `LEAST_MARGIN`.
    """

    def fit(self, structure: Structure, part: IntArray) -> Self:
        """Learn the reach of (n_tasks, n_structural_features), `part` being (n_tasks,) what is left out together."""
        held_out = [structure[part == one] for one in range(N_PARTS)]
        least = np.array([rows.min(axis=0, initial=np.inf) for rows in held_out])
        most = np.array([rows.max(axis=0, initial=-np.inf) for rows in held_out])
        score = np.zeros(len(structure))
        for one, rows in enumerate(held_out):
            others = np.arange(N_PARTS) != one
            score[part == one] = beyond(rows, least[others].min(axis=0), most[others].max(axis=0)).max(axis=1, initial=0.0)
        self.least_: FloatArray = least.min(axis=0).astype(np.float64)
        self.most_: FloatArray = most.max(axis=0).astype(np.float64)
        self.margin_ = max(limit_of(score), LEAST_MARGIN)
        self.held_out_: Strange = {"structure": score > self.margin_}
        return self

    def strange(self, structure: Structure) -> Strange:
        """Tasks that lie beyond, by the feature that lies farthest."""
        excess = beyond(structure, self.least_, self.most_)
        farthest, is_strange = excess.argmax(axis=1), excess.max(axis=1, initial=0.0) > self.margin_
        found = np.unique(farthest[is_strange]).tolist()
        return {f"structure {STRUCTURE_NAMES[column]!r}": is_strange & (farthest == column) for column in found}

    def arrays(self) -> dict[str, FloatArray]:
        """What was learned, as arrays."""
        return {"least": self.least_, "most": self.most_, "margin": np.array([self.margin_])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray | IntArray]) -> Self:
        """The reach that `arrays` was taken from; raises ValueError where the arrays do not fit each other."""
        least, most, margin = (arrays[name].astype(np.float64) for name in ("least", "most", "margin"))
        if not (least.shape == most.shape == (len(STRUCTURE_NAMES),)) or margin.shape != (1,) or (least > most).any():
            raise ValueError(
                f"a reach of {least.shape} and {most.shape} numbers has a margin {margin.shape}, or ends below its start"
            )
        reach = cls()
        reach.least_, reach.most_, reach.margin_ = least, most, float(margin[0])
        return reach


def beyond(rows: Structure, least: Structure, most: Structure) -> Structure:
    """How far each number lies beyond (n_columns,) least and most, in parts of the reach; 0 within."""
    over = np.maximum(np.maximum(rows - most, least - rows), 0.0)
    return np.asarray(over / (most - least + _ROOM))
