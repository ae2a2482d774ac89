"""What the graphs of the LangGraph benchmark are made of: a model with a real provider's invoice, and steps under a budget."""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from budget_router import Budget, BudgetRouter, ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router_langgraph import BudgetNode, SettleNode, budgeted_reasoner
from budget_router_sql import SqlLedger

MENU = Menu([SingleShot(), SelfConsistency(k=3), ExtendedCoT(instruction="Think.")])
BUDGET = Budget(per_task=1e5)
STEPS = {"plan": "single_shot", "work": "self_consistency_3", "criticise": "extended_cot"}
"""Steps that decide, draw and settle in one node, and the strategy of each: that of an uninterrupted run."""
OWN = "single_shot"
"""Strategy of a step that the user's own node takes, after a decision and before its settlement."""
GIVEN = {"question": "A farmer has 17 sheep. All but 9 run away. How many are left?"}
CALL_SECONDS = 0.02
PROMPT_TOKENS, COMPLETION_TOKENS = 20, 10
THREAD: Any = {"configurable": {"thread_id": "t"}}
WAITED: ContextVar[list[float] | None] = ContextVar("waited", default=None)
"""Takes the seconds that each call of a model made one wait."""


class State(TypedDict, total=False):
    """What the graph keeps."""

    question: str
    answer: str


class Provider(BaseChatModel):
    """Answers after a while, and writes each request that it bills into its invoice before it answers."""

    invoice: str | None = None
    """File with a line for each request: the run that LangChain knows the call by."""
    seconds: float = CALL_SECONDS

    @property
    def _llm_type(self) -> str:
        return "provider"

    def _generate(self, messages: list[BaseMessage], *_: Any, run_manager: Any = None, **__: Any) -> ChatResult:  # noqa: ARG002
        time.sleep(random.uniform(0.5, 1.5) * self.seconds)  # noqa: S311  # no secret
        return self._billed(run_manager)

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, run_manager: Any = None, **__: Any) -> ChatResult:  # noqa: ARG002
        began = time.perf_counter()
        await asyncio.sleep(random.uniform(0.5, 1.5) * self.seconds)  # noqa: S311  # no secret
        if (waited := WAITED.get()) is not None:
            waited.append(time.perf_counter() - began)
        return self._billed(run_manager)

    def _billed(self, run_manager: Any) -> ChatResult:  # Any: LangChain's manager of a sync or an async run
        if self.invoice is not None:
            file = os.open(self.invoice, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, f"{run_manager.run_id}\n".encode())
            os.close(file)
        usage: Any = {  # Any: LangChain's typed dict
            "input_tokens": PROMPT_TOKENS,
            "output_tokens": COMPLETION_TOKENS,
            "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
        }
        reply = AIMessage("Answer: 9", usage_metadata=usage, response_metadata={"model_name": "provider"})
        return ChatResult(generations=[ChatGeneration(message=reply)])


def graph_of(router: BudgetRouter, model: BaseChatModel) -> StateGraph[Any, Any, Any, Any]:  # Any: LangGraph's own parameters
    """Three budgeted reasoners, then a decision, the user's own node, and the settlement."""
    graph = StateGraph(State)
    before = START
    for name, strategy in STEPS.items():
        graph.add_node(name, budgeted_reasoner(router, model, strategy=strategy))
        graph.add_edge(before, name)
        before = name
    graph.add_node("budget", BudgetNode(router, strategy=OWN))
    graph.add_node("own", lambda state: {"answer": model.invoke(state["question"]).text})
    graph.add_node("settle", SettleNode(router))
    graph.add_edge(before, "budget")
    graph.add_edge("budget", "own")
    graph.add_edge("own", "settle")
    return graph


@contextmanager
def app_in(folder: Path) -> Iterator[tuple[Any, BudgetRouter]]:  # Any: a compiled graph
    """The graph with a checkpointer and a ledger, each in a file of its own."""
    with SqlLedger(f"sqlite:///{folder}/spend.db") as ledger, SqliteSaver.from_conn_string(f"{folder}/checkpoints.db") as saver:
        router = BudgetRouter(MENU, BUDGET, ledger=ledger)
        yield graph_of(router, Provider(invoice=f"{folder}/invoice")).compile(checkpointer=saver), router


def run_on(folder: Path) -> None:
    """Begin the thread, or go on with it, and end it; one that has ended stays as it is."""
    with app_in(folder) as (app, _):
        given = None if app.get_state(THREAD).values else GIVEN  # of a thread that has ended None runs nothing
        app.invoke(given, THREAD, durability="sync")  # else the thread falls back behind its books
