"""A node that decides, a route to the user's own reasoning nodes, and a node that settles what they spent."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from langchain_core.runnables import Runnable, RunnableConfig, ensure_config

from budget_router.errors import InvalidInput
from budget_router.records import Decision, Spend
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, Result, final_answer
from budget_router_langchain import Booking, busy_seconds, meter
from budget_router_langchain.asked import TaskSource, field_of
from budget_router_langchain.budget_state import BudgetState, decided, settled
from budget_router_langgraph.deciding import Place, adecide, aemit, decide, emit, place_of, watch
from budget_router_langgraph.facts import FactSource, agent_facts
from budget_router_langgraph.reading import last_reply, read_also
from budget_router_langgraph.state import Budgeted, BudgetIO, Update, budget_of
from budget_router_langgraph.wanting import NameSource, NumberSource, Wants

_log = logging.getLogger("budget_router")


class Node(Runnable[Any, Update]):
    """A step that reads the state, keeps the books, and writes `budget`: `act` does it, and where the graph is async `aact`.

    Where there is nothing to do, nothing is written and nobody told.
    """

    event: str

    def __call__(self, state: BudgetIO) -> Update:
        """Act; LangGraph reads from this signature what the node reads from the state."""
        return self.invoke(state)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:  # noqa: A002  # Runnable's own name
        """Act on a state."""
        config = ensure_config(config)
        budget = self.act(input, config)
        if budget is None:
            return {}
        emit(self.event, budget, config)
        return {"budget": budget}

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Update:  # noqa: A002
        """Act on a state; the event loop waits for no ledger."""
        config = ensure_config(config)
        budget = await self.aact(input, config)
        if budget is None:
            return {}
        await aemit(self.event, budget, config)
        return {"budget": budget}

    def act(self, state: object, config: RunnableConfig) -> BudgetState | None:
        """What the node is for; `None` where there is nothing to do."""
        raise NotImplementedError

    async def aact(self, state: object, config: RunnableConfig) -> BudgetState | None:
        """Do as `act`, in a coroutine."""
        return await asyncio.to_thread(self.act, state, config)


class BudgetNode(Node):
    """Decides how much the task deserves and writes the decision to `state["budget"]`.

    From then on the model calls of the same graph run are booked to the decision, until `SettleNode` or the next decision.

    Args:
        router: makes and keeps the decision.
        task_from: key of the state that holds the task, or a function of the state; see `budget_router_langgraph.task_from`. A
            function is given the user's whole state; then `budget` is kept if the graph routes by strategy, settles, or has it
            in its schema.
        group: budget that the tasks draw on, unless the task names one; a name, or a function of the state.
        per_task: what each task is allowed in place of the budget's average; a number, or a function of the state.
        strategy: that each task gets, whatever the policy says; a name, or a function of the state that may return `None`.
        override: whether a run may ask for its own `group`, `per_task` or `strategy`, by `budget_router` in its context or in the
            `configurable` of its config (`BudgetOverride`). Say `False` where a run's config comes from outside.
        facts_from: function of the state to facts that policies learn from, kept in the task's metadata; `None`: none. Other than
            the default one it is given the user's whole state too.
    """

    name = "budget"
    event = "budget_decision"

    def __init__(
        self,
        router: BudgetRouter,
        task_from: TaskSource | None = None,
        group: NameSource | None = None,
        *,
        per_task: NumberSource | None = None,
        strategy: NameSource | None = None,
        override: bool = True,
        facts_from: FactSource | None = agent_facts,
    ) -> None:
        self.router = router
        self.wants = Wants(task_from, facts_from, group, per_task, strategy, override)
        watch(router)
        read_also(self, *self.wants.sources)

    def act(self, state: object, config: RunnableConfig) -> BudgetState:
        """Decide on the task of a state."""
        place = place_of(config)
        return self._told(state, place, decide(self.router, self.wants.of(state, config, self.router, place), place))

    async def aact(self, state: object, config: RunnableConfig) -> BudgetState:
        """Do as `act`, in a coroutine; a state that takes its time is read in a thread."""
        place = place_of(config)
        read = partial(self.wants.of, state, config, self.router, place)
        wanted = read() if self.wants.is_read_at_once(self.router) else await asyncio.to_thread(read)
        return self._told(state, place, await adecide(self.router, wanted, place))

    def _told(self, state: object, place: Place, decision: Decision) -> BudgetState:
        """Let the graph's calls be booked to a decision, and tell of it."""
        if place.graph_run_id is not None and meter.is_running(place.graph_run_id):  # a cancelled graph may be gone by now
            meter.bind(place.graph_run_id, Booking(self.router, decision))
        return decided(decision, field_of(state, "budget"))


class SettleNode(Node):
    """Settles the decision in `state["budget"]` with all the calls that the ledger has of it, and writes the spend there.

    Args:
        router: that made the decision.
        answer: finds the answer in the last reply, for the record.
        answer_key: where the reply stands when the state has no `messages`.
    """

    name = "settle"
    event = "budget_settlement"

    def __init__(self, router: BudgetRouter, answer: AnswerRule = final_answer, *, answer_key: str = "answer") -> None:
        self.router = router
        self.answer = answer
        self.answer_key = answer_key
        read_also(self, answer_key)

    def act(self, state: object, config: RunnableConfig) -> BudgetState:
        """Settle the decision of a state; one that is settled already stays as it is."""
        budget = budget_of(state)
        decision_id = budget["decision_id"]
        place = place_of(config)
        was_paid = place.run_id is not None and meter.unbind(place.run_id, decision_id)
        logged = self.router.ledger.decision(decision_id)
        text = last_reply(field_of(state, "messages")) or field_of(state, self.answer_key)
        found = (self.answer(text) or None) if isinstance(text, str) else None
        if logged.settlement is not None:
            if not was_paid and logged.decision.run_id != place.run:
                _log.warning(
                    "decision %s was settled in another run: if its BudgetNode has a cache_policy, take it off, for what models "
                    "bill after a decision out of a cache is booked nowhere",
                    decision_id,
                )
            return settled(budget, logged.settlement.spend, found, logged.settlement.agreement)
        spend = Spend.of(logged.calls, seconds=busy_seconds(logged.calls))
        self.router.settle(logged.decision, spend, result=Result(str(text or ""), found, None, ()))
        return settled(budget, spend, found, None)


def route_by_strategy(mapping: Mapping[str, str], default: str | None = None) -> Callable[[Budgeted], str]:
    """Route to the user's own nodes, for `add_conditional_edges`: strategy name → node name.

    The targets stand in the route's return type, so that drawings of the graph show the edges.

    Args:
        mapping: node of each strategy, by the strategy's name.
        default: node of all others; without one an unknown strategy raises InvalidInput.
    """
    targets = tuple(dict.fromkeys([*mapping.values(), *([default] if default else [])]))
    if not targets:
        raise InvalidInput("no routes: give at least one, route_by_strategy({'single_shot': 'node'})")

    def route(state: Budgeted) -> str:
        strategy = budget_of(state)["strategy"]
        target = mapping.get(strategy, default)
        if target is None:
            raise InvalidInput(f"no route for strategy {strategy!r}: there are {', '.join(mapping)}; add it, or give default=")
        return target

    route.__annotations__["return"] = Literal[targets]
    return route
