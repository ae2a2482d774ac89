"""A learned text projection: hashed words and word pairs, turned into a few dozen numbers."""

import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import FloatArray, IntArray
from budget_router.features.reading import read

N_BUCKETS = 2**15
NgramCounts = Mapping[int, int]
"""How often each bucket of hashed words and word pairs occurs in a text: all of the text that the projection learns from."""
_AT_ONCE = 2**10
"""Texts whose words are held in memory at once."""
_MOST_HASHES = 100_000
"""Tokens whose hashes are remembered."""
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
        return self.fit_counted(counted(texts))

    def fit_counted(self, parts: "Sequence[Counted]") -> Self:
        """Learn from texts whose words were counted already."""
        from scipy.sparse import csr_array
        from sklearn.utils.extmath import randomized_svd

        whole = Counted(*map(np.concatenate, zip(*parts, strict=True)))
        n_texts = len(whole.size)
        documents = np.bincount(whole.bucket, minlength=N_BUCKETS)
        buckets: IntArray = np.flatnonzero(documents > 1)
        self.buckets_ = buckets if len(buckets) else np.flatnonzero(documents)
        self.idf_ = np.array([math.log((1 + n_texts) / (1 + n_with)) + 1 for n_with in documents[self.buckets_].tolist()])
        self._index()
        matrix = csr_array(self._weights(whole), shape=(n_texts, len(self.buckets_)))
        n_components = min(self.n_components, *matrix.shape)
        self.axes_: FloatArray = np.empty((len(self.buckets_), 0))
        if n_components:  # texts of signs alone have no words to stand together
            _, _, axes = randomized_svd(matrix, n_components=n_components, random_state=0)
            self.axes_ = np.ascontiguousarray(axes.T)
        return self

    def transform(self, texts: Sequence[str | NgramCounts]) -> FloatArray:
        """Project texts, or their n-gram counts; (n_texts, n_components), rows of unit length, zero where no word is known."""
        return np.concatenate([self.place(_counts(part)) for part in _parts(texts)])

    def place(self, part: "Counted") -> FloatArray:
        """Project texts whose words were counted already."""
        rows = np.zeros((len(part.size), self.axes_.shape[1]))
        weights, columns, ends = self._weights(part)
        for row, (begin, end) in zip(rows, pairwise(ends.tolist()), strict=True):
            np.dot(weights[begin:end], self.axes_.take(columns[begin:end], axis=0), out=row)
        length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
        rows /= np.where(length > _TINY, length, 1.0)
        return rows

    def _weights(self, counted: "Counted") -> tuple[FloatArray, IntArray, IntArray]:
        """Weights and columns of the known buckets of some texts; where each text's begin, and where the last one's end."""
        columns = self._column[counted.bucket]
        is_known = columns >= 0
        columns = columns[is_known]
        weights = np.log1p(counted.times[is_known]) * self.idf_[columns]
        text = np.repeat(np.arange(len(counted.size)), counted.size)[is_known]
        length = np.sqrt(np.bincount(text, weights=np.square(weights), minlength=len(counted.size)))
        ends = np.cumsum([0, *np.bincount(text, minlength=len(counted.size)).tolist()])
        return weights / length[text], columns, ends

    def _index(self) -> None:
        self._column = np.full(N_BUCKETS, -1)
        self._column[self.buckets_] = np.arange(len(self.buckets_))

    def documents(self, n_texts: int) -> FloatArray:
        """(n_buckets,) how many of the `n_texts` that were learned from had each n-gram, 0 of those that are left out."""
        found = np.zeros(N_BUCKETS)
        found[self.buckets_] = np.rint((1 + n_texts) * np.exp(1 - self.idf_) - 1)
        return found

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
    """Count a text's hashed words and word pairs.

    >>> ngram_counts("two plus two").total()
    5
    """
    found = _counts([text])
    return Counter(dict(zip(found.bucket.tolist(), found.times.tolist(), strict=True)))


class Counted(NamedTuple):
    """The n-grams of many texts, one text after the other, buckets rising."""

    bucket: NDArray[np.int32]
    times: NDArray[np.int32]
    size: IntArray
    """(n_texts,) different buckets of each."""


def counted(texts: Sequence[str | NgramCounts]) -> list[Counted]:
    """Count the words of texts, some at a time; texts may be counted already."""
    return [_counts(part) for part in _parts(texts)]


def _parts(texts: Sequence[str | NgramCounts]) -> list[Sequence[str | NgramCounts]]:
    return [texts[start : start + _AT_ONCE] for start in range(0, max(len(texts), 1), _AT_ONCE)]


def _counts(texts: Sequence[str | NgramCounts]) -> Counted:
    texts = list(texts)  # they may stand in a file
    words = [read(text) if isinstance(text, str) else () for text in texts]
    n_words = np.fromiter(map(len, words), np.intp, len(words))
    hashed = np.fromiter(map(_HASHES.__getitem__, chain.from_iterable(words)), np.int64, n_words.sum())
    text = np.repeat(np.arange(len(texts)), n_words)
    is_pair = text[1:] == text[:-1]
    pairs = (hashed[:-1] * 31 + hashed[1:])[is_pair]
    place = np.concatenate([text, text[1:][is_pair]]) * N_BUCKETS + np.concatenate([hashed, pairs]) % N_BUCKETS
    place, times = np.unique(place.astype(np.int32), return_counts=True)
    told = [(row, counts) for row, counts in enumerate(texts) if not isinstance(counts, str)]
    if told:
        place = np.concatenate(
            [place, np.array([row * N_BUCKETS + bucket for row, counts in told for bucket in counts], np.int64)]
        )
        times = np.concatenate([times, np.array([one for _, counts in told for one in counts.values()], np.int64)])
        order = np.argsort(place)
        place, times = place[order], times[order]
    size = np.bincount(place // N_BUCKETS, minlength=len(texts))
    return Counted((place % N_BUCKETS).astype(np.int32), times.astype(np.int32), size)


class _Hashes(dict[str, int]):
    """The hash of each token, worked out once for all texts that are read."""

    def __missing__(self, token: str) -> int:
        if len(self) >= _MOST_HASHES:
            self.clear()
        self[token] = found = zlib.crc32(token.lower().translate(_DIGITS).encode("utf-8", "replace"))
        return found


_HASHES = _Hashes()
