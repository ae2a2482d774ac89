"""Keep the running average at the budget: each decision and each settlement moves what the next decision may spend.

What the past comes to, and what follows from it, is in `budget_router.sums`; how workers share it, in `budget_router.paces`.
"""

import json
import threading

from budget_router.budget import Budget
from budget_router.paces import Key, Paces
from budget_router.sums import Standing, Sums

DEFAULT_HORIZON = 50
"""Decisions over which a deviation is worked off; a shorter one reacts faster and swings more."""
_MEMORY = 75
"""Decisions after which evidence on a drift keeps 37 % of its weight; more than the horizon, so that the loops do not swing."""
_KEPT = 1 - 1 / _MEMORY
_MAX_SURPRISE = 10.0
"""Multiple of what was expected that one bill teaches of the drift; all of it is spent all the same."""


class Account:
    """A past that follows decisions: each counts at its expected cost until it settles, then at what was billed.

    Args:
        name: of the account: workers whose paces and names are one share it.
        per_task: budget of an average task.
        paces: of the ledger, or of this account alone when not given.
    """

    def __init__(self, name: str, per_task: float, *, paces: Paces | None = None) -> None:
        self._per_task = per_task
        self._mine = Sums()
        self._paces = Paces() if paces is None else paces
        self._pending: dict[str, tuple[float, float, Key]] = {}  # expected cost, what it was counted at, and under which table
        self._lock = threading.Lock()
        self._key = Key(name, "")
        self.calibrated("")

    @property
    def sums(self) -> Sums:
        """What the past comes to."""
        return self._paces.sums(self._key)

    def standing(self, table: str | None = None) -> Standing:
        """What is known of the past, seen from a policy's table: the one that is gone by, unless another is named."""
        key, paces = self._under(table), self._paces
        return Standing(paces.sums(key), self._mine, paces.untold(key), paces.n_unseen(key.account))

    def calibrated(self, policy: str) -> None:
        """Go by a policy's table; it is trusted unless it was found wrong before."""
        self._key = self._under(policy)

    def _under(self, table: str | None) -> Key:
        if table is None:
            return self._key
        key = Key(self._key.account, table)
        self._paces.follow(key, Sums.trusting(self._per_task))
        return key

    def decided(
        self, decision_id: str, expected_cost: float, *, promised: float, allowed: float, table: str | None = None
    ) -> None:
        """Count a decision; made again under its id, it replaces the first."""
        with self._lock:
            key = self._under(table)
            counted = expected_cost * self._paces.sums(key).bill_drift
            if decision_id in self._pending:
                change = Sums(spent=counted - self._pending[decision_id][1])
            else:
                change = Sums(float(allowed > 0), allowed, counted, chosen=expected_cost, promised=promised, choices_kept=_KEPT)
            self._pending[decision_id] = expected_cost, counted, key
            self._happened(change, key)

    def settled(self, decision_id: str, cost: float, *, is_typical: bool) -> bool:
        """Count what was billed, and tell whether it counts."""
        with self._lock:
            pending = self._pending.pop(decision_id, None)
            if pending is None:
                return False
            expected, counted, key = pending
            change = Sums(spent=cost - counted)
            if is_typical:
                seen = min(cost, _MAX_SURPRISE * self._paces.sums(key).bill_drift * expected)
                change = change._replace(billed=seen, expected=expected, bills_kept=_KEPT)
            self._happened(change, key)
            return True

    def _happened(self, change: Sums, key: Key) -> None:
        self._mine = self._mine.then(change)
        self._paces.add(key, change)


class Pacer:
    """Tells what the next decision should spend on average so that the average of all ends at the budget.

    Args:
        budget: to be kept; all who share `paces` and a budget keep it together.
        horizon: decisions over which a deviation is worked off.
        paces: of the ledger; when not given, this pacer is alone.
    """

    def __init__(self, budget: Budget, *, horizon: int = DEFAULT_HORIZON, paces: Paces | None = None) -> None:
        self.budget = budget
        self.horizon = horizon
        name = json.dumps([budget.group, budget.per_task, budget.unit], ensure_ascii=False)
        self._account = Account(name, budget.per_task, paces=paces)

    @property
    def sums(self) -> Sums:
        """What the past comes to."""
        return self._account.sums

    def target(self, table: str | None = None) -> float:
        """Mean spend to ask of the policy for the next average task, in the budget's unit.

        Args:
            table: name of the policy's own, where it is not the one that is gone by; it is trusted until it is found wrong.
        """
        return self._account.standing(table).target(self.budget.per_task, horizon=self.horizon)

    def decided(
        self,
        decision_id: str,
        expected_cost: float,
        *,
        promised: float | None = None,
        allowed: float | None = None,
        table: str | None = None,
    ) -> None:
        """Count a decision at its expected cost until it settles.

        Args:
            decision_id: that it settles under.
            expected_cost: of the strategy that was chosen, whether by the policy or by force.
            promised: mean spend that the policy's table holds for the price; when not given, what was expected.
            allowed: what the task may cost; when not given, the budget. A second decision on a task is allowed, and was promised,
                nothing.
            table: as `target` was asked by.
        """
        promised = expected_cost if promised is None else promised
        self._decided(decision_id, expected_cost, promised, self.budget.per_task if allowed is None else allowed, table)

    def settled(self, decision_id: str, cost: float, *, is_typical: bool = True) -> bool:
        """Count what was billed, and tell whether it counts; a decision made elsewhere, or settled before, changes nothing.

        Args:
            decision_id: that it was decided under.
            cost: all that was billed, failed calls included.
            is_typical: whether it tells what decisions to come will bill; an outage's empty bills do not.
        """
        return self._account.settled(decision_id, cost, is_typical=is_typical)

    def calibrated(self, policy: str) -> None:
        """Go by another policy's table, whatever was found wrong with the last one."""
        self._account.calibrated(policy)

    def _decided(self, decision_id: str, expected_cost: float, promised: float, allowed: float, table: str | None) -> None:
        self._account.decided(decision_id, expected_cost, promised=promised, allowed=allowed, table=table)
