"""How far a policy falls short of the oracle at one shadow price, and how far its imitation error lets it fall.

The oracle takes `argmax_k A[i, k] - λ C[i, k]` on each task i. A policy that takes its action on all but a share ε of the tasks
loses at most ε × the widest gap between a task's best and worst value, and spends at most ε × the widest span of a task's costs
more than the oracle does. The share alone tells little where one action is nearly always right or where a wrong one costs
nothing: regret weighs each error by the value it loses.

Reference: Li et al. (2026), arXiv 2604.14853: the regret bound, and theorem 3 for the spend.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from budget_router.allocation import FloatArray, IntArray, oracle_actions
from budget_router.allocation.table import check_table
from budget_router.errors import InvalidInput


@dataclass(frozen=True)
class ImitationRegret:
    """A policy beside the oracle at one shadow price, on the same tasks."""

    imitation_error: float
    """Probability of another action than the oracle's, mean over tasks."""
    regret_terms: FloatArray
    """(n_tasks,) the oracle's Lagrangian value minus the policy's, in accuracy; ≥ 0 unless another oracle was given."""
    gap_terms: FloatArray
    """(n_tasks,) the best minus the worst Lagrangian value of each task."""
    spend: float
    """Of the policy, mean per task, in the budget's unit."""
    oracle_spend: float
    widest_cost_span: float
    """The dearest minus the cheapest strategy of the task where they lie widest apart; at most the paper's C_max - C_min."""
    budget: float
    """Mean cost per task that the shadow price was solved for."""

    @property
    def imitation_accuracy(self) -> float:
        """Share of tasks with the oracle's action, or its mean probability."""
        return 1 - self.imitation_error

    @property
    def regret(self) -> float:
        """Mean of `regret_terms`."""
        return float(self.regret_terms.mean())

    @property
    def regret_bound(self) -> float:
        """`imitation_error` × the widest gap of a task: `regret` never exceeds it."""
        return self.imitation_error * float(self.gap_terms.max())

    @property
    def value_weighted_accuracy(self) -> float:
        """`1 - Σ regret_terms / Σ gap_terms`: 1 as the oracle, 0 as the worst action everywhere; 1 where no action matters.

        With two strategies it is the imitation accuracy in which a task counts by its gap.
        """
        at_stake = float(self.gap_terms.sum())
        return 1 - float(self.regret_terms.sum()) / at_stake if at_stake > 0 else 1.0

    @property
    def spend_bound(self) -> float:
        """Theorem 3: `budget + imitation_error × widest_cost_span`.

        `spend` stays within it where `oracle_spend` is within the budget. It bounds a mean, not a window: no hard cap.
        """
        return self.budget + self.imitation_error * self.widest_cost_span


def imitation_regret(
    chosen: ArrayLike, accuracy: ArrayLike, cost: ArrayLike, *, lam: float, budget: float, oracle: ArrayLike | None = None
) -> ImitationRegret:
    """Compare what a policy chose with the oracle at shadow price `lam`.

    Args:
        chosen: (n_tasks,) actions, or (n_tasks, n_strategies) probabilities of them.
        accuracy: (n_tasks, n_strategies), expected score in [0, 1].
        cost: (n_tasks, n_strategies) or (n_strategies,), expected cost in the budget's unit, ≥ 0.
        lam: accuracy per unit of cost, ≥ 0.
        budget: mean cost per task, > 0.
        oracle: (n_tasks,) actions of the oracle, where ties at `lam` were split to spend the budget; None: ties go to the lowest
            cost, as in `oracle_actions`.

    Raises:
        InvalidInput: actions that are no columns, probabilities that do not sum to 1, or a price or budget out of range.
        InvalidTable: a value is NaN, infinite or out of range, or shapes do not match.
    """
    accuracy, cost = check_table(accuracy, cost)
    if not (np.isfinite(lam) and lam >= 0):
        raise InvalidInput(f"lam is {lam:g}: a shadow price must be finite and ≥ 0, in accuracy per unit of cost")
    if not (np.isfinite(budget) and budget > 0):
        raise InvalidInput(f"budget is {budget:g}: it must be finite and > 0, mean cost per task")
    probabilities = _probabilities(chosen, accuracy.shape)
    best = oracle_actions(accuracy, cost, lam) if oracle is None else _actions(oracle, accuracy.shape, "oracle")
    rows = np.arange(len(accuracy))
    value = accuracy - lam * cost
    return ImitationRegret(
        imitation_error=float((1 - probabilities[rows, best]).mean()),
        regret_terms=value[rows, best] - (probabilities * value).sum(axis=1),
        gap_terms=np.ptp(value, axis=1),
        spend=float((probabilities * cost).sum(axis=1).mean()),
        oracle_spend=float(cost[rows, best].mean()),
        widest_cost_span=float(np.ptp(cost, axis=1).max()),
        budget=budget,
    )


def _probabilities(chosen: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """(n_tasks, n_strategies), of actions or of what are probabilities already."""
    given = np.asarray(chosen)
    if given.ndim < 2:
        return np.asarray(np.eye(shape[1])[_actions(given, shape, "chosen")])
    if given.shape != shape:
        raise InvalidInput(f"chosen has shape {given.shape}: probabilities must be (n_tasks, n_strategies) = {shape}")
    probabilities = np.asarray(given, dtype=np.float64)
    is_fair = (probabilities >= 0).all(axis=1) & (np.abs(probabilities.sum(axis=1) - 1) <= 1e-6)  # float32 misses 1 by less
    if not is_fair.all():
        row = int(is_fair.argmin())
        raise InvalidInput(f"chosen[{row}] is {probabilities[row].tolist()}: probabilities must be ≥ 0 and sum to 1")
    return probabilities


def _actions(given: ArrayLike, shape: tuple[int, ...], name: str) -> IntArray:
    actions = np.asarray(given)
    n_tasks, n_strategies = shape
    if actions.shape != (n_tasks,) or actions.dtype.kind not in "iu":
        raise InvalidInput(
            f"{name} has shape {actions.shape} of {actions.dtype}: actions must be whole numbers, one for each of {n_tasks} tasks"
        )
    if not ((actions >= 0) & (actions < n_strategies)).all():
        raise InvalidInput(
            f"{name} runs from {actions.min()} to {actions.max()}: an action is a column of the table, 0 to {n_strategies - 1}"
        )
    return actions
