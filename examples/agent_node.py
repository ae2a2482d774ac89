"""One node in an agent graph: it decides how much each question deserves, answers it, and books what was spent.

Run it as it is: the chat model below is scripted and needs no network. For a real one, pass any chat model of LangChain's,
such as `init_chat_model("openai:gpt-4o-mini")`.
"""

from itertools import count
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router_langgraph import budgeted_reasoner

_replies = count()


class Student(BaseChatModel):
    """Answers offline, and is wrong every third time."""

    temperature: float = 1.0

    @property
    def _llm_type(self) -> str:
        return "student"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        answer = "67" if next(_replies) % 3 == 2 else "68"
        n_tokens = len(str(messages[-1].text).split())
        usage = {"input_tokens": n_tokens, "output_tokens": 30, "total_tokens": n_tokens + 30}
        reply = AIMessage(f"27 + 41: 7 + 1 = 8, 20 + 40 = 60.\nAnswer: {answer}", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=reply)])


def main() -> None:
    menu = Menu([SingleShot(typical_completion_tokens=30), SelfConsistency(k=5, typical_completion_tokens=30)])
    router = BudgetRouter(menu, Budget(per_task=150, unit="tokens"), seed=1)

    graph = StateGraph(MessagesState)
    graph.add_node("reason", budgeted_reasoner(router, Student()))
    graph.add_edge(START, "reason")
    agent = graph.compile(checkpointer=InMemorySaver())

    for turn in range(6):
        thread = {"configurable": {"thread_id": f"thread-{turn}"}}
        reply = agent.invoke({"messages": [("user", "What is 27 + 41?")]}, thread)["messages"][-1]
        budget = reply.response_metadata["budget_router"]
        spend = budget["spend"]
        tokens = spend["prompt_tokens"] + spend["completion_tokens"]
        print(f"{budget['strategy']:<20} answer {budget['answer']}  agreement {budget['agreement']:.1f}  {tokens:>4} tokens")
        router.grade(thread_id=f"thread-{turn}", score=float(budget["answer"] == "68"))

    spent = [entry.settlement.spend for entry in router.ledger.read() if entry.settlement]
    print(f"mean spend {sum(spend.in_unit('tokens') for spend in spent) / len(spent):.0f} tokens, budget {router.budgets[None]}")


if __name__ == "__main__":
    main()
