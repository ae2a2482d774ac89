"""Whether what a policy was learned from still holds: of the tasks that come, of accuracy, and of cost.

Each test gives a finding with a p-value and a size. The p-values are corrected for their number (Holm), so that of many features
hardly one drifts by chance; and what is significant must also be large enough to matter, or a million rows would make everything
drift. See `budget_router.evaluation.inputs` for the tests of the tasks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation.bounds import clustered_error, student_half_width
from budget_router.evaluation.estimate import Estimate
from budget_router.evaluation.off_policy import CONFIDENCE
from budget_router.evaluation.overlap import graded_share_doubt
from budget_router.evaluation.revealed import Revealed
from budget_router.evaluation.reward_model import cross_fitted

Kind = Literal["input", "accuracy", "cost"]

LEAST_SHOWN = 20
"""Tasks that must show a strategy in either window."""
_N_FOLDS = 10
_SLOPE_PENALTY = 1.0
"""Rows of evidence that a slope is weighed against."""
_FAR = 5.0
"""Standard deviations of a feature beyond which a task is as far out as any."""


class DriftLimits(NamedTuple):
    """From which size on a change matters, and how sure one must be of it."""

    significance: float = 0.05
    """Probability that a check of two alike windows finds anything at all."""
    told_apart: float = 0.1
    """By how much a classifier of old and new tasks is better than a coin, as area under its ROC curve; 0.1 is an area of 0.6,
    as of two normals a third of their deviation apart."""
    moved: float = 0.1
    """Share of tasks that a feature has moved by, or a category gained or lost."""
    accuracy: float = 0.05
    """Change of a strategy's mean score."""
    cost: float = 0.1
    """Change of what a strategy costs, in parts of it."""


LIMITS = DriftLimits()
"""Where nobody says otherwise."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it was, how it is, and what to think of it."""

    kind: Kind
    what: str
    """A feature, a name of the metadata, `group`, `tasks as a whole`, or a strategy's name."""
    reference: float
    """Figure of the reference window."""
    recent: float
    """The same of the recent one."""
    change: Estimate
    """Size of the change and its 95 % interval: of an area, a share or a score the difference, of a cost the ratio."""
    limit: float
    """From which size on the change matters; of a ratio, by how much it must miss 1."""
    p_value: float
    """That chance alone does this; corrected for the number of findings."""
    is_significant: bool
    is_large: bool
    says: str
    """One plain sentence."""

    @property
    def matters(self) -> bool:
        """Whether it is drift: sure, and large."""
        return self.is_significant and self.is_large


def concluded(findings: Sequence[Finding], significance: float) -> tuple[Finding, ...]:
    """Correct the p-values for their number, and put what matters first.

    Reference: Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6(2).
    """
    order = sorted(range(len(findings)), key=lambda one: findings[one].p_value)
    corrected, highest = list(findings), 0.0
    for rank, one in enumerate(order):
        highest = max(highest, min(1.0, (len(findings) - rank) * findings[one].p_value))
        corrected[one] = replace(findings[one], p_value=highest, is_significant=highest <= significance)
    return tuple(sorted(corrected, key=lambda one: (not one.matters, one.p_value, -abs(one.change.value))))


class Shown(NamedTuple):
    """What a window's decisions show of every strategy."""

    revealed: Revealed
    """Scores, or spends."""
    features: FloatArray
    """(n, n_features) of each row's task: all that the choice of its strategy rests on."""
    expected: FloatArray | None = None
    """(n, n_strategies) spend that the policy expects, > 0; `None`: nobody does."""


