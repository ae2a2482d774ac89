"""Who paces: ours, ParetoBandit's own `BudgetPacer`, and the static price that hindsight would have set.

All three see the same predictions of the same policy, so that what differs is the pacing. ParetoBandit's pacer (arXiv 2604.00136,
`pip install paretobandit`) runs with its shipped settings, in the adaptive mode that its authors use and in the soft one: as in
its router, the penalty is its price times the strategy's cost on its own log scale of the market, and in the adaptive mode a
ceiling leaves dear strategies out.
"""

from typing import NamedTuple, Protocol

import numpy as np

from benchmarks.pacing_world import BUDGET, MEAN_COST, Calibrated, Stream
from budget_router.allocation import FloatArray, IntArray
from budget_router.pacing import Pacer

OURS = "budget-router"
PEERS = {"paretobandit": "adaptive", "its soft mode": "soft"}
"""ParetoBandit's pacer by its mode."""


class Run(NamedTuple):
    """A stream as it was served."""

    actions: IntArray
    price: FloatArray
    """(n_tasks,) shadow price at each decision, in the pacer's own unit."""


class Steering(Protocol):
    """Picks a strategy for each task in turn, and is told its bill when that is known."""

    def pick(self, row: int) -> tuple[int, float]:
        """Column of the strategy, and the price."""
        ...

    def settled(self, row: int, action: int, bill: float, *, is_failed: bool) -> None:
        """Follow the bill."""
        ...


class Ours:
    """Our pacer and a policy's price curve, as the router puts them together, without exploration."""

    def __init__(self, stream: Stream, policy: Calibrated, pacer: Pacer, rng: np.random.Generator) -> None:
        self._stream, self._policy, self._pacer, self._rng = stream, policy, pacer, rng

    def pick(self, row: int) -> tuple[int, float]:
        """Draw from what the price makes likely."""
        choice = self._policy.choose(self._stream.prediction(slice(row, row + 1)), self._pacer.target())
        action = int(self._rng.choice(len(MEAN_COST), p=choice.probabilities[0]))
        self._pacer.decided(str(row), float(self._stream.cost[row, action]), promised=choice.spend)
        return action, choice.lam

    def settled(self, row: int, action: int, bill: float, *, is_failed: bool) -> None:  # noqa: ARG002  # knows the row's action
        """Follow the bill; an outage's is not typical."""
        self._pacer.settled(str(row), bill, is_typical=not is_failed)


class Peer:
    """ParetoBandit's pacer, put to the same predictions as its router puts it to its bandit's."""

    def __init__(self, stream: Stream, *, mode: str = "adaptive", budget: float = BUDGET) -> None:
        try:
            from pareto_bandit.budget_pacer import BudgetPacer, PacingMode
            from pareto_bandit.costs import log_normalize_cost
            from pareto_bandit.types import RouterConfig
        except ImportError:
            raise SystemExit("ParetoBandit is not installed: pip install paretobandit") from None
        market = RouterConfig()
        scale = {"floor": market.market_cost_floor, "ceiling": market.market_cost_ceiling}
        self._pacer = BudgetPacer(budget, mode=PacingMode(mode))
        self._cost = {str(column): float(log_normalize_cost(cost, **scale)) for column, cost in enumerate(MEAN_COST)}
        self._stream = stream

    def pick(self, row: int) -> tuple[int, float]:
        """Best score less penalty, of the strategies under the ceiling; of all, if none is."""
        ceiling = self._pacer.get_cost_ceiling_per_1k(MEAN_COST.max()) if self._pacer.uses_hard else None
        is_open = np.full(len(MEAN_COST), True) if ceiling is None else ceiling >= MEAN_COST
        penalty = np.array([*self._pacer.get_extra_cost_penalties(self._cost).values()])
        value = self._stream.guess[row] - penalty
        return int(np.where(is_open if is_open.any() else True, value, -np.inf).argmax()), self._pacer.lambda_t

    def settled(self, row: int, action: int, bill: float, *, is_failed: bool) -> None:  # noqa: ARG002  # counts bills alone
        """Follow the bill."""
        self._pacer.observe(bill)


def serve(stream: Stream, steering: Steering) -> Run:
    """Serve a stream, each bill becoming known as late as the stream says."""
    n_tasks = len(stream.cost)
    actions, price = np.empty(n_tasks, dtype=np.intp), np.empty(n_tasks)
    due: list[list[int]] = [[] for _ in range(n_tasks)]
    for row in range(n_tasks):
        for known in due[row]:
            taken = int(actions[known])
            is_failed = bool(stream.is_failed[known])
            steering.settled(known, taken, float(stream.bill[known, taken]), is_failed=is_failed)
        actions[row], price[row] = steering.pick(row)
        if (when := row + 1 + int(stream.delay[row])) < n_tasks:
            due[when].append(row)
    return Run(actions, price)


def hindsight(stream: Stream, budget: float) -> Run:
    """The least static price at which the whole stream, its bills known, keeps within the budget."""

    def actions(price: float) -> IntArray:
        return np.asarray((stream.guess - price * stream.cost).argmax(axis=1))

    low, high = 1e-3 / budget, 1e3 / budget
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if stream.outcome(actions(middle))[0].mean() > budget else (low, middle)
    return Run(actions(high), np.full(len(stream.cost), high))
