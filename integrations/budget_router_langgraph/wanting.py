"""What a node is to decide on: a state's task, and on which budget, at which average, as the node, the state or the run say."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import get_runtime
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from budget_router.errors import InvalidInput
from budget_router.router import BudgetRouter
from budget_router.task import Task
from budget_router_langchain.asked import TaskSource, field_of, task_from
from budget_router_langgraph.deciding import Place, Wanted
from budget_router_langgraph.facts import FactSource, agent_facts

OVERRIDE_KEY = "budget_router"
"""Where a run says what it asks for: in its `context`, or in the `configurable` of its config."""

CAP_LEFT = "agent.cap_left"
"""Of a task's metadata: the share that is left of the hard cap, where there is one."""

T = TypeVar("T")
NameSource = str | Callable[[Any], str | None]
"""A name, or a function of the user's own state that may know none; Any: dict, dataclass or pydantic."""
NumberSource = float | Callable[[Any], float | None]
"""A number, or a function of the user's own state that may know none; Any: as above."""


class BudgetOverride(TypedDict, total=False):
    """What a run may ask for, whatever its nodes, states and tasks say."""

    group: str
    """Budget that its tasks draw on."""
    per_task: float
    """What each of its tasks is allowed in place of the average, in the budget's unit."""
    strategy: str
    """Name of the strategy that each of its tasks gets; the decisions are marked as forced."""


class Wants(NamedTuple):
    """What a node was told of its tasks; see `BudgetNode`."""

    task_from: TaskSource | None
    facts_from: FactSource | None
    group: NameSource | None
    per_task: NumberSource | None
    strategy: NameSource | None
    override: bool

    @property
    def sources(self) -> list[object]:
        """Keys of the state that it is read from, and functions of all of it."""
        told = [self.task_from, self.group, self.per_task, self.strategy, self.facts_from]
        return [self.task_from, *(one for one in told if callable(one) and one is not agent_facts)]

    def is_read_at_once(self, router: BudgetRouter) -> bool:
        """Whether a state is read without a function of the user's and without a look at a hard cap: both may take their time."""
        return not router.is_capped and all(one is agent_facts or not callable(one) for one in self[:-1])

    def of(self, state: object, config: RunnableConfig, router: BudgetRouter, place: Place) -> Wanted:
        """Read a state; raises InvalidTask without a task, and InvalidInput where a run asks for what it may not."""
        asked = self._asked(config)
        facts = {} if self.facts_from is None else self.facts_from(state)
        task = task_from(state, self.task_from, group=_value(self.group, state), facts=facts)
        if "group" in asked:
            task = task.model_copy(update={"group": asked["group"]})
        per_task = asked.get("per_task", _value(self.per_task, state))
        strategy = asked.get("strategy", _value(self.strategy, state))
        if self.facts_from is agent_facts and (left := _cap_left(router, task, place)) is not None:
            task = task.model_copy(update={"metadata": {CAP_LEFT: left, **task.metadata}})
        return Wanted(task, per_task, strategy, field_of(state, "messages"))

    def _asked(self, config: RunnableConfig) -> BudgetOverride:
        """What the run asks for; its context counts where the config says something else."""
        context = None
        with suppress(RuntimeError, KeyError, AttributeError):  # outside of a graph there is none
            context = get_runtime().context
        asked: BudgetOverride = {}
        for said in ((config.get("configurable") or {}).get(OVERRIDE_KEY), field_of(context, OVERRIDE_KEY)):
            if said is not None:
                asked.update(_checked(said))
        if asked and not self.override:
            raise InvalidInput(
                f"this run asks for its own {', '.join(asked)} by {OVERRIDE_KEY!r}, and the node has override=False: leave it out"
            )
        return asked


def _checked(said: object) -> BudgetOverride:
    known = BudgetOverride.__annotations__
    if not isinstance(said, Mapping) or not set(said) <= set(known):
        found = ", ".join(map(repr, said)) if isinstance(said, Mapping) else repr(said)
        raise InvalidInput(f"{OVERRIDE_KEY!r} of the run is to be a dict with any of {', '.join(known)}: found {found}")
    return cast("BudgetOverride", said)


def _value(setting: T | Callable[[Any], T | None] | None, state: object) -> T | None:  # Any: as above
    return setting(state) if callable(setting) else setting


def _cap_left(router: BudgetRouter, task: Task, place: Place) -> float | None:
    return router.cap_left(task.group, run_id=place.run, thread_id=place.thread_id) if router.is_capped else None
