"""The majority vote."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Vote(NamedTuple):
    """What a majority says, and how large it is."""

    winner: int | None
    """Index of the first sample that gave the winning answer; `None` when no sample gave any."""
    agreement: float
    """Share of all samples that gave the winning answer."""


def majority(answers: Sequence[str | None]) -> Vote:
    """Elect the most frequent answer; ties go to the one that was given first, and `None` does not vote.

    >>> majority(["4", None, "5", "5", "4"])
    Vote(winner=0, agreement=0.4)
    """
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return Vote(None, 0.0)
    answer, votes = counts.most_common(1)[0]  # Counter keeps the order of first sight, and so does most_common
    return Vote(answers.index(answer), votes / len(answers))
