"""Where in a graph a decision is made: whose task, which thread, under which run; and the events that tell of it."""

import asyncio
import logging
import weakref
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import RunnableConfig
from langgraph.runtime import get_runtime
from langgraph.types import Command, StreamWriter

from budget_router.deciding import Asked, Opens, opens_nothing
from budget_router.errors import LedgerError, UnknownDecision
from budget_router.records import Decision, now
from budget_router.router import BudgetRouter
from budget_router.task import Task
from budget_router_langchain import Booking, meter
from budget_router_langchain.progress import AsyncOnEvent, OnEvent, is_heard, unharmed
from budget_router_langchain.sent import most_tokens

_log = logging.getLogger("budget_router")

_routers: weakref.WeakSet[BudgetRouter] = weakref.WeakSet()


class Place(NamedTuple):
    """Where a node runs."""

    task_id: str | None
    """LangGraph's id of this execution of the node: the same again after a retry or a resume, another one in each loop."""
    thread_id: str | None
    run_id: UUID | None
    """The run that the node's own calls are children of."""
    graph_run_id: UUID | None
    """The run of the graph that the node stands in."""
    run: str | None
    """The run of the outermost graph or chain: what the user invoked."""


def parent_of(config: RunnableConfig) -> UUID | None:
    """The run that what is done under a config is a child of; `None` outside of any."""
    return getattr(config.get("callbacks"), "parent_run_id", None)


def place_of(config: RunnableConfig) -> Place:
    """Tell where a node runs; every part of it may be unknown, outside of a graph all of them."""
    info = None
    with suppress(RuntimeError, KeyError, AttributeError):
        info = get_runtime().execution_info
    metadata = config.get("metadata") or {}
    namespace = metadata.get("langgraph_checkpoint_ns")
    thread_id = info.thread_id if info else metadata.get("thread_id")
    run_id = parent_of(config)
    return Place(
        task_id=info.task_id if info else namespace.rpartition(":")[2] if namespace else None,
        thread_id=None if thread_id is None else str(thread_id),
        run_id=run_id,
        graph_run_id=run_id and meter.enclosing(run_id),
        run=None if run_id is None else str(meter.root(run_id)),
    )


class Wanted(NamedTuple):
    """What is to be decided on."""

    task: Task
    per_task: float | None
    """What the task is allowed; `None`: the budget's average."""
    strategy: str | None
    """What the caller chose; `None`: nothing."""
    sent: LanguageModelInput | None
    """What models are sent for each answer, where that is known."""


def decide(router: BudgetRouter, wanted: Wanted, place: Place) -> Decision:
    """Decide once per execution of a node, however often it is retried or resumed; one that is settled already is closed."""
    for attempt in count(1):
        began = now()
        decision = router.decide(wanted.task, **_asked(router, wanted, place, attempt))
        if _is_fresh(decision, place, began) or _is_open(router, decision):
            return decision
    raise AssertionError("count() does not end")


async def adecide(router: BudgetRouter, wanted: Wanted, place: Place, *, opens: Opens = opens_nothing) -> Decision:
    """Do as `decide`, in a coroutine; `opens` is as the router takes it."""
    for attempt in count(1):
        began = now()
        decision = await router.adecide(wanted.task, opens=opens, **_asked(router, wanted, place, attempt))
        if _is_fresh(decision, place, began) or await asyncio.to_thread(_is_open, router, decision):
            return decision
    raise AssertionError("count() does not end")


def _asked(router: BudgetRouter, wanted: Wanted, place: Place, attempt: int) -> Asked:
    return {
        "strategy": wanted.strategy,
        "per_task": wanted.per_task,
        "prompt_tokens": most_tokens(wanted.sent) if wanted.sent and router.is_capped else None,
        "decision_id": place.task_id and (place.task_id if attempt == 1 else f"{place.task_id}.{attempt}"),
        "run_id": place.run,
        "thread_id": place.thread_id,
    }


def _is_fresh(decision: Decision, place: Place, began: datetime) -> bool:
    """Whether it was made just now, so nobody can have settled it."""
    return place.task_id is None or decision.decided_at >= began


def _is_open(router: BudgetRouter, decision: Decision) -> bool:
    return router.ledger.decision(decision.id).settlement is None


def watch(router: BudgetRouter) -> None:
    """Let a router's unsettled decisions be found when their threads are resumed."""
    _routers.add(router)


def teller(config: RunnableConfig) -> OnEvent | None:
    """`emit` for an execution; `None` where nobody would hear it: to tell nobody of each sample takes its time too."""
    return partial(emit, config=config) if _is_followed(config) else None


def ateller(config: RunnableConfig) -> AsyncOnEvent | None:
    """Do as `teller`, for a coroutine."""
    return partial(aemit, config=config) if _is_followed(config) else None


def emit(name: str, event: Mapping[str, object], config: RunnableConfig) -> None:
    """Tell whoever listens: `stream_mode="custom"` and `astream_events`; outside a graph nobody does, and an error is logged."""
    with unharmed(name):
        _write(name, event)
        if _is_in_a_heard_run(config):
            dispatch_custom_event(name, dict(event), config=config)


async def aemit(name: str, event: Mapping[str, object], config: RunnableConfig) -> None:
    """Do as `emit`, in a coroutine."""
    with unharmed(name):
        _write(name, event)
        if _is_in_a_heard_run(config):
            await adispatch_custom_event(name, dict(event), config=config)


def _is_followed(config: RunnableConfig) -> bool:
    return _writer() is not None or _is_in_a_heard_run(config)


def _is_in_a_heard_run(config: RunnableConfig) -> bool:
    return is_heard(config) and parent_of(config) is not None


def _write(name: str, event: Mapping[str, object]) -> None:
    if (write := _writer()) is not None:
        write({name: dict(event)})


def _writer() -> StreamWriter | None:
    """Takes events of the graph around; `None` outside of any, and where nobody asked for `stream_mode="custom"`."""
    try:
        writer = get_runtime().stream_writer
    except (RuntimeError, KeyError, AttributeError):
        return None
    code = getattr(writer, "__code__", None)  # LangGraph's own, which does nothing then, has no other mark
    return None if code is not None and code.co_code == _does_nothing.__code__.co_code else writer


def _does_nothing(_: object) -> None:
    pass


def _of_resumed_thread(inputs: object, metadata: Mapping[str, Any]) -> Booking | None:  # Any: LangChain's own metadata
    """Find the decision that a resumed run goes on with: the latest of its thread, unless it is settled.

    A replay may begin after a decision that was settled long ago. What models bill then is booked to it all the same, as late.
    """
    thread_id = metadata.get("thread_id")
    if thread_id is None or not (inputs is None or isinstance(inputs, Command)):
        return None
    found: list[Booking] = []
    for router in list(_routers):
        try:
            logged = router.ledger.latest(thread_id=str(thread_id))
        except UnknownDecision:
            continue
        except LedgerError as error:
            _log.warning("thread %s is resumed, and the calls of its open decision go unmetered: %s", thread_id, error)
            continue
        if logged.settlement is None or "checkpoint_id" in metadata:
            found.append(Booking(router, logged.decision))
    return max(found, key=lambda booking: booking.decision.decided_at, default=None)  # graphs may name their threads alike


meter.finders.append(_of_resumed_thread)
