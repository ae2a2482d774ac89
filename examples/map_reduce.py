"""Map and reduce: a question falls into parts, each is reasoned about under the budget side by side, and one verdict grades all.

Run it as it is: the chat model below is scripted and needs no network.
"""

import operator
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router.strategies import last_number
from budget_router_langchain import budget
from budget_router_langgraph import GradeNode


class Adder(BaseChatModel):
    """Adds offline."""

    @property
    def _llm_type(self) -> str:
        return "adder"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        total = sum(int(word) for word in str(messages[-1].text).split(" + "))
        reply = AIMessage(f"Answer: {total}", usage_metadata={"input_tokens": 5, "output_tokens": 10, "total_tokens": 15})
        return ChatResult(generations=[ChatGeneration(message=reply)])


class Part(TypedDict):
    """What a branch is sent."""

    part: str


class State(TypedDict, total=False):
    """What the graph keeps."""

    parts: list[str]
    sums: Annotated[list[int], operator.add]
    total: int


def main() -> None:
    menu = Menu([SingleShot(typical_completion_tokens=10), SelfConsistency(k=5, typical_completion_tokens=10)])
    router = BudgetRouter(menu, Budget(per_task=45, unit="tokens"), seed=1)
    add = budget(Adder(), router=router, answer=last_number)  # a decision for each part

    def solve(state: Part) -> dict[str, Any]:
        return {"sums": [int(last_number(str(add.invoke(state["part"]).text)))]}

    def combine(state: State) -> dict[str, Any]:
        return {"total": sum(state["sums"])}

    graph = StateGraph(State)
    graph.add_node("solve", solve)
    graph.add_node("combine", combine)
    graph.add_node("grade", GradeNode(router, lambda state: state["total"] == 108, of="run"))
    graph.add_conditional_edges(START, lambda state: [Send("solve", {"part": part}) for part in state["parts"]], ["solve"])
    graph.add_edge("solve", "combine")
    graph.add_edge("combine", "grade")

    result = graph.compile().invoke({"parts": ["1 + 7", "20 + 40", "19 + 21"]})
    print(f"{' + '.join(map(str, result['sums']))} = {result['total']}")
    entries = list(router.ledger.read())
    for entry in entries:
        print(f"{entry.task_text:<8} {entry.decision.strategy.name:<20} {len(entry.calls)} calls")

    assert sorted(str(entry.task_text) for entry in entries) == ["1 + 7", "19 + 21", "20 + 40"]
    assert all(len(entry.calls) == entry.decision.strategy.n_samples for entry in entries)
    assert all(entry.outcome and entry.outcome.score == 1.0 for entry in entries)


if __name__ == "__main__":
    main()