def accuracy_drift(reference: Shown, recent: Shown, limits: DriftLimits = LIMITS) -> tuple[list[Finding], list[str]]:
    """Compare each strategy's mean score on the tasks that show it now with what it scored on such tasks, like for like.

    Returns:
        Findings, and of which strategies nothing can be said.
    """
    uneven = [doubt for one in (reference, recent) if (doubt := _uneven(one.revealed))]
    if uneven:
        return [], [f"accuracy: {doubt}" for doubt in uneven]
    findings, doubts = [], []
    foreseen = _foreseen(reference, recent)
    for column, name in enumerate(recent.revealed.strategies):
        pair = _like_for_like(*(_cells(shown, seen, column) for shown, seen in zip((reference, recent), foreseen, strict=True)))
        if isinstance(pair, str):
            doubts.append(f"accuracy of {name}: {pair}")
            continue
        change = Estimate(pair.after - pair.before, *_ends(pair.after - pair.before, pair.half_width))
        says = (
            f"{name} scores {100 * pair.after:.1f} % on tasks on which it scored {100 * pair.before:.1f} %: "
            f"{100 * change.value:+.1f} points [{100 * change.low:+.1f}, {100 * change.high:+.1f}]."
        )
        is_large = abs(change.value) >= limits.accuracy
        findings.append(
            Finding("accuracy", name, pair.before, pair.after, change, limits.accuracy, pair.p_value, False, is_large, says)
        )
    return findings, doubts


def cost_drift(reference: Shown, recent: Shown, limits: DriftLimits = LIMITS) -> tuple[list[Finding], list[str]]:
    """Compare what each strategy bills, over what the policy expects there, with the same of such tasks, like for like.

    A figure of 1.4 says that a strategy bills 1.4 times what is expected of it on the tasks that show it. Without a policy it is
    what it bills over what it used to bill on average.
    """
    findings, doubts = [], []
    relative = [_relative(shown, reference) for shown in (reference, recent)]
    foreseen = _foreseen(*relative)
    for column, name in enumerate(recent.revealed.strategies):
        pair = _like_for_like(*(_cells(shown, seen, column) for shown, seen in zip(relative, foreseen, strict=True)))
        if not isinstance(pair, str) and min(pair.before, pair.after) <= 0:
            pair = "nothing was billed for it"
        if isinstance(pair, str):
            doubts.append(f"cost of {name}: {pair}")
            continue
        ratio = pair.after / pair.before
        change = Estimate(ratio, *map(math.exp, _ends(math.log(ratio), pair.half_width / min(pair.before, pair.after))))
        of = "is expected of it" if recent.expected is not None else "it billed on average"
        says = (
            f"{name} bills {pair.after:.2f} times what {of}, on tasks where it was {pair.before:.2f} times: "
            f"{ratio:.2f} times as much [{change.low:.2f}, {change.high:.2f}]."
        )
        is_large = abs(math.log(ratio)) >= math.log1p(limits.cost)
        findings.append(Finding("cost", name, pair.before, pair.after, change, limits.cost, pair.p_value, False, is_large, says))
    return findings, doubts


class _Cells(NamedTuple):
    """What one strategy's column shows."""

    value: FloatArray
    """(n,)."""
    features: FloatArray
    """(n, n_features)."""
    cluster: IntArray
    """(n,) number of each row's task, from 0 without a gap."""


class _Pair(NamedTuple):
    """A mean as it is, and as it would have been."""

    before: float
    after: float
    half_width: float
    """Of the 95 % interval of their difference."""
    p_value: float


def _relative(shown: Shown, reference: Shown) -> Shown:
    """Bills over what is expected, else over what each strategy billed on average in the reference window."""
    bills = reference.revealed.value
    n_billed = np.maximum((~np.isnan(bills)).sum(axis=0), 1)
    usual = np.nansum(bills, axis=0) / n_billed if shown.expected is None else shown.expected
    value = shown.revealed.value / np.where(usual > 0, usual, np.nan)
    return shown._replace(revealed=replace(shown.revealed, value=value))


