"""All features of a task, side by side: its structure, and where its words place it among the tasks seen."""

import hashlib
import math
from collections.abc import Sequence
from typing import Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.errors import ArtifactError
from budget_router.features.projection import TextProjection
from budget_router.features.structure import STRUCTURE_NAMES, STRUCTURE_VERSION, structural_features

_REACH = 4.0
"""Deviations beyond which structure is cut off, so that one odd text cannot run away with a line."""
_LEAST_SPREAD = 1e-9
"""A feature that never varied in training is left unscaled."""


class Featuriser:
    """Turns texts into rows of numbers known before any answer: standardised structure, then the text projection.

    Args:
        n_components: width of the text projection.
    """

    def __init__(self, n_components: int = 24) -> None:
        self.n_components = n_components

    def fit(self, structure: FloatArray, texts: Sequence[str] | None) -> Self:
        """Learn centre and scale of the structure, and the projection; without texts there is no projection.

        Args:
            structure: (n_tasks, n_structural_features), of `structural_features`.
            texts: of the same tasks; `None` where a ledger keeps none.
        """
        self.centre_: FloatArray = structure.mean(axis=0)
        spread = structure.std(axis=0)
        self.scale_: FloatArray = np.where(spread > _LEAST_SPREAD, spread, 1.0)
        self.projection_ = None if texts is None else TextProjection(self.n_components).fit(texts)
        return self

    def transform(self, texts: Sequence[str]) -> FloatArray:
        """Features of texts; (n_texts, n_features)."""
        structure = np.array([structural_features(text) for text in texts]).reshape(len(texts), len(STRUCTURE_NAMES))
        return self.transform_known(structure, texts)

    def transform_known(self, structure: FloatArray, texts: Sequence[str] | None) -> FloatArray:
        """Features of tasks whose structure is known already, and whose texts may not be."""
        standard = np.clip((structure - self.centre_) / self.scale_, -_REACH, _REACH) / math.sqrt(structure.shape[1])
        if self.projection_ is None or texts is None:
            return np.asarray(standard)
        return np.hstack([standard, self.projection_.transform(texts)])

    @property
    def version(self) -> str:
        """Names the structure's version and what was learned."""
        content = b"".join(np.ascontiguousarray(array).tobytes() for array in self.arrays().values())
        return f"{STRUCTURE_VERSION}+{hashlib.sha256(content).hexdigest()[:8]}"

    def arrays(self) -> dict[str, FloatArray | IntArray]:
        """What was learned, as arrays."""
        learned = self.projection_.arrays() if self.projection_ else {}
        return {"centre": self.centre_, "scale": self.scale_, **{f"projection_{name}": array for name, array in learned.items()}}

    @classmethod
    def from_arrays(cls, arrays: dict[str, FloatArray | IntArray]) -> Self:
        """The featuriser that `arrays` was taken from; raises ArtifactError if its structure is another version's."""
        if arrays["centre"].shape != (len(STRUCTURE_NAMES),):
            raise ArtifactError(
                f"the policy reads {arrays['centre'].size} structural features, this version has {len(STRUCTURE_NAMES)}: "
                "train it again"
            )
        featuriser = cls()
        featuriser.centre_ = arrays["centre"].astype(np.float64)
        featuriser.scale_ = arrays["scale"].astype(np.float64)
        learned = {name.removeprefix("projection_"): array for name, array in arrays.items() if name.startswith("projection_")}
        featuriser.projection_ = TextProjection.from_arrays(**learned) if learned else None  # type: ignore[arg-type]  # by name
        return featuriser
