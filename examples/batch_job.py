"""A batch job under a budget in USD: questions are answered side by side, graded where the truth is known, and told at the end.

Run it as it is: the chat model below is scripted and needs no network. The books stay in jobs.db.
"""

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot, Tariff, Tariffs
from budget_router_langchain import budget
from budget_router_sql import SqlLedger


class Adder(BaseChatModel):
    """Adds offline."""

    model_name: str = "adder-1"
    temperature: float = 1.0

    @property
    def _llm_type(self) -> str:
        return "adder"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        one, other = (int(word) for word in str(messages[-1].text).strip("?").split(" + "))
        usage = {"input_tokens": 15, "output_tokens": 8, "total_tokens": 23}
        reply = AIMessage(f"Answer: {one + other}", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=reply)])


def main() -> None:
    menu = Menu([SingleShot(typical_completion_tokens=8), SelfConsistency(k=5, typical_completion_tokens=8)])
    with SqlLedger("sqlite:///jobs.db", store_text="none") as ledger:  # no prompt is kept
        router = BudgetRouter(
            menu,
            Budget(per_task=0.0002, unit="usd"),
            ledger=ledger,
            tariffs=Tariffs({"adder-1": Tariff(prompt="2", completion="8")}),  # USD per million tokens
            model="adder-1",
            seed=1,
        )
        answer = budget(ChatPromptTemplate.from_template("{question}") | Adder(), router=router, max_concurrency=4)

        pairs = [(17 * one, 23 + one) for one in range(30)]
        questions = [{"question": f"{one} + {other}?"} for one, other in pairs]
        receipts = answer.receipts().batch(questions, {"max_concurrency": 8}, return_exceptions=True)

        spent = []
        for (one, other), receipt in zip(pairs, receipts, strict=True):
            if isinstance(receipt, Exception):
                print(f"{one} + {other} failed: {receipt}")
                continue
            router.grade(receipt.decision_id, score=float(receipt.answer == str(one + other)))
            spent.append(receipt.spend.in_unit("usd"))
        votes = sum(receipt.strategy != "single_shot" for receipt in receipts)
        print(f"{len(spent)} answers, {votes} of them by a vote; {1e6 * sum(spent) / len(spent):.0f} of 200 micro-USD each")


if __name__ == "__main__":
    main()
