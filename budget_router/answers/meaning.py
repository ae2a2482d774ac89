"""Answers in the model's own words: a function of the user's tells which of them mean the same.

It may compare two texts, cluster them all, or embed them. Whatever it does, the answers fall into groups that are counted, and
each group is called by the one of its answers that was given first.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from budget_router.answers.rule import AnswerRule, end_of
from budget_router.errors import InvalidInput

MAX_FREE_CHARACTERS = 4_000
"""Of a reply in free text; its end counts."""
NOISE = -1
"""Label of a text that belongs to no cluster, by scikit-learn's convention: each such text stands alone."""
_ROUNDING = 1e-12

Cluster = Callable[[Sequence[str]], Sequence[Hashable]]
"""Labels distinct texts, given in order of first sight: those of one label mean the same, one labelled -1 is alone."""
Equivalent = Callable[[str, str], bool]
"""Tells whether two texts mean the same."""
Embed = Callable[[Sequence[str]], ArrayLike]
"""Gives each text its vector, (n_texts, n_dimensions)."""


def whole_reply(text: str) -> str | None:
    """The end of a reply with its white space collapsed, in the case it was written."""
    return " ".join(text[-MAX_FREE_CHARACTERS:].split()) or None


@dataclass(frozen=True)
class FreeText:
    """A rule for free text: `answer` finds the text that counts, `cluster` tells which of the texts mean the same.

    >>> rule = FreeText(pairwise(lambda one, other: set(one.split()) == set(other.split())))
    >>> rule.grouped(["by train", None, "train by", "on foot"])
    ['by train', None, 'by train', 'on foot']
    """

    cluster: Cluster
    answer: AnswerRule = whole_reply

    def __call__(self, text: str, /) -> str | None:
        """Find the text that counts in a reply."""
        return self.answer(end_of(text))

    def grouped(self, answers: Sequence[str | None], /) -> list[str | None]:
        """Write answers that mean the same as the one of them given first.

        Raises InvalidInput when `cluster` does not give each text one label.
        """
        distinct = list(dict.fromkeys(answer for answer in answers if answer is not None))
        labels = list(self.cluster(distinct)) if len(distinct) > 1 else list(distinct)
        if len(labels) != len(distinct):
            raise InvalidInput(
                f"the clusters of {len(distinct)} texts are {len(labels)} labels: let it give one label for each text"
            )
        first: dict[Hashable, str] = {}
        name = {
            text: text if label == NOISE else first.setdefault(label, text) for text, label in zip(distinct, labels, strict=True)
        }
        return [None if answer is None else name[answer] for answer in answers]


def pairwise(equivalent: Equivalent) -> Cluster:
    """Make clusters of a comparison: each text joins the first group whose first text it is equivalent to.

    So groups are well defined even where the comparison is not transitive, and do not change as more texts come.
    """

    def cluster(texts: Sequence[str]) -> list[int]:
        firsts: list[int] = []
        labels: list[int] = []
        for place, text in enumerate(texts):
            label = next((one for one in firsts if equivalent(texts[one], text)), place)
            if label == place:
                firsts.append(place)
            labels.append(label)
        return labels

    return cluster


def embedded(embed: Embed, *, min_cosine: float) -> Cluster:
    """Make clusters of an embedding: texts are equivalent at a cosine of at least `min_cosine`, 0 < min_cosine ≤ 1.

    Raises InvalidInput at a cosine out of range, and when `embed` does not give each text one finite vector.
    """
    if not 0 < min_cosine <= 1:
        raise InvalidInput(f"min_cosine is {min_cosine:g}: let it be above 0 and at most 1")

    def cluster(texts: Sequence[str]) -> Sequence[Hashable]:
        vectors = np.asarray(embed(texts), dtype=np.float64)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise InvalidInput(
                f"embedding {len(texts)} texts gave shape {vectors.shape}: let it give one finite vector for each text"
            )
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        directions = vectors / np.where(length > 0, length, 1.0)
        place = {text: one for one, text in enumerate(texts)}
        rounding = 1e-12
        return pairwise(lambda one, other: float(directions[place[one]] @ directions[place[other]]) >= min_cosine - rounding)(
            texts
        )

    return cluster
