"""The router: decide before a reasoning step, settle after it, grade when the truth is known.

`decide` is pure but for a random draw and one ledger write. The way of the data is
`Task → policy → price → Decision → ledger`, and back `Spend → pacer`, `Outcome → ledger`.
"""

import asyncio
import threading
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple, TypedDict, Unpack

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
from budget_router.grading import AGAIN
from budget_router.ids import new_id
from budget_router.ledger import Ledger, gathers
from budget_router.memory import MemoryLedger
from budget_router.menu import Menu
from budget_router.paces import Paces
from budget_router.pacing import DEFAULT_HORIZON, Pacer
from budget_router.policies.cold_start import ColdStart
from budget_router.policies.contract import Policy, Prediction
from budget_router.policies.learned import LearnedPolicy
from budget_router.policies.second_look import second_look
from budget_router.records import Call, Decision, Reason, hash_text, now
from budget_router.serving import Serving, lot_of
from budget_router.spending import Spending
from budget_router.tariffs import Tariffs
from budget_router.task import Task
from budget_router.upkeep import Upkeep
from budget_router.watching import Watchers

DEFAULT_EXPLORATION = 0.005
"""Least probability of every strategy: what makes tomorrow's evaluation possible costs about its share of the dearest one."""
DEFAULT_RELOAD_SECONDS = 2.0
"""How often a serving router asks the registry whether another policy was promoted."""
DEFAULT_SHARE_SECONDS = 1.0
"""How often a serving router tells the ledger what it has spent, and hears what others have."""

Opens = Callable[[Decision], Sequence[Call]]
"""Takes a decision that is about to be recorded, and tells which calls are made first if it stands."""


def opens_nothing(_: Decision) -> Sequence[Call]:
    """Tell of no call."""
    return ()


class Asked(TypedDict, total=False):
    """What may be asked of a decision; see `BudgetRouter.decide`."""

    strategy: str | None
    per_task: float | None
    prompt_tokens: int | None
    decision_id: str | None
    run_id: str | None
    thread_id: str | None


class _Choice(NamedTuple):
    """A decision before anybody else knows of it, and what its pacing goes by."""

    decision: Decision
    task: Task
    pacer: Pacer
    table: str | None
    promised: float
    began: datetime


