"""The router: decide before a reasoning step, settle after it, grade when the truth is known.

`decide` is pure but for a random draw and one ledger write. The way of the data is
`Task → policy → price → Decision → ledger`, and back `Spend → pacer`, `Outcome → ledger`.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal

import numpy as np

from budget_router.averages import Averages
from budget_router.billing import Billing
from budget_router.budget import Budget
from budget_router.budgets import by_group, check_feasible
from budget_router.capping import Ask, Capping, Patience, run_of
from budget_router.errors import (
    BudgetRouterError,
    CapReached,
    InvalidInput,
    UnknownDecision,
)
from budget_router.features.structure import STRUCTURE_VERSION, structural_features
from budget_router.grading import AGAIN, Grading
from budget_router.ids import new_id
from budget_router.ledger import Gathers, Ledger
from budget_router.memory import MemoryLedger
from budget_router.menu import Menu
from budget_router.paces import Paces
from budget_router.pacing import DEFAULT_HORIZON, Pacer
from budget_router.policies.cold_start import ColdStart
from budget_router.policies.contract import Policy, Prediction
from budget_router.policies.learned import LearnedPolicy
from budget_router.policies.second_look import second_look
from budget_router.records import (
    Call,
    Decision,
    Reason,
    Sample,
    Settlement,
    Spend,
    hash_text,
    now,
)
from budget_router.serving import Serving, lot_of
from budget_router.strategies import Result
from budget_router.tariffs import Tariffs
from budget_router.task import Task
from budget_router.upkeep import Upkeep
from budget_router.watching import Watchers

_log = logging.getLogger("budget_router")

DEFAULT_EXPLORATION = 0.005
"""Least probability of every strategy: what makes tomorrow's evaluation possible costs about its share of the dearest one."""
DEFAULT_RELOAD_SECONDS = 2.0
"""How often a serving router asks the registry whether another policy was promoted."""
DEFAULT_SHARE_SECONDS = 1.0
"""How often a serving router tells the ledger what it has spent, and hears what others have."""


