"""What an escalation would have done on a task, from graded samples of its first stage alone, by counting."""

from collections.abc import Mapping, Sequence
from math import comb
from typing import NamedTuple

from budget_router.outcomes.vote_accuracy import ways_to_win


class FirstVote(NamedTuple):
    """What comes of the first stage of an escalation."""

    accepted_right: float
    """Expected score of the first vote where it is accepted, times the probability that it is."""
    accepted: float
    """Probability that the first vote is accepted."""


def escalation_value(answers: Sequence[str | None], scores: Mapping[str, float], k: int, agreement: float) -> FirstVote:
    """How often a first vote of `k` samples is accepted, and what it then scores, averaged over all k-subsets of `answers`.

    With both stages' answers independent given the task, the escalation's accuracy is
    `accepted_right + (1 - accepted) · accuracy(then)`, and its cost `cost(first) + (1 - accepted) · cost(then)`.

    Args:
        answers: normalised answer of each sample of the first stage's sampling, `None` where a reply held none.
        scores: score of each distinct answer in [0, 1].
        k: votes of the first stage, 1 ≤ k ≤ len(answers).
        agreement: share of the `k` samples that the winner must reach.

    >>> first = escalation_value(["4", "4", "5"], {"4": 1.0, "5": 0.0}, 2, 1.0)
    >>> round(first.accepted_right, 3), round(first.accepted, 3)
    (0.333, 0.333)
    """
    fewest = next(votes for votes in range(1, k + 1) if votes / k >= agreement)
    counts = [answers.count(answer) for answer in scores]
    n_silent = len(answers) - sum(counts)
    shares = [
        ways_to_win(count, counts[:column] + counts[column + 1 :], n_silent, k, fewest=fewest) / comb(len(answers), k)
        for column, count in enumerate(counts)
    ]
    return FirstVote(sum(map(float.__mul__, shares, map(float, scores.values()))), sum(shares))
