"""Checkpoints and books on disk: a worker dies in the middle of a run, and another one goes on with the same decision.

Run it as it is: the chat model below is scripted and needs no network, and both are SQLite files in a folder that is gone at the
end. Given the URL of a PostgreSQL database, both are kept there (`pip install langgraph-checkpoint-postgres`):

    python examples/checkpointers.py postgresql://user@host/agents
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router_langgraph import BudgetNode, SettleNode
from budget_router_sql import SqlLedger, migrate


class Student(BaseChatModel):
    """Answers offline."""

    @property
    def _llm_type(self) -> str:
        return "student"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        reply = AIMessage("Answer: 68", usage_metadata={"input_tokens": 12, "output_tokens": 30, "total_tokens": 42})
        return ChatResult(generations=[ChatGeneration(message=reply)])


@contextmanager
def worker(place: str, *, dies: bool = False) -> Iterator[tuple[Any, BudgetRouter]]:
    """All that a process has of its own: connections, router, graph."""
    if place.startswith("postgres"):
        from langgraph.checkpoint.postgres import PostgresSaver

        url, keep = place, PostgresSaver.from_conn_string(place)
        migrate(url)
    else:
        url, keep = f"sqlite:///{place}/spend.db", SqliteSaver.from_conn_string(f"{place}/threads.db")

    def think(state: MessagesState) -> dict[str, Any]:
        reply = Student().invoke(state["messages"])
        if dies:
            raise SystemExit("killed after the call was paid")
        return {"messages": [reply]}

    with SqlLedger(url) as ledger, keep as checkpointer:
        checkpointer.setup()
        router = BudgetRouter(Menu([SingleShot(), SelfConsistency(k=5)]), Budget(per_task=400, unit="tokens"), ledger=ledger)
        graph = StateGraph(MessagesState).add_sequence([("budget", BudgetNode(router)), think, ("settle", SettleNode(router))])
        yield graph.add_edge(START, "budget").compile(checkpointer=checkpointer), router


def main(place: str) -> None:
    thread = {"configurable": {"thread_id": uuid4().hex}}
    with worker(place, dies=True) as (agent, _), suppress(SystemExit):
        agent.invoke({"messages": [("user", "What is 27 + 41?")]}, thread)
    with worker(place) as (agent, router):
        print(agent.invoke(None, thread)["messages"][-1].text)
        entry = router.ledger.latest(thread_id=thread["configurable"]["thread_id"])
        print(f"one decision, {entry.decision.strategy.name}, billed {len(entry.calls)} calls by two workers")
        assert entry.settlement
        assert entry.settlement.spend.n_calls == len(entry.calls) == 2


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(sys.argv[1] if len(sys.argv) > 1 else folder)
