"""When a log says too little about a policy: reasons not to conclude, each with what was found, the limit, and the mend."""

from collections.abc import Sequence

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation.revealed import Revealed

MAX_UNLOGGED_MASS = 0.001
"""Mass of the target on cells that the log could never show: what is there can move a score by no more than this unseen."""
MIN_EFFECTIVE_SAMPLE = 10.0
"""Decisions, by `(Σw)² / Σw²`, below which the spread of the terms is not known well enough for an interval."""
MIN_OBSERVATIONS = 5.0
"""Of a strategy where the target chooses it, counted like the effective sample size."""
MAX_THIN_MASS = 0.1
"""Share of the target's choices that may fall on strategies with fewer observations."""
MAX_GRADED_GAP = 0.1
"""Difference in graded share between two strategies from which on grading may depend on how well it went."""


def effective_sample_size(weights: FloatArray) -> float:
    """How many equally weighted decisions tell as much: `(Σw)² / Σw²`; 0 without weights (Kish 1965, Survey Sampling)."""
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / square if square > 0 else 0.0


def graded_share_doubt(n_graded: Sequence[int] | IntArray, n_settled: Sequence[int] | IntArray, strategies: Sequence[str]) -> str:
    """Why outcomes may be missing not at random, or nothing: graded shares of strategies differ by more than ten points.

    If whoever grades looks more often where a strategy failed, graded scores are no sample of all scores, and no weight by the
    propensities of the *choice* mends that. Strategies that were never settled have no share.

    Args:
        n_graded: (n_strategies,) graded decisions.
        n_settled: (n_strategies,) settled decisions, graded or not.
        strategies: names.

    >>> graded_share_doubt([90, 40], [100, 100], ["single_shot", "vote"])[:57]
    'graded share runs from 40 % (vote) to 90 % (single_shot),'
    """
    graded, settled = np.asarray(n_graded, dtype=float), np.asarray(n_settled, dtype=float)
    known = np.flatnonzero(settled > 0)
    if not known.size:
        return ""
    share = graded[known] / settled[known]
    low, high = int(share.argmin()), int(share.argmax())
    if share[high] - share[low] <= MAX_GRADED_GAP + 1e-9:
        return ""
    return (
        f"graded share runs from {_percent(share[low])} ({strategies[known[low]]}) to {_percent(share[high])} "
        f"({strategies[known[high]]}), limit {MAX_GRADED_GAP * 100:.0f} points apart: "
        "grade all strategies alike, or log the probability of being graded"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def doubt(log: Revealed, target_prob: FloatArray) -> str:
    """Why the log does not tell what the target policy is worth, or nothing.

    Args:
        log: what was revealed.
        target_prob: (n, n_strategies) of the evaluated policy.
    """
    if log.n_tasks < 2:
        return f"{log.n_tasks} task(s) in the log, at least 2 needed: serve and grade more tasks"
    return _unlogged(log, target_prob) or _thin(log, target_prob) or _unevenly_graded(log)


def _unlogged(log: Revealed, target_prob: FloatArray) -> str:
    unlogged = np.where(log.prob == 0, target_prob, 0.0).mean(axis=0)
    if unlogged.sum() <= MAX_UNLOGGED_MASS:
        return ""
    worst = log.strategies[int(unlogged.argmax())]
    return (
        f"{_percent(unlogged.sum())} of the target's choices had probability 0 in the log (most of them {worst}), "
        f"limit {_percent(MAX_UNLOGGED_MASS)}: explore with a floor under every propensity"
    )


def _thin(log: Revealed, target_prob: FloatArray) -> str:
    weights = log.importance_weights(target_prob)
    n_effective = effective_sample_size(weights.sum(axis=1))
    if n_effective < MIN_EFFECTIVE_SAMPLE:
        return (
            f"effective sample size is {n_effective:.1f} of {len(weights)} decisions, limit {MIN_EFFECTIVE_SAMPLE:g}: "
            "log more decisions, or raise the exploration floor"
        )
    mass = target_prob.mean(axis=0)
    n_seen = np.array([effective_sample_size(column) for column in weights.T])
    thin = (n_seen < MIN_OBSERVATIONS) & (mass > 0)
    if mass[thin].sum() <= MAX_THIN_MASS:
        return ""
    worst = int(np.where(thin, mass, -1.0).argmax())
    return (
        f"{_percent(mass[thin].sum())} of the target's choices fall on strategies with fewer than {MIN_OBSERVATIONS:g} "
        f"observations there (most of them {log.strategies[worst]}, {n_seen[worst]:.1f}), limit {_percent(MAX_THIN_MASS)}: "
        "log more decisions, or raise the exploration floor"
    )


def _unevenly_graded(log: Revealed) -> str:
    if log.n_settled is None:
        return ""
    return graded_share_doubt(log.is_observed.sum(axis=0), log.n_settled, log.strategies)
