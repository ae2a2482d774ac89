"""What a vote that may stop early would have scored and drawn, from one graded bundle of samples.

A stopping rule sees its samples in an order, so its value is the average over all orders of the bundle. It hangs on the answers
only through how often each was given and which came first; that much of the past is kept, and the average is summed exactly.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from budget_router.allocation import IntArray
from budget_router.strategy import EarlyStop

MAX_STATES = 800
"""Different pasts after one sample beyond which orders are drawn at random instead of counted."""
N_ORDERS = 4000
"""Random orders then: the standard error of an accuracy stays below one point."""

_State = tuple[tuple[int, int], ...]
"""(kind, votes) of each answer that was given, in order of first sight."""


class StoppedVote(NamedTuple):
    """What a vote with an early stop is worth on a task."""

    accuracy: float
    mean_samples: float


class _Kind(NamedTuple):
    """Answers of a bundle that cannot be told apart by how often they stand in it and what they score."""

    n_given: int
    score: float
    n_answers: int


def certainty(leader: int, runner_up: int) -> float:
    """Posterior probability that the leader of a vote is the true majority over the runner-up.

    `1 - I_{1/2}(leader + 1, runner_up + 1)`, the regularised incomplete beta function, which for whole numbers is a binomial
    tail (Aggarwal et al. 2023, arXiv 2305.11860).

    >>> certainty(2, 0), certainty(3, 3)
    (0.875, 0.5)
    """
    return 1 - _doubt(leader, runner_up)


@cache
def _doubt(leader: int, runner_up: int) -> float:
    n_trials = leader + runner_up + 1
    ways = total = 1  # in whole numbers: of the tail no digit is lost, and no n is too large
    for one in range(runner_up):
        ways = ways * (n_trials - one) // (one + 1)
        total += ways
    return float(total / 2**n_trials)


def is_decided(votes: Sequence[int], n_left: int, threshold: float) -> bool:
    """Tell whether a vote may stop.

    Args:
        votes: for each answer that was given, in order of first sight; ties go to the one given first.
        n_left: samples that may still be drawn.
        threshold: of `certainty`; at 1 only a vote whose winner cannot change is decided.

    >>> is_decided([2], 8, 0.9), is_decided([3], 7, 0.9), is_decided([5], 5, 1.0), is_decided([1, 5], 4, 1.0)
    (False, True, True, False)
    """
    if not n_left:
        return True
    most = max(votes, default=0)
    leader = votes.index(most) if votes else 0
    others = [*votes[:leader], *votes[leader + 1 :]]
    if _doubt(most, max(others, default=0)) <= 1 - threshold:
        return True
    earlier, later = max(votes[:leader], default=-n_left - 1), max([0, *votes[leader + 1 :]])
    return earlier + n_left < most and later + n_left <= most


def early_stop_value(answers: Sequence[str | None], scores: Mapping[str, float], early_stop: EarlyStop, cap: int) -> StoppedVote:
    """Expected score of a majority vote that may stop, and the samples it draws, over all orders of `answers`.

    Exact unless more than `MAX_STATES` different pasts have to be told apart; then the mean of `N_ORDERS` random orders, the
    same ones each time. Ties go to the answer given first, `None` does not vote, and a vote without any answer scores 0.

    Args:
        answers: normalised answer of each sample, `None` where a reply held none.
        scores: score of each distinct answer in [0, 1].
        early_stop: the rule.
        cap: most samples drawn, 1 ≤ cap ≤ len(answers).

    >>> rule = EarlyStop(threshold=1.0)
    >>> value = early_stop_value(["4", "4", "5"], {"4": 1.0, "5": 0.0}, rule, 3)
    >>> value.accuracy, round(value.mean_samples, 3)
    (1.0, 2.667)
    """
    counted: dict[tuple[int, float], int] = defaultdict(int)
    for answer, score in scores.items():
        if count := answers.count(answer):
            counted[count, score] += 1
    kinds = [_Kind(count, score, n_answers) for (count, score), n_answers in counted.items()]
    exact = _counted_value(kinds, len(answers), early_stop, cap)
    return _sampled_value(answers, scores, early_stop, cap) if exact is None else exact


def _counted_value(kinds: Sequence[_Kind], n_answers: int, early_stop: EarlyStop, cap: int) -> StoppedVote | None:
    """Forward over the number of samples drawn; `None` when there are too many pasts."""
    n_silent = n_answers - sum(kind.n_given * kind.n_answers for kind in kinds)
    reached: dict[_State, float] = {(): 1.0}
    accuracy = mean_samples = 0.0
    for n_drawn in range(1, cap + 1):
        after: dict[_State, float] = defaultdict(float)
        share = 1 / (n_answers - n_drawn + 1)
        for state, prob in reached.items():
            for following, n_ways in _following(state, kinds, n_silent - (n_drawn - 1) + sum(votes for _, votes in state)):
                after[following] += prob * n_ways * share
        if n_drawn % early_stop.window == 0 or n_drawn == cap:
            reached = defaultdict(float)
            for state, prob in after.items():
                votes = tuple(votes for _, votes in state)
                if _is_decided(votes, cap - n_drawn, early_stop.threshold):
                    mean_samples += prob * n_drawn
                    accuracy += prob * (kinds[state[votes.index(max(votes))][0]].score if state else 0.0)
                else:
                    reached[_pruned(state, max(votes, default=0), cap - n_drawn)] += prob
        else:
            reached = after
        if len(reached) > MAX_STATES:
            return None
    return StoppedVote(accuracy, mean_samples)


_is_decided = cache(is_decided)


def _following(state: _State, kinds: Sequence[_Kind], n_silent: int) -> Iterator[tuple[_State, int]]:
    """What one more sample makes of a state, and by how many of the samples that are left."""
    if n_silent:
        yield state, n_silent
    n_seen = [0] * len(kinds)
    for place, (kind, votes) in enumerate(state):
        n_seen[kind] += 1
        if left := kinds[kind].n_given - votes:
            yield (*state[:place], (kind, votes + 1), *state[place + 1 :]), left
    for kind, (n_given, _, n_answers) in enumerate(kinds):
        if unseen := n_answers - n_seen[kind]:
            yield (*state, (kind, 1)), unseen * n_given


def _pruned(state: _State, most: int, n_left: int) -> _State:
    """Forget the order of those that cannot win any more."""
    if all(votes + n_left >= most for _, votes in state):
        return state
    alive = [one for one in state if one[1] + n_left >= most]
    return (*alive, *sorted(one for one in state if one[1] + n_left < most))


def _sampled_value(answers: Sequence[str | None], scores: Mapping[str, float], early_stop: EarlyStop, cap: int) -> StoppedVote:
    """The mean over random orders, all of them side by side."""
    column = {answer: one for one, answer in enumerate(scores, start=1)}
    pool = np.array([0 if answer is None else column.get(answer, 0) for answer in answers])
    order = np.random.default_rng(0).permuted(np.tile(pool, (N_ORDERS, 1)), axis=1)
    score = np.array([0.0, *scores.values()])
    votes = np.zeros((N_ORDERS, len(score)), dtype=np.intp)  # column 0 is silent, and stands for answers not yet given
    rank = np.full_like(votes, -cap - 1)  # by votes, then by who was first
    running, total, n_samples = np.arange(N_ORDERS), 0.0, 0
    for n_drawn in range(1, cap + 1):
        given = order[running, n_drawn - 1]
        at = running[given > 0], given[given > 0]
        rank[at] += cap + 2 + np.where(votes[at] == 0, cap + 1 - n_drawn, 0)
        votes[at] += 1
        if n_drawn % early_stop.window == 0 or n_drawn == cap:
            ahead = rank[running]
            winner = ahead.argmax(axis=1)
            is_done = _are_decided(votes[running], ahead, (cap - n_drawn) * (cap + 2), early_stop.threshold)
            total += float(score[winner[is_done]].sum())
            n_samples += n_drawn * int(is_done.sum())
            running = running[~is_done]
    return StoppedVote(total / N_ORDERS, n_samples / N_ORDERS)


def _are_decided(votes: IntArray, rank: IntArray, reach: int, threshold: float) -> NDArray[np.bool_]:
    """Do as `is_decided` for many votes; `reach` is what the samples that are left can add to a rank."""
    second, first = np.sort(rank, axis=1)[:, -2:].T
    runner_up, leader = np.sort(votes, axis=1)[:, -2:].T
    pairs, which = np.unique(np.stack([leader, runner_up], axis=1), axis=0, return_inverse=True)
    is_sure = np.array([_doubt(*pair) <= 1 - threshold for pair in pairs.tolist()], dtype=bool)
    return np.asarray(is_sure[which.reshape(-1)] | (second + reach < first) | (reach == 0))
