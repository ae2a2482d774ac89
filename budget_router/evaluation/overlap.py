"""When a log says too little about a policy: reasons not to conclude, each with what was found, the limit, and the mend."""

from collections.abc import Sequence
from typing import NamedTuple, Self

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
    return float(Weight.of(weights).n_effective)


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


class Weight(NamedTuple):
    """Sums of importance weights; `+` is that of two sets."""

    total: FloatArray
    square: FloatArray

    @classmethod
    def of(cls, weights: FloatArray) -> Self:
        """Of (n,) weights one number each, of (n, n_strategies) one for each column."""
        return cls(weights.sum(axis=0), np.square(weights).sum(axis=0))

    def __add__(self, other: "Weight", /) -> "Weight":  # type: ignore[override]  # of sums, not of tuples
        return Weight(self.total + other.total, self.square + other.square)

    @property
    def n_effective(self) -> FloatArray:
        """How many equally weighted decisions tell as much: see `effective_sample_size`."""
        return np.divide(self.total**2, self.square, out=np.zeros(np.shape(self.total)), where=np.asarray(self.square) > 0)


class Overlap(NamedTuple):
    """What tells whether a log says enough of a target policy; `+` is that of two logs of other tasks."""

    n: int
    n_tasks: int
    unlogged: FloatArray
    """(n_strategies,) summed choices of what had probability 0 in the log."""
    mass: FloatArray
    """(n_strategies,) summed choices."""
    rows: Weight
    """Of each decision's weights together."""
    columns: Weight
    """Of each strategy."""
    n_graded: IntArray
    """(n_strategies,)"""
    n_settled: IntArray | None
    """(n_strategies,) as `Revealed` has them."""
    strategies: tuple[str, ...]

    @classmethod
    def of(cls, log: Revealed, target_prob: FloatArray) -> Self:
        """Take a log.

        Args:
            log: what was revealed.
            target_prob: (n, n_strategies) of the evaluated policy.
        """
        weights = log.importance_weights(target_prob)
        return cls(
            n=len(weights),
            n_tasks=log.n_tasks,
            unlogged=np.where(log.prob == 0, target_prob, 0.0).sum(axis=0),
            mass=target_prob.sum(axis=0),
            rows=Weight.of(weights.sum(axis=1)),
            columns=Weight.of(weights),
            n_graded=log.is_observed.sum(axis=0),
            n_settled=log.n_settled,
            strategies=log.strategies,
        )

    def __add__(self, other: "Overlap", /) -> "Overlap":  # type: ignore[override]  # of sums, not of tuples
        settled = None if self.n_settled is None or other.n_settled is None else self.n_settled + other.n_settled
        return Overlap(
            self.n + other.n,
            self.n_tasks + other.n_tasks,
            self.unlogged + other.unlogged,
            self.mass + other.mass,
            self.rows + other.rows,
            self.columns + other.columns,
            self.n_graded + other.n_graded,
            settled,
            self.strategies,
        )

    @property
    def doubt(self) -> str:
        """Why the log does not tell what the target policy is worth, or nothing."""
        if self.n_tasks < 2:
            return f"{self.n_tasks} task(s) in the log, at least 2 needed: serve and grade more tasks"
        return self._unlogged() or self._thin() or self._unevenly_graded()

    def _unlogged(self) -> str:
        unlogged = self.unlogged / self.n
        if unlogged.sum() <= MAX_UNLOGGED_MASS:
            return ""
        worst = self.strategies[int(unlogged.argmax())]
        return (
            f"{_percent(unlogged.sum())} of the target's choices had probability 0 in the log (most of them {worst}), "
            f"limit {_percent(MAX_UNLOGGED_MASS)}: explore with a floor under every propensity"
        )

    def _thin(self) -> str:
        n_effective = float(self.rows.n_effective)
        if n_effective < MIN_EFFECTIVE_SAMPLE:
            return (
                f"effective sample size is {n_effective:.1f} of {self.n} decisions, limit {MIN_EFFECTIVE_SAMPLE:g}: "
                "log more decisions, or raise the exploration floor"
            )
        mass, n_seen = self.mass / self.n, self.columns.n_effective
        thin = (n_seen < MIN_OBSERVATIONS) & (mass > 0)
        if mass[thin].sum() <= MAX_THIN_MASS:
            return ""
        worst = int(np.where(thin, mass, -1.0).argmax())
        return (
            f"{_percent(mass[thin].sum())} of the target's choices fall on strategies with fewer than {MIN_OBSERVATIONS:g} "
            f"observations there (most of them {self.strategies[worst]}, {n_seen[worst]:.1f}), limit {_percent(MAX_THIN_MASS)}: "
            "log more decisions, or raise the exploration floor"
        )

    def _unevenly_graded(self) -> str:
        return "" if self.n_settled is None else graded_share_doubt(self.n_graded, self.n_settled, self.strategies)
