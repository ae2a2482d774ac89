"""What there is to see in each picture, said from its numbers."""

from collections.abc import Iterable, Sequence
from math import isfinite

import numpy as np

from budget_router.evaluation import Estimate
from budget_router.reports.allocation import AllocationResult, Row, rows
from budget_router.reports.calibration import CalibrationResult
from budget_router.reports.comparison import ComparisonResult
from budget_router.reports.escaping import clipped
from budget_router.reports.estimates import EstimatesResult
from budget_router.reports.frontier import FrontierResult, Point
from budget_router.reports.importance import ALL_INPUTS, ImportanceResult
from budget_router.reports.regret import RegretResult
from budget_router.reports.spending import SpendingResult
from budget_router.reports.stream import StreamResult, phases
from budget_router.reports.theme import per_cent, plain

_NAMED = 3
"""Names given one by one before the rest is counted."""
_SEEN = 0.05
"""Differences, in points or per cent, below which one decimal shows none."""


def frontier_finding(result: FrontierResult) -> str:
    """Our accuracy at the budget, and what that is above the mix and below the oracle; without us, the best fixed strategy."""
    here = result.operating_point
    if here is None:
        return _without_us(result)
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


def _without_us(result: FrontierResult) -> str:
    known = [point for point in result.fixed if isfinite(point.accuracy.value)]
    if not known:
        return "0 strategies were graded often enough to be placed."
    best = max(known, key=lambda point: point.accuracy.value)
    cheapest = min(known, key=lambda point: point.spend)
    return (
        f"The most accurate strategy, {_name(best.name)}, answers {_interval(best.accuracy)} right at {plain(best.spend)} "
        f"{result.unit}; the cheapest, {_name(cheapest.name)}, {_interval(cheapest.accuracy)} at {plain(cheapest.spend)}."
    )


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
    if not len(result.spend):
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
    if np.max(prices) > 0:
        told.append(
            f"the shadow price moved between {plain(np.min(prices))} and {plain(np.max(prices))} and ended at {plain(prices[-1])}"
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


def regret_finding(result: RegretResult) -> str:
    """What the policy gives away at the budget, of what it might."""
    here = result.here
    return (
        f"At {plain(here.budget)} {result.unit} the policy gives away {100 * here.regret:.2f} points to the oracle; it takes the "
        f"oracle's action on {per_cent(here.imitation_accuracy)} % of the tasks, which bounds what it may give away by "
        f"{100 * here.bound:.1f}; with each error weighed by its cost it is {per_cent(here.value_weighted_accuracy)} % right."
    )


def importance_finding(result: ImportanceResult) -> str:
    """What it is worth to look at the task, and which input alone is worth something."""
    told = [f"Without telling tasks apart the policy loses {_points(lost)}" for name, lost in result.inputs if name == ALL_INPUTS]
    alone = [(name, lost) for name, lost in result.inputs if name != ALL_INPUTS]
    sure = [f"{_name(name)} ({_points(lost)})" for name, lost in alone if lost.low > 0]
    if sure:
        told.append(f"each alone, {listing(sure[:_NAMED])} {'is' if len(sure) == 1 else 'are'} surely worth something")
    elif alone:
        told.append(f"none of its {len(alone)} inputs alone is surely missed")
    said = "; ".join(told)
    return f"{said[:1].upper()}{said[1:]}."


def _points(estimate: Estimate) -> str:
    interval = f" [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]" if isfinite(estimate.low) else ""
    return f"{100 * estimate.value:.1f} points{interval}"


def estimates_finding(result: EstimatesResult) -> str:
    """How the estimators agree about us, and what could not be concluded."""
    ours = [row for row in result.rows if row.is_ours and row.accuracy.is_conclusive]
    silent = sum(not row.accuracy.is_conclusive for row in result.rows)
    told = []
    if ours:
        told.append(
            f"{listing(f'{row.estimator} says {_interval(row.accuracy.interval)}' for row in ours)} of the learned policy"
        )
    if silent:
        told.append(f"of {silent} of {len(result.rows)} the log tells too little: they are hollow")
    said = "; ".join(told) or f"{len(result.rows)} estimates, every one with an interval"
    return f"{said[0].upper()}{said[1:]}."


def spending_finding(result: SpendingResult) -> str:
    """Who spent most."""
    total = sum(row.spend for row in result.rows if isfinite(row.spend))
    first = result.rows[0]
    share = f"{per_cent(first.spend / total)} %" if total > 0 else "0 %"
    n_least = next((n for n in range(1, len(result.rows) + 1) if sum(r.spend for r in result.rows[:n]) >= 0.8 * total), 1)
    several = f"; {n_least} of {len(result.rows)} spend four fifths" if n_least > 1 else ""
    return f"{_name(first.name)} spent {share} of {plain(total)} {result.unit}{several}."


def comparison_finding(result: ComparisonResult) -> str:
    """Which is better, and how far they part."""
    first, second = map(_name, result.names)
    first = f"{first[:1].upper()}{first[1:]}"
    part = f"they choose otherwise on {per_cent(result.differs, 1)} % of the tasks"
    if result.gain is None or result.accuracy is None or result.spend is None:
        return f"{first} and {second}: {part}. {result.reason[:1].upper()}{result.reason[1:]}."
    spends = f"spending {plain(result.spend[0].value)} against {plain(result.spend[1].value)} {result.unit}"
    if not result.gain.is_conclusive:
        return f"{first} and {second}, {spends}: {part}. Nothing is concluded: {result.gain.reason}."
    gain = result.gain.interval
    clear = "above" if gain.low > 0 else "below" if gain.high < 0 else "not clearly apart from"
    size = f"{100 * abs(gain.value):.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    return f"{first} is {size} {clear} {second}, {spends}; {part}."


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