def _foreseen(reference: Shown, recent: Shown) -> list[FloatArray]:
    """What the reference window, without the task itself, foresees of every strategy on each task of both windows."""
    n_before, logs = len(reference.features), (reference.revealed, recent.revealed)
    both = Revealed(
        np.vstack([logs[0].value, np.full(logs[1].value.shape, np.nan)]),
        np.vstack([log.prob for log in logs]),
        logs[0].task_ids + logs[1].task_ids,
        logs[0].strategies,
    )
    predicted = cross_fitted(np.vstack([reference.features, recent.features]), both, n_folds=_N_FOLDS)
    return [predicted[:n_before], predicted[n_before:]]


def _cells(shown: Shown, foreseen: FloatArray, column: int) -> _Cells:
    rows = np.flatnonzero(shown.revealed.is_observed[:, column])
    cluster = np.unique(shown.revealed.task[rows], return_inverse=True)[1]
    return _Cells(shown.revealed.value[rows, column], foreseen[rows], cluster)


def _like_for_like(reference: _Cells, recent: _Cells) -> _Pair | str:
    """Compare the recent mean with what the reference window tells of such tasks, or say why not.

    A policy chooses, so a strategy is shown by other tasks than before, and means of two windows differ although nothing has
    changed. What the tasks explain is taken away by a line that is fitted to the reference, `mean(y) - mean(x) β`, on what the
    reference foresaw of each task without having seen it. A policy also chooses what looked well there by luck; what is
    foreseen unseen tells how much of such luck to take back.

    The variance is that of the recent residuals' mean plus `mean(x) V mean(x)`, with V the larger of the sandwich and the ridge's
    posterior: a direction that the reference does not show leaves what it is worth open. In 200 simulated pairs of windows of
    1,000 tasks, where a policy learned from the first chose greedily in the second, two alike ones differ significantly in 6 %,
    and ones ten points apart in 83 %; `tests/test_drift.py` draws some of them.

    Reference: Kline (2011), Oaxaca-Blinder as a Reweighting Estimator, American Economic Review 101(3).
    """
    n_before, n_after = (int(one.cluster.max(initial=-1)) + 1 for one in (reference, recent))
    if min(n_before, n_after) < LEAST_SHOWN:
        return f"{n_before} tasks show it in the reference window and {n_after} lately, {LEAST_SHOWN} are needed: log more"
    centre, scale = reference.features.mean(axis=0), reference.features.std(axis=0)
    varies = scale > 0

    def design(cells: _Cells) -> FloatArray:
        standard = (cells.features[:, varies] - centre[varies]) / scale[varies]
        return np.column_stack([np.ones(len(standard)), np.clip(standard, -_FAR, _FAR)])

    x = design(reference)
    inverse = np.linalg.inv(x.T @ x + np.diag([0.0] + [_SLOPE_PENALTY] * (x.shape[1] - 1)))
    line = inverse @ x.T @ reference.value
    missed = reference.value - x @ line
    degrees = max(n_before - float(np.trace(inverse @ x.T @ x)), 1.0)
    scores = np.zeros((n_before, x.shape[1]))
    np.add.at(scores, reference.cluster, x * missed[:, None])
    at = design(recent)
    mean, residual = at.mean(axis=0), recent.value - at @ line
    lever = inverse @ mean
    spread = float(((scores @ lever) ** 2).sum()) * n_before / degrees
    posterior = float((missed**2).sum()) / degrees * float(mean @ lever)
    variance = clustered_error(residual, recent.cluster) ** 2 + max(spread, posterior)
    after = float(recent.value.mean())
    change = float(residual.mean())
    from scipy.special import stdtr

    freedom = min(degrees, n_after - 1)
    p_value = 2 * float(stdtr(freedom, -abs(change) / math.sqrt(variance))) if variance else float(change == 0)
    half = student_half_width(math.sqrt(variance), degrees_of_freedom=freedom, confidence=CONFIDENCE)
    return _Pair(after - change, after, half, p_value)


def _ends(value: float, half_width: float) -> tuple[float, float]:
    return value - half_width, value + half_width


def _uneven(log: Revealed) -> str:
    return "" if log.n_settled is None else graded_share_doubt(log.is_observed.sum(axis=0), log.n_settled, log.strategies)
