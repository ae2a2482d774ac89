"""A tool-using agent with a budget: a middleware decides how often its model is asked, and the majority's tool call is made.

Run it as it is: the chat model below is scripted and needs no network. For a real one, pass any chat model of LangChain's,
such as `init_chat_model("openai:gpt-4o-mini")`.
"""

from itertools import count
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router_agents import BudgetMiddleware

_replies = count()


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Student(BaseChatModel):
    """Answers offline, and every third time calls the tool with a wrong number."""

    @property
    def _llm_type(self) -> str:
        return "student"

    def bind_tools(self, *_: Any, **__: Any) -> Any:
        """Take whatever tools there are: the script knows only one."""
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        usage = {"input_tokens": 60, "output_tokens": 20, "total_tokens": 80}
        if isinstance(messages[-1], ToolMessage):
            reply = AIMessage(f"Answer: {messages[-1].text}", usage_metadata=usage)
        else:
            wish = {"name": "multiply", "args": {"a": 17, "b": 32 if next(_replies) % 3 == 2 else 23}, "id": "1"}
            reply = AIMessage("", tool_calls=[wish], usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=reply)])


def main() -> None:
    menu = Menu([SingleShot(typical_completion_tokens=20), SelfConsistency(k=5, typical_completion_tokens=20)])
    router = BudgetRouter(menu, Budget(per_task=500, unit="tokens"), seed=2)
    agent = create_agent(Student(), [multiply], middleware=[BudgetMiddleware(router)])

    for _ in range(6):
        reply = agent.invoke({"messages": [("user", "What is 17 times 23?")]})["messages"][-1]
        budget = reply.response_metadata["budget_router"]
        router.grade(budget["decision_id"], score=float(budget["answer"] == "391"))

    for entry in router.ledger.read():
        assert entry.settlement is not None
        assert entry.outcome is not None
        score, tokens = entry.outcome.score, entry.settlement.spend.in_unit("tokens")
        print(f"{entry.decision.strategy.name:<20} {len(entry.calls):>2} calls  {tokens:>5.0f} tokens  score {score:.0f}")


if __name__ == "__main__":
    main()
