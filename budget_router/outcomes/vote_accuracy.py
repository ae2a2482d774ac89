"""What smaller votes would have scored, from one graded bundle of samples, by counting.

A bundle of n exchangeable samples holds every vote of k ≤ n of them: its expected score is the average over all k-subsets. It
depends on the answers only through their counts, so it is summed exactly over count vectors, not simulated.
"""

from collections.abc import Mapping, Sequence
from math import comb


def vote_accuracy(answers: Sequence[str | None], scores: Mapping[str, float], k: int) -> float:
    """Expected score of a majority vote of `k` samples, averaged over all k-subsets of `answers` in random order.

    Ties go to the answer that was given first, which is each of the tied with equal probability; `None` does not vote, and a
    subset without any answer scores 0.

    Args:
        answers: normalised answer of each sample, `None` where a reply held none.
        scores: score of each distinct answer in [0, 1].
        k: votes, 1 ≤ k ≤ len(answers).

    >>> vote_accuracy(["4", "4", "5"], {"4": 1.0, "5": 0.0}, 1)
    0.6666666666666666
    >>> vote_accuracy(["4", "4", "5"], {"4": 1.0, "5": 0.0}, 3)
    1.0
    """
    counts = [answers.count(answer) for answer in scores]
    n_silent = len(answers) - sum(counts)
    won = sum(
        score * ways_to_win(count, counts[:column] + counts[column + 1 :], n_silent, k)
        for column, (count, score) in enumerate(zip(counts, scores.values(), strict=True))
        if score and count
    )
    return won / comb(len(answers), k)


def ways_to_win(count: int, others: Sequence[int], n_silent: int, k: int, *, fewest: int = 1) -> float:
    """Number of k-subsets that an answer given `count` times wins, one it ties with t others counting 1 / (t + 1)."""
    return sum(
        comb(count, votes) * ways / (n_tied + 1)
        for votes in range(fewest, min(count, k) + 1)
        for n_tied, ways in enumerate(_ways_below(others, n_silent, k - votes, votes))
    )


def _ways_below(others: Sequence[int], n_silent: int, size: int, most: int) -> list[int]:
    """Number of ways to draw `size` samples from the others with at most `most` of each, by how many reach `most` exactly."""
    ways = [[comb(n_silent, drawn)] for drawn in range(size + 1)]  # ways[drawn][n_tied]
    for count in others:
        longer = [[0] * (len(row) + 1) for row in ways]
        for drawn, row in enumerate(ways):
            for n_tied, so_far in enumerate(row):
                if so_far:
                    for votes in range(min(count, most, size - drawn) + 1):
                        longer[drawn + votes][n_tied + (votes == most)] += so_far * comb(count, votes)
        ways = longer
    return ways[size]
