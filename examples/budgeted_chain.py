"""A chain with a budget: a decorator decides how much each question deserves, votes, and books what was spent.

Run it as it is: the chat model below is scripted and needs no network. For a real one, pass any chat model of LangChain's,
such as `init_chat_model("openai:gpt-4o-mini")`.
"""

from itertools import count
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from budget_router import Budget, BudgetRouter, ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.strategies import last_number
from budget_router_langchain import budgeted

_replies = count()


class Student(BaseChatModel):
    """Answers offline, and is wrong every third time."""

    @property
    def _llm_type(self) -> str:
        return "student"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        n_tokens = 60 if "step by step" in str(messages[0].text) else 30
        wrong = next(_replies) % 3 == 2 and n_tokens == 30
        usage = {"input_tokens": 12, "output_tokens": n_tokens, "total_tokens": 12 + n_tokens}
        reply = AIMessage(f"All but 9 ran away, so {8 if wrong else 9} are left", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=reply)])


menu = Menu(
    [
        SingleShot(typical_completion_tokens=30),
        SelfConsistency(k=5, typical_completion_tokens=30),
        ExtendedCoT(instruction="Think step by step.", typical_completion_tokens=60),
    ]
)
router = BudgetRouter(menu, Budget(per_task=90, unit="tokens"), seed=3)


@budgeted(router, answer=last_number)
def solve() -> Runnable[Any, str]:
    prompt = ChatPromptTemplate.from_messages([("system", "Answer briefly."), ("human", "{question}")])
    return prompt | Student() | StrOutputParser()


def main() -> None:
    question = {"question": "A farmer has 17 sheep. All but 9 run away. How many are left?"}
    for _ in range(6):
        _, receipt = solve.with_receipt(question)
        router.grade(receipt.decision_id, score=float(receipt.answer == "9"))
        tokens = receipt.spend.in_unit("tokens")
        print(f"{receipt.strategy:<20} answer {receipt.answer}  agreement {receipt.agreement:.1f}  {tokens:>4.0f} tokens")

    forced = {"configurable": {"budget_strategy": "self_consistency_5"}}
    print("forced to a vote:", solve.invoke(question, forced))
    print("streamed:", "".join(solve.stream(question, {"configurable": {"budget_strategy": "single_shot"}})))


if __name__ == "__main__":
    main()