class BudgetRouter(Grading):
    """Chooses a strategy per task so that the most accuracy is bought within an average budget.

    >>> from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot, Task
    >>> router = BudgetRouter(Menu([SingleShot(), SelfConsistency(k=5)]), Budget(per_task=800), seed=7)
    >>> decision = router.decide(Task("What is 27 + 41?"))
    >>> decision.strategy.name in decision.propensities
    True

    Args:
        menu: strategies to choose from.
        budget: the average that tasks without a group of their own draw on.
        budgets: averages of named groups.
        lend: share of its own budget that a group may lend to the others or borrow from them, at one price for all, while their
            joint average holds; when not given, each keeps its own.
        ledger: where decisions and spend are kept; in memory when not given.
        policy: serve this one, and never another; when not given, the one that the ledger's registry has promoted for this menu,
            `ColdStart` until there is one.
        tariffs: prices of models; asked before anything is paid when a budget is in USD.
        model: name of the model that strategies without one of their own run on; needed for budgets in USD.
        exploration: least probability of every strategy.
        horizon: decisions over which a deviation from the average is worked off.
        patience: of budgets with `on_shortage="wait"`.
        ask: whom budgets with `on_shortage="ask"` ask, in the thread that decides.
        reload_seconds: how often the registry is asked for a newer policy; with 0, before each decision.
        share_seconds: how old the spend of others who serve the same budget from the same ledger may be when it is told: all keep
            the average together, from the first of them on; with 0, before each decision. `None`: this router keeps it alone.
        seed: of the random draws.
        clock: tells when decisions are made and settled; of a simulation its own.
    """

    def __init__(
        self,
        menu: Menu,
        budget: Budget | None = None,
        *,
        budgets: Sequence[Budget] = (),
        ledger: Ledger | None = None,
        policy: Policy | None = None,
        tariffs: Tariffs | None = None,
        model: str | None = None,
        exploration: float = DEFAULT_EXPLORATION,
        lend: float = 0.0,
        horizon: int = DEFAULT_HORIZON,
        patience: Patience | None = None,
        ask: Ask | None = None,
        reload_seconds: float = DEFAULT_RELOAD_SECONDS,
        share_seconds: float | None = DEFAULT_SHARE_SECONDS,
        seed: int | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.menu = menu
        self.budgets = by_group([*([] if budget is None else [budget]), *budgets])
        if not 0 <= exploration <= 1 / len(menu):
            raise InvalidInput(
                f"exploration is {exploration:g}: a floor for {len(menu)} strategies lies in [0, {1 / len(menu):g}]"
            )
        self.ledger: Ledger = MemoryLedger() if ledger is None else ledger  # an empty ledger may be false
        self.tariffs = Tariffs() if tariffs is None else tariffs
        self.model = model
        self.exploration = exploration
        self.watchers = Watchers()
        """Told what it decides, opens, closes and settles; see `budget_router.watching`."""
        self._unit = next(iter(self.budgets.values())).unit
        check_feasible([*self.budgets.values()], menu, tariffs=self.tariffs, model=model)
        self._billing = Billing(self.tariffs)
        self._capping = Capping(
            lambda: self.ledger.caps,
            menu,
            [*self.budgets.values()],
            tariffs=self.tariffs,
            model=model,
            patience=patience or Patience(),
            ask=ask,
        )
        if isinstance(policy, LearnedPolicy) and (policy.menu.hash, policy.unit) != (menu.hash, self._unit):
            raise InvalidInput(
                f"policy {policy.version!r} was trained in {policy.unit} for {', '.join(policy.menu.names)}: "
                f"give it that menu and a budget in {policy.unit}, or train it for this one"
            )
        paces = Paces() if share_seconds is None else self.ledger.paces
        self._averages = Averages(self.budgets, lend=lend, horizon=horizon, paces=paces)
        self._cold_start = ColdStart(menu, unit=self._unit, tariffs=self.tariffs, model=model)
        self._is_pinned = policy is not None
        self._serving = Serving(
            self._cold_start if policy is None else policy,
            menu,
            unit=self._unit,
            registry=lambda: self.ledger.registry,
            averages=self._averages,
            draw=self._drawn,
            salt=lambda: self.ledger.salt,
        )
        self._clock = clock
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._promotions = Upkeep(self.reload, every_seconds=reload_seconds)
        self._others = Upkeep(self._averages.share, every_seconds=share_seconds or 0.0)
        self.reload()
        self._averages.share()

    @property
    def policy(self) -> Policy:
        """The policy that serves now, beside a canary if there is one."""
        return self._serving.policy

    def decide(
        self,
        task: Task,
        *,
        strategy: str | None = None,
        per_task: float | None = None,
        prompt_tokens: int | None = None,
        decision_id: str | None = None,
        run_id: str | None = None,
        thread_id: str | None = None,
    ) -> Decision:
        """Choose a strategy for the task and record why.

        Args:
            task: what is to be reasoned about; its `group` names the budget.
            strategy: name of the strategy to take whatever the policy says; the decision is marked as forced.
            per_task: what this task is allowed in place of its budget's average, in the same unit: one that matters twice as much
                is decided at twice the average, and the average of all is kept against the sum of what they were allowed.
            prompt_tokens: most tokens that will be sent for each answer, where more than the task's text is: a system prompt,
                a conversation; hard caps reserve by it.
            decision_id: a decision that already stands under this id is returned as it stands, so a retry decides once.
            run_id: kept with the decision; `grade` finds all decisions of a run.
            thread_id: kept with the decision; `grade` finds the latest decision of a thread. While a canary shares the traffic,
                one policy decides all of a thread, or else of a run.

        Raises:
            CapReached: the budget's hard cap has too little left for the task; nothing was paid.
            InfeasibleBudget: `per_task` is below the cheapest strategy.
            LedgerUnavailable: the ledger does not answer; under a hard cap whatever its spool would take.
        """
        began = now()
        self._promotions.look()
        self._others.look()
        pacer = self._averages.of(task.group)
        budget = pacer.budget if per_task is None else self._allowed(pacer.budget, per_task)
        part_of = thread_id or run_id or decision_id
        turn = self._serving.turn(task, pacer, per_task=budget.per_task, floor=self.exploration, run=part_of)
        probabilities = turn.propensities
        if strategy is not None:
            action = self.menu.action(strategy)
            probabilities = np.eye(len(self.menu))[action]
        else:
            is_asking = decision_id is not None and budget.on_shortage == "ask"
            draw = lot_of(decision_id or "", salt=self.ledger.salt) if is_asking else self._drawn()
            cumulative = np.cumsum(turn.choice.probabilities[0])
            action = int(np.searchsorted(cumulative / cumulative[-1], draw, side="right"))
        reason: Reason = "policy" if strategy is None else "forced"
        executed = self.menu.root[action]
        if decision_id is None or not self._stands(decision_id):
            decision_id = decision_id or new_id()
            run = run_of(budget.window, thread_id, run_id, decision_id)
            wanted, is_forced = action, strategy is not None
            action, executed = self._capping.fitted(
                task, wanted, budget, decision_id=decision_id, run=run, is_forced=is_forced, prompt_tokens=prompt_tokens
            )
            if executed is not self.menu.root[wanted] and not is_forced:
                probabilities, reason = np.eye(len(self.menu))[action], "capped"
        return self._recorded(
            task,
            turn.prediction,
            action,
            policy=turn.policy,
            pacer=pacer,
            table=turn.table,
            budget=budget,
            lam=turn.choice.lam,
            promised=turn.choice.spend,
            id=decision_id,
            strategy=executed,
            propensities=dict(zip(self.menu.names, probabilities.tolist(), strict=True)),
            run_id=run_id,
            thread_id=thread_id,
            reason=reason,
            shadow=turn.shadow,
            began=began,
        )

    def reconsider(self, decision: Decision, task: Task, answers: Sequence[str | None]) -> Decision | None:
        """Decide again, now that a vote's answers are in: `None` to accept it, else a decision to run a dearer strategy.

        The price is the same, and what was asked stays spent: the second decision is charged to the task's budget beside the
        first. A policy that was learned weighs the menu's escalations that begin with the drawn vote, and have their second stage
        on the menu too (`Escalate.at_every_agreement`); without one, every vote is accepted. A retry finds the decision that
        stands.

        Args:
            decision: to draw the vote.
            task: that it was made for.
            answers: normalised answer of each sample that arrived, `None` where a reply held none; a receipt's `answers`.
        """
        began, pacer = now(), self._averages.of(task.group)
        policy, table = self._serving.of(decision.policy_version)
        prediction = policy.predict([task])
        if prediction.accuracy is None or decision.strategy.settings_key not in {one.settings_key for one in self.menu}:
            return None
        target = pacer.target(table) * decision.budget.per_task / pacer.budget.per_task
        lam = policy.choose(prediction, target, floor=self.exploration).lam
        votes = Counter(answer for answer in answers if answer is not None)
        look = second_look(
            self.menu,
            decision.strategy,
            max(votes.values(), default=0) / decision.strategy.n_samples,
            accuracy=prediction.accuracy[0],
            cost=prediction.cost[0],
            lam=lam,
        )
        if look is None:
            return None
        action, again_id = self.menu.action(look.then.name), f"{decision.id}{AGAIN}"
        try:
            run = run_of(pacer.budget.window, decision.thread_id, decision.run_id, decision.id)
            _, executed = self._capping.fitted(task, action, pacer.budget, decision_id=again_id, run=run, is_forced=True)
        except CapReached:
            return None
        return self._recorded(
            task,
            prediction,
            action,
            policy=policy,
            pacer=pacer,
            table=table,
            budget=decision.budget,
            lam=lam,
            promised=0.0,
            id=again_id,
            strategy=executed,
            propensities={name: float(name == look.then.name) for name in self.menu.names},
            run_id=decision.run_id,
            thread_id=decision.thread_id,
            reason="reconsidered",
            began=began,
        )

    @property
    def is_capped(self) -> bool:
        """Whether any of its budgets has a hard cap."""
        return self._capping.is_needed

    def cap_left(self, group: str | None = None, *, run_id: str | None = None, thread_id: str | None = None) -> float | None:
        """Share that is left of the hard cap of a group's budget, in [0, 1]; `None` where it has none.

        Args:
            group: whose budget it is.
            run_id: of the run, for caps per run.
            thread_id: of the thread, for caps per thread.
        """
        return self._capping.left(self._averages.of(group).budget, thread_id=thread_id, run_id=run_id)

    def _allowed(self, budget: Budget, per_task: float) -> Budget:
        """A budget with another average, for one task."""
        allowed = Budget(**(budget.model_dump() | {"per_task": per_task}))
        check_feasible([allowed], self.menu, tariffs=self.tariffs, model=self.model)
        return allowed

    def _drawn(self) -> float:
        with self._lock:
            return float(self._rng.random())

    def _stands(self, decision_id: str) -> bool:
        """Tell whether a decision under a hard cap is made again: it has reserved what it needs."""
        if not self._capping.is_needed:
            return False
        try:
            self.ledger.decision(decision_id)
        except UnknownDecision:
            return False
        return True

    def _recorded(
        self,
        task: Task,
        prediction: Prediction,
        action: int,
        *,
        policy: Policy,
        pacer: Pacer,
        table: str | None,
        budget: Budget,
        lam: float,
        promised: float,
        began: datetime,
        **known: Any,  # the decision checks what it is given
    ) -> Decision:
        """Write a choice down with all that is to be remembered of it, or find the one that stands under its id, and pace it.

        What it has reserved is given back if it cannot be recorded.
        """
        try:
            decision = Decision(
                task_id=task.id or hash_text(task.text, salt=self.ledger.salt),
                group=task.group,
                shadow_price=lam,
                expected_cost=float(prediction.cost[0, action]),
                expected_accuracy=None if prediction.accuracy is None else float(prediction.accuracy[0, action]),
                budget=budget,
                policy_version=policy.version,
                menu_hash=self.menu.hash,
                features=structural_features(task.text),
                features_version=STRUCTURE_VERSION,
                decided_at=self._clock(),
                **known,
            )
            standing = self.ledger.record_decision(decision, task, self.menu)
            if standing == decision or self.ledger.decision(standing.id).settlement is None:
                allowed = 0.0 if decision.reason == "reconsidered" else standing.budget.per_task
                pacer.decided(standing.id, standing.expected_cost, promised=promised, allowed=allowed, table=table)
                is_new = standing == decision
                self.watchers.tell(lambda watcher: watcher.decided(standing, began=began, is_new=is_new))
        except BaseException:
            with suppress(BudgetRouterError):  # else it expires
                self._capping.settle(known["id"], 0)
            raise
        return standing

    def open_call(self, call: Call, *, provider: str | None = None, operation: str = "chat") -> None:
        """Record that a model is about to be called for a decision; what no ledger keeps goes to the watchers alone.

        Args:
            call: that is about to be made.
            provider: who serves the model, by LangChain's name.
            operation: what is asked, by OpenTelemetry's name: `chat` or `text_completion`.
        """
        try:
            self.ledger.open_call(call)
        except BaseException:
            with suppress(BudgetRouterError):  # else it expires
                self._capping.pay(call.decision_id, call.id, 0)
            raise
        self.watchers.tell(lambda watcher: watcher.opened(call, provider=provider, operation=operation))

    def claim(self, decision: Decision, call: Call, *, prompt_tokens: int, completion_tokens: int) -> None:
        """Set aside what a call may bill at most, before it is opened; without a hard cap there is nothing to do.

        Args:
            decision: that the call is made for.
            call: that is about to be made.
            prompt_tokens: most of it, tools and all else that is sent included.
            completion_tokens: most of it, of all its generations together.

        Raises:
            CapReached: the cap has too little left: the call must not be made.
            UnknownTariff: the cap is in USD, and the model on no price list: as above.
        """
        self._capping.claim(decision, call, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)

    def close_call(self, call: Call, *, settles_soon: bool = False) -> Call:
        """Price what a call billed and record it; a model on no price list keeps an unknown price, not a price of zero.

        Args:
            call: that has ended.
            settles_soon: whoever executes the decision lets nobody know what the call brought before it is settled: the
                ledger may keep the call with the settlement, in one commit. Under a hard cap it is kept at once.
        """
        call = self._billing.priced(call)
        self.watchers.tell(lambda watcher: watcher.closed(call))
        try:
            if settles_soon and isinstance(self.ledger, Gathers) and not self.is_capped:
                self.ledger.close_call_soon(call)
            else:
                self.ledger.close_call(call)
        finally:
            self._capping.pay(call.decision_id, call.id, None if call.is_cut_off else Spend.of([call]).counted(self._unit))
        return call

    def settle(
        self,
        decision: Decision,
        spend: Spend,
        *,
        result: Result | None = None,
        status: Literal["ok", "failed"] = "ok",
    ) -> Settlement:
        """Record the end of an execution, and let the price follow what was spent.

        Args:
            decision: the one that was executed.
            spend: all that it billed, failed calls included.
            result: what was drawn and answered, for the vote's record.
            status: `failed` when no answer came of it.
        """
        salt = self.ledger.salt
        settlement = Settlement(
            decision_id=decision.id,
            status=status,
            samples=tuple(
                Sample(index=draw.index, call_id=draw.call_id, answer_key=draw.answer and hash_text(draw.answer, salt=salt))
                for draw in (result.draws if result else ())
            ),
            answer_key=result and result.answer and hash_text(result.answer, salt=salt),
            agreement=result and result.agreement,
            spend=spend,
            settled_at=self._clock(),
        )
        try:
            self.ledger.record_settlement(settlement)
        finally:
            self._capping.settle(decision.id, spend.counted(self._unit))
        cost, pacer = spend.in_unit(decision.budget.unit), self._averages.of(decision.group)
        is_known = not np.isnan(cost)
        is_first = pacer.settled(
            decision.id, cost if is_known else decision.expected_cost, is_typical=is_known and status == "ok"
        )
        if is_first and status == "ok":  # a retry or an outage teaches nothing about the length of answers
            self._cold_start.settled(decision.strategy, spend, n_answers=len(settlement.samples) or None)
        self.watchers.tell(lambda watcher: watcher.settled(decision, settlement, is_first=is_first))
        return settlement

    def reload(self) -> bool:
        """Serve what the registry has rolled out, if it is something else; tell whether it changed.

        A policy that cannot be read, or a registry that does not answer, leaves what serves now, and is logged.
        """
        return False if self._is_pinned else self._serving.reload()
