"""What there is to see in each picture, said from its numbers."""

from collections.abc import Iterable, Sequence
from math import isfinite

import numpy as np

from budget_router.evaluation import Estimate
from budget_router.reports.escaping import clipped
from budget_router.reports.kinds import Row, rows
from budget_router.reports.results import AllocationResult, CalibrationResult, FrontierResult, Point, StreamResult
from budget_router.reports.streaming import phases
from budget_router.reports.theme import per_cent, plain

_NAMED = 3
"""Names given one by one before the rest is counted."""
_SEEN = 0.05
"""Differences, in points or per cent, below which one decimal shows none."""


def frontier_finding(result: FrontierResult) -> str:
    """Our accuracy at the budget, and what that is above the mix and below the oracle."""
    here = result.operating_point
    ours = f"At {plain(here.spend)} {result.unit} the learned policy answers {_interval(here.accuracy)} right"
    told = [ours]
    if result.told_gain is not None:
        told.append(f"{_standing(result.told_gain)} the best static mix at the same spend")
    within = [point for point in result.fixed if point.accuracy.value >= here.accuracy.value]
    if within:
        rival = min(within, key=lambda point: point.spend)
        told.append(
            f"the cheapest fixed strategy as accurate, {_name(rival.name)}, spends {plain(rival.spend)}{_times(rival, here)}"
        )
    elif result.fixed:
        told.append("no fixed strategy is as accurate at any spend")
    return f"{told[0]}{': ' if told[1:] else ''}{'; '.join(told[1:])}."


def _standing(gain: Estimate) -> str:
    points = 100 * gain.value
    if abs(points) < _SEEN:
        return "level with"
    interval = f" [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]" if isfinite(gain.low) and isfinite(gain.high) else ""
    return f"{abs(points):.1f} points{interval} {'above' if points > 0 else 'below'}"


def _times(rival: Point, here: Point) -> str:
    return f", {rival.spend / here.spend:.1f} times as much" if here.spend > 0 else ""


def allocation_finding(result: AllocationResult) -> str:
    """Which kinds most often got which strategy: those that most kinds prefer, the dearest first."""
    takers: dict[int, list[Row]] = {}
    for row in rows(result):
        takers.setdefault(row.favourite, []).append(row)
    preferred = sorted(takers, key=lambda column: (-len(takers[column]), column))
    said = []
    for column in sorted(preferred[:_NAMED], reverse=True):
        names = _kinds_of(sorted(takers[column], key=lambda row: -row.share[column]), column)
        said.append(f"{names} {'take' if len(takers[column]) > 1 else 'takes'} {_name(result.strategies[column])}")
    n_left = sum(len(takers[column]) for column in preferred[_NAMED:])
    rest = [f"{n_left} kind{'s' * (n_left > 1)} {'take' if n_left > 1 else 'takes'} others"] if n_left else []
    return f"Most often {'; '.join([*said, *rest])}."


def _kinds_of(takers: Sequence[Row], column: int) -> str:
    named = [f"{_name(row.kind)} ({per_cent(row.share[column])} %)" for row in takers[:_NAMED]]
    n_left = len(takers) - _NAMED
    return listing([*named, f"{n_left} more kind{'s' * (n_left > 1)}"] if n_left > 0 else named)


def stream_finding(result: StreamResult) -> str:
    """What was spent of the budget, in which phase, and where the shadow price came to rest."""
    if not result.spend:
        return f"No decision has been made yet under the budget of {plain(result.budget)} {result.unit}."
    mean = float(np.mean(result.spend))
    share = 100 * (mean / result.budget - 1)
    standing = f"{abs(share):.1f} % {'over' if share > 0 else 'under'}" if abs(share) >= _SEEN else "on"
    told = [
        f"{len(result.spend):,} decision{'s' * (len(result.spend) > 1)} spent {plain(mean)} {result.unit} on average, "
        f"{standing} the budget of {plain(result.budget)}"
    ]
    found = phases(result)
    if 1 < len(found) <= _NAMED:
        told.append(listing(f"{plain(phase.mean_spend)} in the phase “{_name(phase.name)}”" for phase in found))
    prices = result.shadow_price
    if max(prices) > 0:
        told.append(
            f"the shadow price moved between {plain(min(prices))} and {plain(max(prices))} and ended at {plain(prices[-1])}"
        )
    else:
        told.append("the shadow price stayed at 0: the budget did not bind")
    return f"{'; '.join(told)}."


def calibration_finding(result: CalibrationResult) -> str:
    """How far predictions lie from what came, on average and at worst."""
    told = []
    accuracy = np.array([each for each in result.accuracy if each[2] > 0], dtype=np.float64)
    if len(accuracy):
        miss = np.abs(accuracy[:, 0] - accuracy[:, 1])
        worst = accuracy[int(np.argmax(miss))]
        told.append(
            f"Predicted accuracy misses the observed by {100 * np.average(miss, weights=accuracy[:, 2]):.1f} points on average, "
            f"at worst by {100 * miss.max():.1f} (predicted {per_cent(worst[0])} %, observed {per_cent(worst[1])} %)"
        )
    cost = np.array([each for each in result.cost if each[2] > 0], dtype=np.float64)
    if len(cost):
        predicted, billed = (float(np.average(cost[:, column], weights=cost[:, 2])) for column in (0, 1))
        told.append(f"{'b' if told else 'B'}illed cost is {_against(billed, predicted)}")
    return f"{'; '.join(told)}." if told else "0 decisions carry a prediction and an outcome: there is nothing to check yet."


def _against(billed: float, predicted: float) -> str:
    if predicted <= 0:
        return f"{plain(billed)} where {plain(predicted)} was predicted"
    side = "above" if billed > predicted else "below"
    return f"{100 * abs(billed / predicted - 1):.1f} % {side} the predicted, {plain(billed)} against {plain(predicted)}"


def listing(names: Iterable[str]) -> str:
    """Names as a sentence holds them.

    >>> listing(["a"]), listing(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _interval(estimate: Estimate) -> str:
    if isfinite(estimate.low) and isfinite(estimate.high):
        return f"{per_cent(estimate.value, 1)} % [{per_cent(estimate.low, 1)}, {per_cent(estimate.high, 1)}]"
    return f"{per_cent(estimate.value, 1)} %"


def _name(text: str) -> str:
    return clipped(text, 40)
