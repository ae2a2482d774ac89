"""What the router asks of hard caps: that a decision fits before it is made, and that each call does before it is made."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from budget_router.budget import Budget
from budget_router.caps import Cap, Caps
from budget_router.costs import most_billed, upper_bound
from budget_router.errors import CapReached
from budget_router.menu import Menu
from budget_router.records import Call, Decision
from budget_router.tariffs import Tariffs
from budget_router.task import Task

DEFAULT_WAIT_SECONDS = 30.0
"""Longest patience of a budget that waits on shortage: a caller's own is seldom longer."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks at a cap, doubled from the first to the longest: what is settled meanwhile comes free."""


@dataclass(frozen=True)
class Patience:
    """How long a decision waits for a cap."""

    seconds: float = DEFAULT_WAIT_SECONDS
    sleep: Callable[[float], None] = time.sleep


class Capping:
    """The hard caps of one router's budgets.

    Args:
        caps: of the ledger; asked only where a budget has a hard cap.
        menu: of the router.
        budgets: all of one unit.
        tariffs: for budgets in USD.
        model: that strategies without one of their own run on.
        patience: of budgets that wait on shortage.

    Raises:
        Unbounded: a budget has a hard cap, and a strategy no `max_tokens`.
        UnknownTariff: of such a budget in USD.
    """

    def __init__(
        self,
        caps: Callable[[], Caps],
        menu: Menu,
        budgets: Sequence[Budget],
        *,
        tariffs: Tariffs,
        model: str | None,
        patience: Patience,
    ) -> None:
        self._caps = caps
        self._menu = menu
        self._unit = budgets[0].unit
        self._tariffs = tariffs
        self._model = model
        self._patience = patience
        self.is_needed = any(budget.hard_cap is not None for budget in budgets)
        if self.is_needed:
            self._bounds("")

    def fitted(self, task: Task, action: int, budget: Budget, *, decision_id: str, run: str, is_forced: bool) -> int:
        """Reserve the most that a strategy may bill on a task, and return its column; on shortage, as the budget says.

        Args:
            task: to be decided on.
            action: column of the strategy that was chosen.
            budget: that it draws on; without a hard cap anything fits.
            decision_id: that it is reserved under.
            run: thread or run that the decision is part of.
            is_forced: the caller chose it: no other will do.

        Raises:
            CapReached: what is left does not suffice, and nothing was reserved.
        """
        cap = Cap.of(budget, run=run)
        if cap is None:
            return action
        bounds = self._bounds(task.text)
        if budget.on_shortage == "wait":
            self._wait(lambda: self._caps().reserve(cap, decision_id, bounds[action]))
            return action
        try:
            self._caps().reserve(cap, decision_id, bounds[action])
        except CapReached:
            cheapest = bounds.index(min(bounds))
            if budget.on_shortage == "refuse" or is_forced or bounds[cheapest] == bounds[action]:
                raise
            self._caps().reserve(cap, decision_id, bounds[cheapest])
            return cheapest
        return action

    def claim(self, decision: Decision, call: Call, *, prompt_tokens: int, completion_tokens: int) -> None:
        """Set aside the most that a call may bill, out of its decision's reservation or what is left of the cap.

        Raises:
            CapReached: neither suffices; the call must not be made.
            UnknownTariff: the cap is in USD, and the model on no price list.
        """
        cap = Cap.of(decision.budget, run=run_of(decision.thread_id, decision.run_id, decision.id))
        if cap is not None:
            most = most_billed(
                cap.unit,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                tariffs=self._tariffs,
                model=call.model,
            )
            self._caps().claim(cap, decision.id, call.id, most)

    def pay(self, decision_id: str, call_id: str, counted: int | None) -> None:
        """End a call's claim with what it billed."""
        if self.is_needed:
            self._caps().pay(decision_id, call_id, counted)

    def settle(self, decision_id: str, counted: int | None) -> None:
        """End a decision's reservation with all that it billed."""
        if self.is_needed:
            self._caps().settle(decision_id, counted)

    def _bounds(self, text: str) -> list[int]:
        """Most that each strategy may bill on a task."""
        return [upper_bound(strategy, text, unit=self._unit, tariffs=self._tariffs, model=self._model) for strategy in self._menu]

    def _wait(self, reserve: Callable[[], None]) -> None:
        waited, pause = 0.0, _FIRST_PAUSE
        while True:
            try:
                return reserve()
            except CapReached:
                if waited >= self._patience.seconds:
                    raise
            pause = min(pause, self._patience.seconds - waited)
            self._patience.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE)


def run_of(thread_id: str | None, run_id: str | None, decision_id: str) -> str:
    """What a cap per run is of: the thread, else the run, else the decision alone."""
    return f"thread {thread_id}" if thread_id else f"run {run_id}" if run_id else f"decision {decision_id}"
