"""A graph for LangGraph's server, as `langgraph.json` beside this file names it: `langgraph dev` serves it.

The server brings the checkpointer. The books stay where `LEDGER_URL` says, in spend.db unless told otherwise, and all workers
that share them keep one average. The chat model is scripted and needs no network; put `init_chat_model(...)` in its place.
"""

import os
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, MessagesState, StateGraph

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router_langgraph import budgeted_reasoner
from budget_router_sql import SqlLedger


class Student(BaseChatModel):
    """Answers offline."""

    @property
    def _llm_type(self) -> str:
        return "student"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        reply = AIMessage("Answer: 68", usage_metadata={"input_tokens": 12, "output_tokens": 30, "total_tokens": 42})
        return ChatResult(generations=[ChatGeneration(message=reply)])


ledger = SqlLedger(os.environ.get("LEDGER_URL", "sqlite:///spend.db"))
router = BudgetRouter(Menu([SingleShot(), SelfConsistency(k=5)]), Budget(per_task=800, unit="tokens"), ledger=ledger)

graph = StateGraph(MessagesState)
graph.add_node("reason", budgeted_reasoner(router, Student()))
graph.add_edge(START, "reason")
agent = graph.compile()
