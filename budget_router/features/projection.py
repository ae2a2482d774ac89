"""A learned text projection: hashed words and word pairs, turned into a few dozen numbers."""

import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.reading import read

N_BUCKETS = 2**15
NgramCounts = Mapping[int, int]
"""How often each bucket of hashed words and word pairs occurs in a text: all of the text that the projection learns from."""
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
        from scipy.sparse import csr_array
        from sklearn.utils.extmath import randomized_svd

        counted = [_counted(text) for text in texts]
        documents = Counter(bucket for counts in counted for bucket in counts)
        buckets = sorted(bucket for bucket, n_texts in documents.items() if n_texts > 1) or sorted(documents)
        self.buckets_: IntArray = np.array(buckets, dtype=np.intp)
        self.idf_ = np.array([math.log((1 + len(texts)) / (1 + documents[bucket])) + 1 for bucket in buckets])
        self._index()
        rows = [self._weights(counts) for counts in counted]
        pointers = np.cumsum([0, *(len(columns) for columns, _ in rows)])
        columns = np.concatenate([columns for columns, _ in rows])
        weights = np.concatenate([weights for _, weights in rows])
        matrix = csr_array((weights, columns, pointers), shape=(len(texts), len(buckets)))
        n_components = min(self.n_components, *matrix.shape)
        self.axes_: FloatArray = np.empty((len(buckets), 0))
        if n_components:  # texts of signs alone have no words to stand together
            _, _, axes = randomized_svd(matrix, n_components=n_components, random_state=0)
            self.axes_ = np.ascontiguousarray(axes.T)
        return self

    def transform(self, texts: Sequence[str | NgramCounts]) -> FloatArray:
        """Project texts, or their n-gram counts; (n_texts, n_components), rows of unit length, zero where no word is known."""
        return np.array([self._project(text) for text in texts]).reshape(len(texts), self.axes_.shape[1])

    def _project(self, text: str | NgramCounts) -> FloatArray:
        columns, weights = self._weights(_counted(text))
        row = weights @ self.axes_[columns]
        length = math.sqrt(row @ row)
        return np.asarray(row / length if length > 1e-12 else row)

    def _weights(self, counts: NgramCounts) -> tuple[IntArray, FloatArray]:
        known = [(self._column[bucket], count) for bucket, count in counts.items() if bucket in self._column]
        columns = np.array([column for column, _ in known], dtype=np.intp)
        weights = np.log1p([count for _, count in known]) * self.idf_[columns]
        length = math.sqrt(weights @ weights)
        return columns, weights / length if length else weights

    def _index(self) -> None:
        self._column = {int(bucket): column for column, bucket in enumerate(self.buckets_)}

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


def _counted(text: str | NgramCounts) -> NgramCounts:
    return ngram_counts(text) if isinstance(text, str) else text


@lru_cache(maxsize=100_000)
def _hash(token: str) -> int:
    return zlib.crc32(token.lower().translate(_DIGITS).encode("utf-8", "replace"))
