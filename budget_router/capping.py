"""What the router asks of hard caps: that a decision fits before it is made, and that each call does before it is made."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from budget_router.budget import Budget, Window
from budget_router.caps import Cap, Caps
from budget_router.costs import TIMES_TYPICAL, most_billed, shortened, upper_bound
from budget_router.errors import CapReached, InvalidInput
from budget_router.menu import Menu, Strategy, stages
from budget_router.records import Call, Decision, usd
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


@dataclass(frozen=True)
class Shortfall:
    """A task that its cap has too little left for: what whoever is asked goes by."""

    task: Task
    budget: Budget
    wanted: str
    """Strategy that was drawn."""
    needs: float
    """Most that it may bill as it was drawn, in the budget's unit, as is what is left."""
    left: float
    menu: tuple[str, ...]
    """Names of all strategies."""
    fitting: tuple[str, ...]
    """Strategies that would fit now, the one that may bill the least first."""
    free_at: datetime | None
    """When some of the cap comes free at the latest; `None` when nothing is going to by itself."""

    def __str__(self) -> str:
        unit = self.budget.unit.replace("_", " ")
        return f"{self.wanted} may bill {self.needs:g} {unit}, and the cap has {self.left:g} left: " + (
            f"{', '.join(self.fitting)} would fit" if self.fitting else "nothing fits"
        )


Ask = Callable[[Shortfall], str]
"""Answers a shortage with `cheapest`, `wait`, `refuse`, or the name of a strategy that is to be taken instead."""


class _Prompt(NamedTuple):
    """What is sent for each answer."""

    text: str
    """Of the task."""
    n_tokens: int
    """Most of them in all that is sent; 0 where that is the text alone."""


class Fitted(NamedTuple):
    """What a cap has room for."""

    action: int
    """Column of the strategy."""
    strategy: Strategy
    """The menu's own, with a `max_tokens` where it had none and its whole length did not fit."""


