"""The way to a decision: a policy looks at the task, a price weighs it, a strategy is drawn, and the ledger keeps why."""

import asyncio
import threading
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np

from budget_router.budget import Budget
from budget_router.budgets import check_feasible
from budget_router.capping import run_of
from budget_router.errors import (
    BudgetRouterError,
    CapReached,
    UnknownDecision,
)
from budget_router.features.structure import STRUCTURE_VERSION, structural_features
from budget_router.grading import AGAIN
from budget_router.ids import new_id
from budget_router.ledger import gathers
from budget_router.menu import Menu
from budget_router.pacing import Pacer
from budget_router.policies.contract import Policy, Prediction
from budget_router.policies.second_look import second_look
from budget_router.records import Call, Decision, Reason, hash_text, now
from budget_router.serving import Serving, lot_of
from budget_router.spending import Spending
from budget_router.tariffs import Tariffs
from budget_router.task import Task
from budget_router.upkeep import Upkeep

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


class Deciding(Spending):
    """Chooses strategies, and records each choice before anybody acts on it."""

    menu: Menu
    budgets: Mapping[str | None, Budget]
    tariffs: Tariffs
    model: str | None
    exploration: float
    _serving: Serving
    _promotions: Upkeep
    _others: Upkeep
    _shares: bool
    _rng: np.random.Generator
    _lock: threading.Lock
    _has_decided: bool

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
