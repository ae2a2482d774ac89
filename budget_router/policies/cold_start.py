"""What to do before anything was learned: try everything, as evenly as the budget allows."""

import math
import threading
from collections.abc import Sequence

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.budget import Unit
from budget_router.costs import expected_cost, typical_completion
from budget_router.menu import Menu, Strategy
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
    counted prompt and `Strategy.typical_completion_tokens`, which counts as one observation beside those that settle.
    """

    version = "cold-start"

    def __init__(self, menu: Menu, *, unit: Unit = "tokens", tariffs: Tariffs | None = None, model: str | None = None) -> None:
        self.menu = menu
        self.unit = unit
        self.tariffs = tariffs or Tariffs()
        self.model = model
        # completion tokens by sampling: strategies that draw alike learn from each other
        self._drawn = {strategy.sampling.key: (typical_completion(strategy), 1) for strategy in menu}
        self._lock = threading.Lock()

    def predict(self, tasks: Sequence[Task]) -> Prediction:
        """Costs from the counted prompt and the answers' lengths so far; no opinion on accuracy."""
        counts = [count_tokens(task.text).n_tokens for task in tasks]
        cost = np.array([[self.cost(strategy, n_tokens) for strategy in self.menu] for n_tokens in counts])
        return Prediction(cost, np.zeros(cost.shape))

    def choose(self, prediction: Prediction, budget: float, *, floor: float = 0.0) -> Choice:
        """Tilt each task's mixture towards its cheap strategies until the budget holds."""
        probabilities = np.array([maximum_entropy(cost, budget) for cost in prediction.cost])
        return Choice((1 - floor * probabilities.shape[1]) * probabilities + floor, 0.0)

    def cost(self, strategy: Strategy, prompt_tokens: int) -> float:
        """Expected cost of a strategy on a prompt of that many tokens."""
        total, n_drawn = self._drawn[strategy.sampling.key]
        return expected_cost(
            strategy,
            prompt_tokens=prompt_tokens,
            completion_tokens=total / n_drawn,
            unit=self.unit,
            tariffs=self.tariffs,
            model=self.model,
        )

    def settled(self, strategy: Strategy, spend: Spend) -> None:
        """Learn the length of a strategy's answers from what was billed."""
        with self._lock:
            key = strategy.sampling.key
            if key in self._drawn and spend.n_calls:
                total, n_drawn = self._drawn[key]
                self._drawn[key] = total + spend.completion_tokens, n_drawn + strategy.n_samples


def maximum_entropy(cost: FloatArray, budget: float) -> FloatArray:
    """The most even mixture of strategies whose expected cost is within `budget`; the cheapest alone where none is.

    Args:
        cost: (n_strategies,) expected cost of each strategy.
        budget: in the same unit.

    Returns:
        (n_strategies,) probabilities, each > 0 unless the budget is at or below the cheapest cost.
    """
    cheapest = float(cost.min())
    over = (cost - cheapest).tolist()  # plain floats: for a handful of strategies they are faster than arrays
    room = budget - cheapest
    if room <= 0:
        alone = (cost == cheapest).astype(np.float64)
        return np.asarray(alone / alone.sum())
    low, high = 0.0, 1.0 / room
    if _mean_over(over, low) <= room:
        high = low
    while _mean_over(over, high) > room:
        low, high = high, high * 2
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _mean_over(over, middle) > room else (low, middle)
    weight = np.exp(-high * np.array(over))
    return np.asarray(weight / weight.sum())


def _mean_over(over: list[float], tilt: float) -> float:
    weights = [math.exp(-tilt * cost) for cost in over]
    total = sum(weight * cost for weight, cost in zip(weights, over, strict=True))
    return total / sum(weights)
