"""A learned text projection: hashed words and word pairs, turned into a few dozen numbers."""

import math
import zlib
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.reading import read

N_BUCKETS = 2**15
NgramCounts = Mapping[int, int]
"""How often each bucket of hashed words and word pairs occurs in a text: all of the text that the projection learns from."""
_AT_ONCE = 2**12
"""Texts whose words are held in memory at once."""
_TINY = 1e-12
_DIGITS = str.maketrans("123456789", "000000000")


class TextProjection:
    """Latent semantic analysis of hashed unigrams and bigrams (Deerwester et al. 1990, JASIS 41(6)).

    Weights are `log(1 + count) · idf`, rows have unit length, digits are all alike: what counts is the form of a task, not its
    figures. Batch and single row give the same numbers; nothing but numpy is needed to transform.

    Args:
        n_components: numbers per text; fewer when there are fewer texts.
    """

    def __init__(self, n_components: int = 24) -> None:
        self.n_components = n_components

    def fit(self, texts: Sequence[str | NgramCounts]) -> Self:
        """Learn from texts, or what `ngram_counts` told of them, which words stand together."""
        self._learn(_flat(texts))
        return self

    def fit_transform(self, texts: Sequence[str | NgramCounts]) -> FloatArray:
        """Learn from texts and project them; their words are counted once."""
        flat = _flat(texts)
        self._learn(flat)
        return self._placed(flat)

    def _learn(self, flat: "_Flat") -> None:
        from scipy.sparse import csr_array
        from sklearn.utils.extmath import randomized_svd

        n_texts = len(flat.size)
        documents = np.bincount(flat.bucket, minlength=N_BUCKETS)
        buckets: IntArray = np.flatnonzero(documents > 1)
        self.buckets_ = buckets if len(buckets) else np.flatnonzero(documents)
        self.idf_ = np.array([math.log((1 + n_texts) / (1 + n_with)) + 1 for n_with in documents[self.buckets_].tolist()])
        self._index()
        matrix = csr_array(self._weights(flat), shape=(n_texts, len(self.buckets_)))
        n_components = min(self.n_components, *matrix.shape)
        self.axes_: FloatArray = np.empty((len(self.buckets_), 0))
        if n_components:  # texts of signs alone have no words to stand together
            _, _, axes = randomized_svd(matrix, n_components=n_components, random_state=0)
            self.axes_ = np.ascontiguousarray(axes.T)

    def transform(self, texts: Sequence[str | NgramCounts]) -> FloatArray:
        """Project texts, or their n-gram counts; (n_texts, n_components), rows of unit length, zero where no word is known."""
        rows = np.empty((len(texts), self.axes_.shape[1]))
        for start in range(0, len(texts), _AT_ONCE):
            rows[start : start + _AT_ONCE] = self._placed(_flat(texts[start : start + _AT_ONCE]))
        return rows

    def _placed(self, flat: "_Flat") -> FloatArray:
        rows = np.empty((len(flat.size), self.axes_.shape[1]))
        weights, columns, ends = self._weights(flat)
        for row, (begin, end) in enumerate(pairwise(ends.tolist())):
            placed = weights[begin:end] @ self.axes_[columns[begin:end]]
            length = math.sqrt(placed @ placed)
            rows[row] = placed / length if length > _TINY else placed
        return rows

    def _weights(self, flat: "_Flat") -> tuple[FloatArray, IntArray, IntArray]:
        """Weights and columns of the known buckets of some texts; where each text's begin, and where the last one's end."""
        columns = self._column[flat.bucket]
        is_known = columns >= 0
        columns = columns[is_known]
        weights = np.log1p(flat.times[is_known]) * self.idf_[columns]
        text = np.repeat(np.arange(len(flat.size)), flat.size)
        ends = np.cumsum([0, *np.bincount(text[is_known], minlength=len(flat.size))])
        for begin, end in pairwise(ends.tolist()):
            one = weights[begin:end]
            one /= math.sqrt(one @ one) or 1.0
        return weights, columns, ends

    def _index(self) -> None:
        self._column = np.full(N_BUCKETS, -1)
        self._column[self.buckets_] = np.arange(len(self.buckets_))

    def arrays(self) -> dict[str, FloatArray | IntArray]:
        """What was learned, as arrays."""
        return {"buckets": self.buckets_, "idf": self.idf_, "axes": self.axes_}

    @classmethod
    def from_arrays(cls, buckets: IntArray, idf: FloatArray, axes: FloatArray) -> Self:
        """The projection that `arrays` was taken from."""
        projection = cls(axes.shape[1])
        projection.buckets_, projection.idf_, projection.axes_ = buckets, idf, axes
        projection._index()
        return projection


def ngram_counts(text: str) -> Counter[int]:
    """Count a text's hashed words and word pairs, in the order they first occur.

    >>> ngram_counts("two plus two").total()
    5
    """
    hashes = [_hash(token) for token in read(text)]
    pairs = [(first * 31 + second) % N_BUCKETS for first, second in zip(hashes, hashes[1:], strict=False)]
    return Counter([*(value % N_BUCKETS for value in hashes), *pairs])


class _Flat(NamedTuple):
    """The counts of many texts, one text after the other."""

    bucket: NDArray[np.int32]
    times: NDArray[np.float64]
    size: IntArray
    """(n_texts,) different buckets of each."""


def _flat(texts: Sequence[str | NgramCounts]) -> _Flat:
    bucket, times, size = array("i"), array("d"), array("q")
    for text in texts:
        counts = _counted(text)
        bucket.extend(counts)
        times.extend(counts.values())
        size.append(len(counts))
    return _Flat(np.array(bucket, dtype=np.int32), np.array(times), np.array(size, dtype=np.intp))


def _counted(text: str | NgramCounts) -> NgramCounts:
    return ngram_counts(text) if isinstance(text, str) else text


@lru_cache(maxsize=100_000)
def _hash(token: str) -> int:
    return zlib.crc32(token.lower().translate(_DIGITS).encode("utf-8", "replace"))
