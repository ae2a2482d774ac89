"""All features of a task, side by side: its structure, where its words place it among the tasks seen, and its user's facts."""

import hashlib
import math
from collections.abc import Sequence
from typing import Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.errors import ArtifactError
from budget_router.features.columns import COLUMNS_VERSION, Columns, Facts
from budget_router.features.projection import NgramCounts, TextProjection, counted
from budget_router.features.ranges import TrainedRange
from budget_router.features.standardising import centre_and_scale, standardised
from budget_router.features.strangeness import Strange
from budget_router.features.structure import STRUCTURE_NAMES, STRUCTURE_VERSION, Structure, structural_features


class Featuriser:
    """Turns tasks into rows of numbers known before any answer: standardised structure, the text projection, the user's columns.

    Args:
        n_components: width of the text projection.
    """

    range_: TrainedRange | None
    """`None` where it was not learned: by `fit`, or by an earlier version."""

    def __init__(self, n_components: int = 24) -> None:
        self.n_components = n_components

    def fit(
        self, structure: Structure, texts: Sequence[str | NgramCounts] | None, metadata: Sequence[Facts] | None = None
    ) -> Self:
        """Learn centre and scale of the structure, the projection and the columns; without texts there is no projection.

        Args:
            structure: (n_tasks, n_structural_features), of `structural_features`.
            texts: of the same tasks, or their n-gram counts; `None` where a ledger keeps none.
            metadata: of the same tasks; `None` where nothing is known of any of them.
        """
        self.fit_transform(structure, texts, metadata)
        return self

    def fit_transform(
        self,
        structure: Structure,
        texts: Sequence[str | NgramCounts] | None,
        metadata: Sequence[Facts] | None = None,
        *,
        cluster: IntArray | None = None,
    ) -> FloatArray:
        """Learn as `fit` does, and give the features of the same tasks; the words of their texts are counted once.

        Args:
            structure: as of `fit`.
            texts: as of `fit`.
            metadata: as of `fit`.
            cluster: (n_tasks,) number of each task's cluster, from 0, to learn the range of the tasks as well; of one cluster it
                is not learned.
        """
        self.centre_, self.scale_ = centre_and_scale(structure)
        columns = Columns().fit(metadata or ())
        self.columns_ = columns if columns.width else None
        words = None if texts is None else counted(texts)
        self.projection_ = None if words is None else TextProjection(self.n_components).fit_counted(words)
        self.range_ = None
        if cluster is not None and len(cluster) and np.ptp(cluster):
            self.range_ = TrainedRange().fit(structure, words, metadata, cluster)
        placed = None if words is None or self.projection_ is None else np.concatenate([*map(self.projection_.place, words)])
        return self._joined(structure, placed, metadata)

    def transform(self, texts: Sequence[str], metadata: Sequence[Facts] | None = None) -> FloatArray:
        """Features of texts, and of what is known of each beside; (n_texts, n_features)."""
        structure = np.array([structural_features(text) for text in texts]).reshape(len(texts), len(STRUCTURE_NAMES))
        return self.transform_known(structure, texts, metadata)

    def transform_known(
        self, structure: Structure, texts: Sequence[str | NgramCounts] | None, metadata: Sequence[Facts] | None = None
    ) -> FloatArray:
        """Features of tasks whose structure is known already, and whose texts may not be, or by their n-grams alone."""
        placed = None if self.projection_ is None or texts is None else self.projection_.transform(texts)
        return self._joined(structure, placed, metadata)

    def strange(
        self, structure: Structure, texts: Sequence[str | NgramCounts] | None, metadata: Sequence[Facts] | None = None
    ) -> Strange | None:
        """Whether tasks lie outside the range that was learned, by each way in which any does; `None` where none was learned."""
        if self.range_ is None:
            return None
        words = None if texts is None or self.range_.words_ is None else counted(texts)
        return self.range_.strange(structure, words, metadata)

    def _joined(self, structure: Structure, placed: FloatArray | None, metadata: Sequence[Facts] | None) -> FloatArray:
        blocks = [standardised(structure, self.centre_, self.scale_) / math.sqrt(structure.shape[1])]
        if placed is not None:
            blocks.append(placed)
        if self.columns_ is not None:
            blocks.append(self.columns_.transform([{}] * len(structure) if metadata is None else metadata))
        return np.hstack(blocks)

    @property
    def version(self) -> str:
        """Names the versions of structure and columns, and what was learned."""
        content = b"".join(np.ascontiguousarray(array).tobytes() for array in self.arrays().values())
        kinds = STRUCTURE_VERSION if self.columns_ is None else f"{STRUCTURE_VERSION}+{COLUMNS_VERSION}"
        return f"{kinds}+{hashlib.sha256(content).hexdigest()[:8]}"

    def arrays(self) -> dict[str, FloatArray | IntArray]:
        """What was learned, as arrays."""
        arrays: dict[str, FloatArray | IntArray] = {"centre": self.centre_, "scale": self.scale_}
        for part, learned in (("projection", self.projection_), ("columns", self.columns_), ("range", self.range_)):
            if learned is not None:
                arrays |= {f"{part}_{name}": array for name, array in learned.arrays().items()}
        return arrays

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
        learned, told, reached = (
            {name.removeprefix(part): array for name, array in arrays.items() if name.startswith(part)}
            for part in ("projection_", "columns_", "range_")
        )
        featuriser.projection_ = TextProjection.from_arrays(**learned) if learned else None  # type: ignore[arg-type]  # by name
        featuriser.columns_ = Columns.from_arrays(**told) if told else None  # type: ignore[arg-type]  # by name
        featuriser.range_ = TrainedRange.from_arrays(reached, featuriser.projection_) if reached else None
        return featuriser
