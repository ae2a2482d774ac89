"""Your own reasoning steps behind a budget: a node decides, the graph branches by strategy, a node settles what was spent.

Run it as it is: the chat model below is scripted and needs no network.
"""

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, MessagesState, StateGraph

from budget_router import Budget, BudgetRouter, ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.strategies import final_answer, majority
from budget_router_langgraph import BudgetNode, SettleNode, route_by_strategy


class Student(BaseChatModel):
    """Answers offline."""

    @property
    def _llm_type(self) -> str:
        return "student"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        n_tokens = 400 if "step by step" in str(messages[0].text) else 40
        usage = {"input_tokens": 12, "output_tokens": n_tokens, "total_tokens": 12 + n_tokens}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Answer: 68", usage_metadata=usage))])


model = Student()


def quick(state: MessagesState) -> dict[str, Any]:
    return {"messages": [model.invoke(state["messages"])]}


def vote(state: MessagesState) -> dict[str, Any]:
    replies = model.batch([state["messages"]] * 5)
    winner = majority([final_answer(str(reply.text)) for reply in replies]).winner
    return {"messages": [replies[winner or 0]]}


def think(state: MessagesState) -> dict[str, Any]:
    return {"messages": [model.invoke([("system", "Think step by step."), *state["messages"]])]}


def main() -> None:
    menu = Menu([SingleShot(), SelfConsistency(k=5), ExtendedCoT(effort="high")])
    router = BudgetRouter(menu, Budget(per_task=800, unit="tokens"), seed=1)

    graph = StateGraph(MessagesState)
    graph.add_node("budget", BudgetNode(router))  # decides; writes state["budget"], plain JSON
    graph.add_node("quick", quick)
    graph.add_node("vote", vote)
    graph.add_node("think", think)
    graph.add_node("settle", SettleNode(router))  # what was really spent goes into the ledger
    graph.add_edge(START, "budget")
    routes = {"single_shot": "quick", "self_consistency_5": "vote", "extended_cot_high": "think"}
    graph.add_conditional_edges("budget", route_by_strategy(routes))
    for step in routes.values():
        graph.add_edge(step, "settle")
    agent = graph.compile()

    for _ in range(6):
        agent.invoke({"messages": [("user", "What is 27 + 41?")]})
    for entry in router.ledger.read():
        assert entry.settlement is not None
        tokens = entry.settlement.spend.in_unit("tokens")
        print(f"{entry.decision.strategy.name:<20} {len(entry.calls)} calls  {tokens:>4.0f} tokens")


if __name__ == "__main__":
    main()
