"""The range that training has seen, by kind of feature: structure, words, and what else is known of a task.

Each kind has a measure of its own, and a limit that tasks like those that trained pass with a probability of at most
max(`LEVEL`, 1 / (n + 1)), of metadata max(`LEVEL`, 3 / (n + 1)), n being how many trained; see
`budget_router.features.strangeness`. So of such tasks at most 1.5 % are out of range where 600 or more trained, 2.5 % of 200.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.columns import Facts
from budget_router.features.familiarity import Familiarity
from budget_router.features.known_facts import LEAST_BEYOND, KnownFacts
from budget_router.features.projection import Counted, TextProjection
from budget_router.features.reach import Reach
from budget_router.features.strangeness import N_PARTS, Strange, n_beyond
from budget_router.features.structure import Structure

KINDS = ("structure", "words", "metadata")
"""Of features; what is told of a task out of range begins with one."""


class OutOfRange(NamedTuple):
    """How many of some tasks lie outside the range that training has seen."""

    share: float = 0.0
    """Of the tasks that were looked at; NaN where it is not known what trained."""
    by: Mapping[str, float] = {}
    """The same of each way in which a task does, largest first: a structural feature, words, a name of the metadata and why. A
    task may do so in several."""
    chance: float = 0.0
    """Share that tasks like those that trained pass by chance in one log of a hundred; 0 where chance has no say."""

    @classmethod
    def of(cls, parts: Sequence[Strange], n_tasks: int, *, chance: float = 0.0) -> Self:
        """Count over some tasks, in several parts, that were told to be strange in what."""
        n_strange, n_by = 0, dict[str, int]()
        for strange in parts:
            if strange:
                n_strange += int(np.any(list(strange.values()), axis=0).sum())
            for label, rows in strange.items():
                n_by[label] = n_by.get(label, 0) + int(rows.sum())
        ranked = sorted(((n, label) for label, n in n_by.items() if n), key=lambda one: (-one[0], one[1]))
        n_tasks = max(n_tasks, 1)
        return cls(n_strange / n_tasks, {label: n / n_tasks for n, label in ranked}, chance)


_RISK = 0.01
"""That chance alone makes so many tasks strange."""
WITHIN = OutOfRange()
"""All tasks lie within."""
UNKNOWN = OutOfRange(math.nan)
"""Nothing was looked at, or there is nothing to look at it by."""


class TrainedRange:
    """Tells which tasks are unlike those that trained, and in what."""

    words_: Familiarity | None
    """`None` where no text was kept."""
    facts_: KnownFacts | None
    """`None` where nothing was known beside."""

    def fit(
        self, structure: Structure, texts: Sequence[Counted] | None, metadata: Sequence[Facts] | None, cluster: IntArray
    ) -> Self:
        """Learn from what tasks are known by.

        Args:
            structure: (n_tasks, n_structural_features).
            texts: counted words of the same tasks; `None` where none were kept.
            metadata: of the same tasks; `None` where nothing is known of any.
            cluster: (n_tasks,) number of each task's cluster, from 0; tasks of one are left out together, and there are several.
        """
        part = cluster % N_PARTS
        self.structure_ = Reach().fit(structure, part)
        self.words_ = None if texts is None else Familiarity().fit(texts, part)
        self.facts_ = KnownFacts().fit(metadata, part) if metadata and any(metadata) else None
        held_out = {
            label: rows for one in (self.structure_, self.words_, self.facts_) if one for label, rows in one.held_out_.items()
        }
        self.held_out_ = OutOfRange.of([held_out], len(structure))
        self.n_tasks_, self.n_clusters_ = len(structure), len(np.unique(cluster))
        return self

    def chance(self, n_clusters: int) -> float:
        """Share of so many clusters like those that trained that is passed by chance in one log of a hundred.

        Of n trained clusters and m new ones that are alike, each order of strangeness is as likely. So as many new ones come
        before the k-th trained one as there are failures before the k-th success, at odds of n to m: the negative binomial law,
        all but for drawing without return. The kinds' counts are added as if they knew nothing of each other; the tasks of a
        cluster are taken to be strange together, which is more than they may be.
        """
        from scipy.special import nbdtrc

        n_trained = self.n_clusters_
        n_successes = (1 + (self.words_ is not None)) * (n_beyond(n_trained) + 1)
        if self.facts_ is not None:
            n_successes += n_beyond(n_trained, least=LEAST_BEYOND) + 1
        by_chance = nbdtrc(np.arange(n_clusters), n_successes, n_trained / (n_trained + n_clusters))
        return float((by_chance > _RISK).sum()) / n_clusters

    def strange(self, structure: Structure, texts: Sequence[Counted] | None, metadata: Sequence[Facts] | None) -> Strange:
        """Whether tasks are out of range, by each way in which any is; what is not known of a task is not strange."""
        words = {} if self.words_ is None or texts is None else self.words_.strange(texts)
        facts = {} if self.facts_ is None or metadata is None else self.facts_.strange(metadata)
        return {**self.structure_.strange(structure), **words, **facts}

    def arrays(self) -> dict[str, FloatArray | IntArray]:
        """What was learned, as arrays."""
        kinds = ("structure", self.structure_), ("words", self.words_), ("facts", self.facts_)
        arrays = {f"{kind}_{name}": array for kind, one in kinds if one for name, array in one.arrays().items()}
        return {**arrays, "n_tasks": np.array([self.n_tasks_]), "n_clusters": np.array([self.n_clusters_])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray | IntArray], projection: TextProjection | None) -> Self:
        """The range that `arrays` was taken from; raises ValueError or KeyError where they are none of ours."""
        structure, words, facts = (
            {name.removeprefix(kind): array for name, array in arrays.items() if name.startswith(kind)}
            for kind in ("structure_", "words_", "facts_")
        )
        found = cls()
        found.n_tasks_, found.n_clusters_ = _number(arrays["n_tasks"]), _number(arrays["n_clusters"])
        found.structure_ = Reach.from_arrays(structure)
        found.words_ = Familiarity.from_arrays(words, found.n_tasks_, projection) if words and projection else None
        found.facts_ = KnownFacts.from_arrays(facts) if facts else None
        return found


def _number(array: FloatArray | IntArray) -> int:
    if array.shape != (1,) or array.dtype.kind != "i" or array[0] < 1:
        raise ValueError(f"a range of {array.tolist()} tasks")
    return int(array[0])
