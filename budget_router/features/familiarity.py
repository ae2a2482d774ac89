"""How well training knows the words of a text."""

import math
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.projection import N_BUCKETS, Counted, TextProjection
from budget_router.features.strangeness import N_PARTS, Strange, limit_of

KNOWN_WELL = 0.01
"""Share of the trained tasks that must have an n-gram for it to be known as well as can be."""
_LEAST_TASKS = 2
"""Tasks that must have an n-gram for it to be known at all, as for the projection."""


class Familiarity:
    """How well each n-gram is known, and how little of that a text may have.

        known(g)    = log(1 + min(d_g, c)) / log(1 + c)      d_g: trained tasks that have g;  c = max(2, n / 100);  0 if d_g < 2
        strangeness = 1 - mean_g known(g)                    over the different words and word pairs of a text

    A share of n-grams that were seen at all would not do: of a long log every bucket was hit by some word, so that it is how
    often which tells a stranger. The limit is what strangeness the trained texts have beside each other, see `limit_of`; a text
    without words is not strange.
    """

    def fit(self, texts: Sequence[Counted], part: IntArray) -> Self:
        """Learn from (n_tasks,) texts, `part` being (n_tasks,) what is left out together."""
        n_texts = sum(len(some.size) for some in texts)
        documents = np.zeros((N_PARTS, N_BUCKETS), dtype=np.int32)
        for some, within in _each(texts, part):
            place = np.repeat(within, some.size) * N_BUCKETS + some.bucket
            documents += np.bincount(place, minlength=documents.size).reshape(documents.shape)
        total = documents.sum(axis=0)
        self._known = _known(total, n_texts)
        score = np.empty(n_texts)
        end = 0
        for some, within in _each(texts, part):
            others = total[some.bucket] - documents[np.repeat(within, some.size), some.bucket]
            begin, end = end, end + len(some.size)
            score[begin:end] = _strangeness(some, _known(others, n_texts))
        self.limit_ = limit_of(score)
        self.held_out_: Strange = {"words": score > self.limit_}
        return self

    def strange(self, texts: Sequence[Counted]) -> Strange:
        """Texts whose words are less known than the limit allows."""
        return {"words": np.concatenate([_strangeness(some, self._known[some.bucket]) for some in texts]) > self.limit_}

    def arrays(self) -> dict[str, FloatArray | IntArray]:
        """What was learned beside the projection, as arrays."""
        return {"limit": np.array([self.limit_])}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray | IntArray], n_texts: int, projection: TextProjection) -> Self:
        """The familiarity that `arrays` was taken from, beside the projection that was learned from the same `n_texts`.

        Raises ValueError where an array is none of ours.
        """
        if arrays["limit"].shape != (1,):
            raise ValueError(f"words have a limit of shape {arrays['limit'].shape}")
        familiarity = cls()
        familiarity.limit_ = float(arrays["limit"][0])
        familiarity._known = _known(projection.documents(n_texts), n_texts)
        return familiarity


def _known(documents: IntArray | FloatArray, n_texts: int) -> FloatArray:
    """How well n-grams are known that so many tasks have, in [0, 1]."""
    most = max(_LEAST_TASKS, KNOWN_WELL * n_texts)
    return np.where(documents < _LEAST_TASKS, 0.0, np.log1p(np.minimum(documents, most)) / math.log1p(most))


def _strangeness(texts: Counted, known: FloatArray) -> FloatArray:
    text = np.repeat(np.arange(len(texts.size)), texts.size)
    total = np.bincount(text, weights=known, minlength=len(texts.size))
    return np.where(texts.size > 0, 1 - total / np.maximum(texts.size, 1), 0.0)


def _each(texts: Sequence[Counted], part: IntArray) -> list[tuple[Counted, IntArray]]:
    ends = np.cumsum([len(some.size) for some in texts])
    return list(zip(texts, np.split(part, ends[:-1]), strict=True))
