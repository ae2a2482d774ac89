"""Groups that borrow from and lend to each other: one price for all of them, within bounds of each.

A group whose tasks gain little from compute then leaves some of its budget to one whose tasks gain much, as one buyer would who
paid for both: at one price, the last unit buys the same accuracy everywhere.
"""

import json
from collections.abc import Sequence

from budget_router.budget import Budget
from budget_router.paces import Paces
from budget_router.pacing import DEFAULT_HORIZON, Account, Pacer


class Borrower(Pacer):
    """Paces one group at the price that all groups share, as long as its own average is within `lend` of its budget.

    The shared target keeps the average of all at the sum of their budgets. It is bounded by what would pace this group alone
    at `1 - lend` and `1 + lend` of its budget.
    """

    def __init__(
        self, budget: Budget, pool: "Pool", *, lend: float, horizon: int = DEFAULT_HORIZON, paces: Paces | None = None
    ) -> None:
        super().__init__(budget, horizon=horizon, paces=paces)
        self._pool = pool
        self._lend = lend

    def target(self, table: str | None = None) -> float:
        """Mean spend to ask of the policy for the next decision: the pool's, within this group's bounds."""
        standing = self._account.standing(table)
        low, high = (
            standing.target(self.budget.per_task, horizon=self.horizon, share=share) for share in (1 - self._lend, 1 + self._lend)
        )
        return min(max(self._pool.target(table), low), high)

    def settled(self, decision_id: str, cost: float, *, is_typical: bool = True) -> bool:
        """Count what was billed for the group and for all."""
        self._pool.account.settled(decision_id, cost, is_typical=is_typical)
        return super().settled(decision_id, cost, is_typical=is_typical)

    def calibrated(self, policy: str) -> None:
        """Go by another policy's table, for this group and for all."""
        self._pool.account.calibrated(policy)
        super().calibrated(policy)

    def _decided(self, decision_id: str, expected_cost: float, promised: float, allowed: float, table: str | None) -> None:
        super()._decided(decision_id, expected_cost, promised, allowed, table)
        self._pool.account.decided(decision_id, expected_cost, promised=promised, allowed=allowed, table=table)


class Pool:
    """What all groups have spent together, of what they were allowed together."""

    def __init__(self, budgets: Sequence[Budget], *, horizon: int = DEFAULT_HORIZON, paces: Paces | None = None) -> None:
        self._per_task = sum(one.per_task for one in budgets) / len(budgets)
        name = json.dumps([[one.group, one.per_task, one.unit] for one in budgets], ensure_ascii=False)
        self.account = Account(name, self._per_task, paces=paces)
        self._horizon = horizon

    def target(self, table: str | None = None) -> float:
        """Mean spend to ask of the policy for the next decision of any group."""
        standing = self.account.standing(table)
        n_tasks, allowed = standing.all[:2]
        per_task = allowed / n_tasks if n_tasks else self._per_task
        return standing.target(per_task, horizon=self._horizon)


def borrowers(
    budgets: Sequence[Budget], *, lend: float, horizon: int = DEFAULT_HORIZON, paces: Paces | None = None
) -> dict[str | None, Pacer]:
    """A pacer for each group, under one price.

    Args:
        budgets: one of each group, all in one unit.
        lend: share of its own budget that a group may give away or take, in [0, 1].
        horizon: decisions over which a deviation is worked off.
        paces: of the ledger; when not given, these pacers are alone.
    """
    pool = Pool(budgets, horizon=horizon, paces=paces)
    return {one.group: Borrower(one, pool, lend=lend, horizon=horizon, paces=paces) for one in budgets}
