"""Whether the tasks that come are still those that came: each feature by itself, and all of them together.

Numbers are compared by the two-sample Kolmogorov-Smirnov statistic, the share of tasks that has moved; categories by the share
that one of them has gained or lost. What no single feature shows, a classifier may: trained to tell recent tasks from former
ones, it is right no more often than a coin where nothing has changed.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.evaluation.drift import LIMITS, DriftLimits, Finding
from budget_router.evaluation.estimate import Z_95, Estimate

AS_A_WHOLE = "tasks as a whole"
_LEAST_EXPECTED = 5.0
"""Tasks of a category that must be expected in either window for the χ² approximation; rarer ones are one category."""
_MOST_CATEGORIES = 50
_SLOPES = 0.1
"""Inverse penalty of the classifier's slopes on standardised features: most features tell nothing."""


def told_apart(
    reference: FloatArray, recent: FloatArray, *, rng: np.random.Generator, limits: DriftLimits = LIMITS
) -> Finding | None:
    """Train a classifier on half of the tasks to tell recent from former ones, and see what it is worth on the other half.

    Its worth is the area under the ROC curve, U / (n m) of Mann and Whitney's test, which gives the p-value; the interval is
    Hanley and McNeil's (1982, Radiology 143(1)). The test is exact however poor the classifier is, for it did not see its tasks.

    Args:
        reference: (n_tasks, n_features) of former tasks.
        recent: the same of recent ones.
        rng: of the halves.
        limits: `told_apart`.

    Returns:
        `None` where no feature varies.

    Reference: Lopez-Paz and Oquab (2017), Revisiting Classifier Two-Sample Tests, ICLR.
    """
    from scipy.stats import mannwhitneyu
    from sklearn.linear_model import LogisticRegression

    features = np.vstack([reference, recent])
    features = features[:, np.ptp(features, axis=0) > 0]
    if not features.shape[1]:
        return None
    is_recent = np.repeat([False, True], [len(reference), len(recent)])
    is_trained = np.zeros(len(features), dtype=np.bool_)
    for rows in (np.flatnonzero(~is_recent), np.flatnonzero(is_recent)):
        is_trained[rng.permutation(rows)[: len(rows) // 2]] = True
    centre, scale = features[is_trained].mean(axis=0), features[is_trained].std(axis=0)
    standard = np.clip((features - centre) / np.where(scale > 0, scale, 1.0), -8.0, 8.0)  # a value never seen is no lever
    classifier = LogisticRegression(C=_SLOPES, class_weight="balanced", max_iter=200)
    score = classifier.fit(standard[is_trained], is_recent[is_trained]).decision_function(standard[~is_trained])
    new, old = score[is_recent[~is_trained]], score[~is_recent[~is_trained]]
    test = mannwhitneyu(new, old, alternative="greater")
    area = float(test.statistic) / (len(new) * len(old))
    half = Z_95 * _area_error(area, len(new), len(old))
    change = Estimate(area - 0.5, area - 0.5 - half, area - 0.5 + half)
    says = (
        f"A classifier tells recent tasks from former ones with an area under the curve of {area:.2f} "
        f"[{area - half:.2f}, {min(area + half, 1.0):.2f}], where a coin has 0.50."
    )
    is_large = change.value >= limits.told_apart
    return Finding("input", AS_A_WHOLE, 0.5, area, change, limits.told_apart, float(test.pvalue), False, is_large, says)


def number_moved(
    name: str, reference: FloatArray, recent: FloatArray, *, is_log: bool = False, limits: DriftLimits = LIMITS
) -> Finding | None:
    """Compare a number's two distributions by the largest distance of their distribution functions.

    The interval is that of Dvoretzky, Kiefer and Wolfowitz with Massart's (1990) constant, half of the risk for each window: it
    holds at any size and for any distribution.

    Args:
        name: of the feature.
        reference: (n_tasks,) of former tasks.
        recent: the same of recent ones.
        is_log: whether it is `log(1 + n)` of what is to be told.
        limits: `moved`.

    Returns:
        `None` where it does not vary.
    """
    from scipy.stats import ks_2samp

    if not len(reference) or not len(recent) or min(reference.min(), recent.min()) == max(reference.max(), recent.max()):
        return None
    test = ks_2samp(recent, reference, method="asymp")
    half = sum(math.sqrt(math.log(4 / 0.05) / (2 * len(one))) for one in (reference, recent))
    distance = float(test.statistic)
    before, after = (float(np.expm1(np.median(one)) if is_log else np.median(one)) for one in (reference, recent))
    shown = (
        f"median {after:.4g} where it was {before:.4g}" if f"{after:.4g}" != f"{before:.4g}" else f"median {after:.4g} as before"
    )
    says = f"{name}: {100 * distance:.0f} % of the tasks have moved, {shown}."
    change = Estimate(distance, max(distance - half, 0.0), min(distance + half, 1.0))
    return Finding("input", name, before, after, change, limits.moved, float(test.pvalue), False, distance >= limits.moved, says)


def category_moved(name: str, reference: Sequence[str], recent: Sequence[str], *, limits: DriftLimits = LIMITS) -> Finding | None:
    """Compare the shares of a category's values by the χ² test, and tell which value gained or lost most.

    The interval is the normal one of the difference of two shares.

    Args:
        name: of the category.
        reference: (n_tasks,) values of former tasks.
        recent: the same of recent ones.
        limits: `moved`.

    Returns:
        `None` where there is but one value, or none that is common enough to be compared.
    """
    from scipy.stats import chi2_contingency

    before, after = Counter(reference), Counter(recent)
    n_before, n_after = len(reference), len(recent)
    if not n_before or not n_after:
        return None
    both = before + after
    least = _LEAST_EXPECTED * (n_before + n_after) / min(n_before, n_after)
    common = [value for value, times in both.most_common(_MOST_CATEGORIES) if times >= least]
    times = np.array([[one[value] for value in common] for one in (before, after)], dtype=float).reshape(2, len(common))
    others = np.array([n_before, n_after]) - times.sum(axis=1)
    if others.sum() >= least:
        times = np.column_stack([times, others])
    if times.shape[1] < 2:
        return None
    p_value = float(chi2_contingency(times).pvalue)
    shares = times / times.sum(axis=1, keepdims=True)
    most = int(np.abs(shares[1] - shares[0]).argmax())
    one, other = float(shares[0, most]), float(shares[1, most])
    value = f"{common[most]!r}" if most < len(common) else "all other values"
    half = Z_95 * math.sqrt(one * (1 - one) / n_before + other * (1 - other) / n_after)
    change = Estimate(other - one, other - one - half, other - one + half)
    says = f"{name}: {100 * other:.0f} % of the tasks are {value}, where {100 * one:.0f} % were."
    return Finding("input", name, one, other, change, limits.moved, p_value, False, abs(change.value) >= limits.moved, says)


def _area_error(area: float, n: int, m: int) -> float:
    """Standard error of an area under the ROC curve, by Hanley and McNeil."""
    one, other = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n - 1) * (one - area**2) + (m - 1) * (other - area**2)
    return math.sqrt(max(variance, 0.0) / (n * m))
