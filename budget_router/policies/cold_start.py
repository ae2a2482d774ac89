"""What to do before anything was learned: try everything, as evenly as the budget allows."""

import math
import sys
import threading
from collections.abc import Sequence
from operator import mul

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.budget import Unit
from budget_router.costs import expected_cost, typical_completion, typical_samples
from budget_router.menu import Menu, Stage, Strategy, stages
from budget_router.policies.contract import Choice, Prediction
from budget_router.records import Spend
from budget_router.tariffs import Tariffs
from budget_router.task import Task
from budget_router.tokens import count_tokens

_PRECISION = 1e-9
"""Relative width at which the search for the tilt ends, always on the side that keeps the budget."""


class ColdStart:
    """The maximum-entropy mixture whose expected cost does not pass the budget.

    Every strategy has a positive, recorded propensity, so that what is logged can be learned from. The mixture is
    `p_k ∝ exp(-μ cost_k)` with the least μ ≥ 0 that meets the budget (Jaynes 1957, Physical Review 106(4)). Costs come from the
    counted prompt, `typical_completion_tokens`, and half of the samples that a strategy may or may not draw; these guesses count
    as one observation beside those that settle.
    """

    version = "cold-start"

    def __init__(self, menu: Menu, *, unit: Unit = "tokens", tariffs: Tariffs | None = None, model: str | None = None) -> None:
        self.menu = menu
        self.unit = unit
        self.tariffs = tariffs or Tariffs()
        self.model = model
        # completion tokens by sampling: strategies that draw alike learn from each other
        parts = [stage for strategy in menu for stage in stages(strategy)]
        self._drawn = {stage.sampling_key: (typical_completion(stage), 1) for stage in parts}
        # samples of each stage, by adaptive strategy: how many are drawn hangs on the answers
        self._samples = {one.settings_key: (typical_samples(one), 1) for one in menu}
        self._lock = threading.Lock()

    def predict(self, tasks: Sequence[Task]) -> Prediction:
        """Costs from the counted prompt and the answers' lengths so far; no opinion on accuracy."""
        counts = [count_tokens(task.text).n_tokens for task in tasks]
        cost = np.array([[self.cost(strategy, n_tokens) for strategy in self.menu] for n_tokens in counts])
        return Prediction(cost, np.zeros(cost.shape))

    def choose(self, prediction: Prediction, budget: float, *, floor: float = 0.0) -> Choice:
        """Tilt each task's mixture towards its cheap strategies until the budget holds, the floor's cost included."""
        kept = max(1 - floor * prediction.cost.shape[1], 0.0)
        chosen, spend = [], 0.0
        for cost in prediction.cost.tolist():  # plain floats: for a handful of strategies they are faster than arrays
            rest = budget - floor * sum(cost)  # what is left of the budget for the tilted part
            chosen.append([kept * share + floor for share in _mixture(cost, rest / kept if kept else budget)])
            spend += _dot(chosen[-1], cost) / len(prediction.cost)
        return Choice(np.array(chosen).reshape(prediction.cost.shape), 0.0, spend)

    def cost(self, strategy: Strategy, prompt_tokens: int) -> float:
        """Expected cost of a strategy on a prompt of that many tokens."""
        totals, n_settled = self._samples.get(strategy.settings_key) or (typical_samples(strategy), 1)
        return expected_cost(
            strategy,
            prompt_tokens=prompt_tokens,
            unit=self.unit,
            tariffs=self.tariffs,
            model=self.model,
            completion_tokens=self._completion,
            n_samples=tuple(total / n_settled for total in totals),
        )

    def settled(self, strategy: Strategy, spend: Spend, *, n_answers: int | None = None) -> None:
        """Learn the length and the number of a strategy's answers from what was billed for `n_answers`.

        If they are not given they are all of its samples; then an adaptive strategy teaches nothing, and a strategy whose stages
        draw differently never teaches a length: its bill is not told apart by stage.
        """
        if not spend.n_calls or (n_answers is None and strategy.is_adaptive):
            return
        n_new = strategy.n_samples if n_answers is None else n_answers
        with self._lock:
            keys = {stage.sampling_key for stage in stages(strategy)}
            if len(keys) == 1 and (key := keys.pop()) in self._drawn:
                total, n_drawn = self._drawn[key]
                self._drawn[key] = total + spend.completion_tokens, n_drawn + n_new
            if strategy.is_adaptive and strategy.settings_key in self._samples:
                totals, n_settled = self._samples[strategy.settings_key]
                first, *then = stages(strategy)
                drawn = [min(n_new, first.n_samples), *(max(n_new - first.n_samples, 0) for _ in then)]
                grown = tuple(total + n for total, n in zip(totals, drawn, strict=True))
                self._samples[strategy.settings_key] = grown, n_settled + 1

    def _completion(self, stage: Stage) -> float:
        total, n_drawn = self._drawn[stage.sampling_key]
        return total / n_drawn


def maximum_entropy(cost: FloatArray, budget: float) -> FloatArray:
    """The most even mixture of strategies whose expected cost is within `budget`; the cheapest alone where none is.

    Args:
        cost: (n_strategies,) expected cost of each strategy.
        budget: in the same unit.

    Returns:
        (n_strategies,) probabilities; each is positive, as far as a float can hold it, unless the budget is at or below the
        cheapest cost.
    """
    return np.array(_mixture(cost.tolist(), budget))


def _mixture(cost: list[float], budget: float) -> list[float]:
    cheapest = min(cost)
    over = [one - cheapest for one in cost]
    room = budget - cheapest
    alone = room < sys.float_info.min  # nothing left to tilt with
    weights = [float(one == 0) for one in over] if alone else _weights(over, _least_tilt(over, room))
    total = sum(weights)
    return [weight / total for weight in weights]


def _least_tilt(over: list[float], room: float) -> float:
    """The least tilt at which the mean of what strategies cost beyond the cheapest is within the room, above it by a hair.

    Newton's method on the logarithm of the mean, which is all but a straight line where the room is small; where it would leave
    the bracket, a bisection.
    """
    low, high = 0.0, 1.0 / room
    if _mean(over, low) <= room:
        return low
    while _mean(over, high) > room:
        low, high = high, high * 2
    at = low
    while high - low > _PRECISION * high:
        weights = _weights(over, at)
        spread = [weight * cost for weight, cost in zip(weights, over, strict=True)]
        mean = sum(spread) / sum(weights)
        variance = _dot(spread, over) / sum(weights) - mean**2
        step = math.log(mean / room) * mean / variance if mean > 0 and variance > 0 else math.nan
        if mean > room:
            low, step = at, step + _PRECISION * at  # to end on the other side
        elif -step <= _PRECISION * at:
            return at
        else:
            high = at
        at = at + step if low < at + step < high else (low + high) / 2
    return high


def _weights(over: list[float], tilt: float) -> list[float]:
    return [math.exp(-tilt * cost) for cost in over]


def _mean(over: list[float], tilt: float) -> float:
    weights = _weights(over, tilt)
    return _dot(weights, over) / sum(weights)


def _dot(one: list[float], other: list[float]) -> float:
    return float(sum(map(mul, one, other)))