class Capping:
    """The hard caps of one router's budgets.

    Args:
        caps: of the ledger; asked only where a budget has a hard cap.
        menu: of the router.
        budgets: all of one unit.
        tariffs: for budgets in USD.
        model: that strategies without one of their own run on.
        patience: of budgets that wait on shortage.
        ask: what budgets that ask on shortage do.

    Raises:
        InvalidInput: a budget asks on shortage, and there is nobody to ask.
        UnknownTariff: a budget with a hard cap is in USD, and a strategy's model on no price list.
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
        ask: Ask | None = None,
    ) -> None:
        self._caps = caps
        self._menu = menu
        self._unit = budgets[0].unit
        self._tariffs = tariffs
        self._model = model
        self._patience = patience
        self._ask = ask
        if ask is None and any(budget.on_shortage == "ask" for budget in budgets):
            raise InvalidInput(
                "on_shortage is 'ask', and the router has nobody to ask: give it ask=..., a function of the Shortfall that says "
                "'cheapest', 'wait', 'refuse' or a strategy's name (in LangGraph ask_by_interrupt), or take another on_shortage"
            )
        self.is_needed = any(budget.hard_cap is not None for budget in budgets)
        if self.is_needed:
            self._bounds(_Prompt("", 0), TIMES_TYPICAL[0])

    def fitted(
        self,
        task: Task,
        action: int,
        budget: Budget,
        *,
        decision_id: str,
        run: str,
        is_forced: bool,
        prompt_tokens: int | None = None,
    ) -> Fitted:
        """Reserve the most that a strategy may bill on a task; on shortage, as the budget says.

        Answers without `max_tokens` get shorter before anything is called short, down to their typical length.

        Args:
            task: to be decided on.
            action: column of the strategy that was chosen.
            budget: that it draws on; without a hard cap anything fits.
            decision_id: that it is reserved under.
            run: thread or run that the decision is part of.
            is_forced: the caller chose it: no other will do, and nobody is asked.
            prompt_tokens: most tokens that are sent for each answer, where more than the task's text is.

        Raises:
            CapReached: what is left does not suffice, and nothing was reserved.
            InvalidInput: whoever was asked named no strategy of the menu.
        """
        cap = Cap.of(budget, run=run)
        if cap is None:
            return Fitted(action, self._menu.root[action])
        prompt = _Prompt(task.text, prompt_tokens or 0)
        bounds = self._bounds(prompt, TIMES_TYPICAL[-1])

        def reserve(column: int) -> Fitted:
            return Fitted(column, self._reserved(cap, prompt, self._menu.root[column], decision_id))

        if budget.on_shortage == "wait":
            return self._wait(lambda: reserve(action))
        try:
            return reserve(action)
        except CapReached as short:
            if budget.on_shortage == "refuse" or is_forced:
                raise
            answer = self._asked(task, action, budget, bounds, short) if budget.on_shortage == "ask" else "cheapest"
            if answer == "refuse":
                raise
            if answer == "wait":
                return self._wait(lambda: reserve(action))
            taken = bounds.index(min(bounds)) if answer == "cheapest" else self._menu.action(answer)
            if bounds[taken] >= bounds[action] and answer == "cheapest":
                raise
            return reserve(taken)

    def left(self, budget: Budget, *, thread_id: str | None, run_id: str | None) -> float | None:
        """Share that is left of a budget's cap now; `None` where it has none."""
        cap = Cap.of(budget, run=run_of(budget.window, thread_id, run_id, ""))
        return None if cap is None else min(max(self._caps().left(cap) / cap.limit, 0.0), 1.0)

    def claim(self, decision: Decision, call: Call, *, prompt_tokens: int, completion_tokens: int) -> None:
        """Set aside the most that a call may bill, out of its decision's reservation or what is left of the cap.

        Raises:
            CapReached: neither suffices; the call must not be made.
            UnknownTariff: the cap is in USD, and the model on no price list.
        """
        run = run_of(decision.budget.window, decision.thread_id, decision.run_id, decision.id)
        cap = Cap.of(decision.budget, run=run)
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

    def _reserved(self, cap: Cap, prompt: _Prompt, strategy: Strategy, decision_id: str) -> Strategy:
        """The strategy as long as there is room for, its most reserved."""
        whole, *shorter = TIMES_TYPICAL
        try:
            self._caps().reserve(cap, decision_id, self._bound(strategy, prompt, whole))
        except CapReached as short:
            for times in shorter if _is_open_ended(strategy) else ():
                most = self._bound(strategy, prompt, times)
                if most <= short.left:
                    self._caps().reserve(cap, decision_id, most)
                    return shortened(strategy, times)
            raise
        return strategy

    def _bounds(self, prompt: _Prompt, times: int) -> list[int]:
        """Most that each strategy may bill on a task."""
        return [self._bound(strategy, prompt, times) for strategy in self._menu]

    def _bound(self, strategy: Strategy, prompt: _Prompt, times: int) -> int:
        return upper_bound(
            strategy,
            prompt.text,
            unit=self._unit,
            tariffs=self._tariffs,
            model=self._model,
            times=times,
            prompt_tokens=prompt.n_tokens,
        )

    def _asked(self, task: Task, action: int, budget: Budget, bounds: Sequence[int], short: CapReached) -> str:
        """What whoever is to be asked says of a shortage."""
        assert self._ask is not None  # noqa: S101  # else no router was made
        in_order = sorted(range(len(bounds)), key=lambda column: bounds[column])
        fitting = tuple(self._menu.names[column] for column in in_order if bounds[column] <= short.left)
        in_unit = usd if budget.unit == "usd" else float
        left = in_unit(max(short.left, 0))
        names = self._menu.names
        return self._ask(Shortfall(task, budget, names[action], in_unit(short.asked), left, names, fitting, short.free_at))

    def _wait(self, reserve: Callable[[], Fitted]) -> Fitted:
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


def _is_open_ended(strategy: Strategy) -> bool:
    return any(stage.max_tokens is None for stage in stages(strategy))


def run_of(window: Window | None, thread_id: str | None, run_id: str | None, decision_id: str) -> str:
    """What a cap per run or thread is of: that, else the other, else the decision alone."""
    known = {"thread": thread_id, "run": run_id} if window == "thread" else {"run": run_id, "thread": thread_id}
    return next((f"{kind} {name}" for kind, name in known.items() if name), f"decision {decision_id}")