class BudgetRouter(Spending):
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
        self._has_decided = False
        """Whether what a first decision loads, a tokenizer, is there."""
        self._promotions = Upkeep(self.reload, every_seconds=reload_seconds)
        self._shares = share_seconds is not None
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
        choice = self._chosen(
            task,
            strategy=strategy,
            per_task=per_task,
            prompt_tokens=prompt_tokens,
            decision_id=decision_id,
            run_id=run_id,
            thread_id=thread_id,
        )
        return self._recorded(choice)

    async def adecide(self, task: Task, *, opens: Opens = opens_nothing, **asked: Unpack[Asked]) -> Decision:
        """Do as `decide`, in a coroutine: while the ledger writes, the event loop goes on, and no thread is needed.

        Where it has to wait for something else, a hard cap, a look at the registry, a ledger that no coroutine can wait for, it
        decides in a thread; and so the first time, when a tokenizer is loaded.

        Args:
            task: as `decide` takes it, as all that is `asked`.
            opens: tells which calls are made first where the decision that it is given stands: they are opened in the same
                commit, so none of them needs one of its own. Not asked where the decision is made in a thread; where
                another one stood before, or it is not the one that is returned, they were not opened.
        """
        if self._is_held_up or not gathers(self.ledger):
            return await asyncio.to_thread(self.decide, task, **asked)
        choice = self._chosen(task, **asked)
        decision = choice.decision
        standing = await self.ledger.arecord_decision(decision, task, self.menu, opens=opens(decision))
        if standing is decision:
            return self._stands(choice, standing)
        return await asyncio.to_thread(self._stands, choice, standing)

    def _chosen(self, task: Task, **asked: Unpack[Asked]) -> _Choice:
        """Draw a strategy, and reserve what it may bill."""
        strategy, decision_id = asked.get("strategy"), asked.get("decision_id")
        run_id, thread_id = asked.get("run_id"), asked.get("thread_id")
        began = now()
        self._promotions.look()
        self._others.look()
        pacer = self._averages.of(task.group)
        per_task = asked.get("per_task")
        budget = pacer.budget if per_task is None else self._allowed(pacer.budget, per_task)
        part_of = thread_id or run_id or decision_id
        turn = self._serving.turn(task, pacer, per_task=budget.per_task, floor=self.exploration, run=part_of)
        probabilities: list[float] = turn.propensities.tolist()
        if strategy is not None:
            action = self.menu.action(strategy)
            probabilities = self._surely(action)
        else:
            is_asking = decision_id is not None and budget.on_shortage == "ask"
            draw = lot_of(decision_id or "", salt=self.ledger.salt) if is_asking else self._drawn()
            cumulative = [*accumulate(turn.choice.probabilities[0].tolist())]
            action = bisect([part / cumulative[-1] for part in cumulative], draw)
        reason: Reason = "policy" if strategy is None else "forced"
        executed = self.menu.root[action]
        if decision_id is None or not self._is_made_again(decision_id):
            decision_id = decision_id or new_id()
            run = run_of(budget.window, thread_id, run_id, decision_id)
            wanted, is_forced = action, strategy is not None
            action, executed = self._capping.fitted(
                task,
                wanted,
                budget,
                decision_id=decision_id,
                run=run,
                is_forced=is_forced,
                prompt_tokens=asked.get("prompt_tokens"),
            )
            if executed is not self.menu.root[wanted] and not is_forced:
                probabilities, reason = self._surely(action), "capped"
        return self._drawn_up(
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
            propensities=dict(zip(self.menu.names, probabilities, strict=True)),
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
        again = self._drawn_up(
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
            propensities=dict(zip(self.menu.names, self._surely(action), strict=True)),
            run_id=decision.run_id,
            thread_id=decision.thread_id,
            reason="reconsidered",
            began=began,
        )
        return self._recorded(again)

    def cap_left(self, group: str | None = None, *, run_id: str | None = None, thread_id: str | None = None) -> float | None:
        """Share that is left of the hard cap of a group's budget, in [0, 1]; `None` where it has none.

        Args:
            group: whose budget it is.
            run_id: of the run, for caps per run.
            thread_id: of the thread, for caps per thread.
        """
        return self._capping.left(self._averages.of(group).budget, thread_id=thread_id, run_id=run_id)

    @property
    def _is_held_up(self) -> bool:
        """Whether the next decision waits for more than its own record."""
        is_looking = self._promotions.is_due or (self._shares and self._others.is_due)
        return self.is_capped or is_looking or not self._has_decided

    def _allowed(self, budget: Budget, per_task: float) -> Budget:
        """A budget with another average, for one task."""
        allowed = Budget(**(budget.model_dump() | {"per_task": per_task}))
        check_feasible([allowed], self.menu, tariffs=self.tariffs, model=self.model)
        return allowed

    def _surely(self, action: int) -> list[float]:
        """Propensities where nothing was left to chance."""
        return [float(one == action) for one in range(len(self.menu))]

    def _drawn(self) -> float:
        with self._lock:
            return float(self._rng.random())

    def _is_made_again(self, decision_id: str) -> bool:
        """Tell whether a decision under a hard cap is made again: it has reserved what it needs."""
        if not self._capping.is_needed:
            return False
        try:
            self.ledger.decision(decision_id)
        except UnknownDecision:
            return False
        return True

    def _drawn_up(
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
    ) -> _Choice:
        """Draw up a choice with all that is to be remembered of it."""
        with self._reserved(known["id"]):
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
        self._has_decided = True
        return _Choice(decision, task, pacer, table, promised, began)

    def _recorded(self, choice: _Choice) -> Decision:
        """Write a choice down, or find the one that stands under its id, and pace it."""
        with self._reserved(choice.decision.id):
            return self._stands(choice, self.ledger.record_decision(choice.decision, choice.task, self.menu))

    def _stands(self, choice: _Choice, standing: Decision) -> Decision:
        """Pace the decision that stands now, the one that was drawn up or another before it, unless it has ended."""
        decision = choice.decision
        if standing == decision or self.ledger.decision(standing.id).settlement is None:
            allowed = 0.0 if decision.reason == "reconsidered" else standing.budget.per_task
            choice.pacer.decided(
                standing.id, standing.expected_cost, promised=choice.promised, allowed=allowed, table=choice.table
            )
            is_new = standing == decision
            self.watchers.tell(lambda watcher: watcher.decided(standing, began=choice.began, is_new=is_new))
        return standing

    @contextmanager
    def _reserved(self, decision_id: str) -> Iterator[None]:
        """Give back what a decision has reserved if it cannot be recorded."""
        try:
            yield
        except BaseException:
            with suppress(BudgetRouterError):  # else it expires
                self._capping.settle(decision_id, 0)
            raise

    def reload(self) -> bool:
        """Serve what the registry has rolled out, if it is something else; tell whether it changed.

        A policy that cannot be read, or a registry that does not answer, leaves what serves now, and is logged.
        """
        return False if self._is_pinned else self._serving.reload()
