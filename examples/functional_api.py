"""LangGraph's functional API: a task with a budget inside a workflow, whose finished tasks are not paid for twice.

Run it as it is: the chat model below is scripted and needs no network.
"""

from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, interrupt

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router_langchain import budgeted

invoice: list[int] = []


class Student(BaseChatModel):
    """Answers offline."""

    @property
    def _llm_type(self) -> str:
        return "student"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        invoice.append(42)
        reply = AIMessage("Answer: 68", usage_metadata={"input_tokens": 12, "output_tokens": 30, "total_tokens": 42})
        return ChatResult(generations=[ChatGeneration(message=reply)])


def main() -> None:
    menu = Menu([SingleShot(typical_completion_tokens=30), SelfConsistency(k=5, typical_completion_tokens=30)])
    router = BudgetRouter(menu, Budget(per_task=150, unit="tokens"), seed=1)

    @task
    @budgeted(router)
    def solve(question: str) -> str:
        return str(Student().invoke(question).text)

    @entrypoint(checkpointer=InMemorySaver())
    def workflow(questions: list[str]) -> list[str]:
        answers = [solve(question) for question in questions]  # side by side
        found = [answer.result() for answer in answers]
        return found if interrupt({"found": found}) else []

    thread = {"configurable": {"thread_id": "t-1"}}
    run_id = uuid4()
    workflow.invoke(["What is 27 + 41?", "And 41 + 27?"], {**thread, "run_id": run_id})
    n_before = len(invoice)
    print(workflow.invoke(Command(resume=True), thread))
    router.grade(run_id=str(run_id), score=1.0)  # both decisions of the first run

    entries = list(router.ledger.read())
    for entry in entries:
        print(f"{entry.decision.strategy.name:<20} {len(entry.calls)} calls  score {entry.outcome and entry.outcome.score}")
    assert len(invoice) == n_before == sum(len(entry.calls) for entry in entries)
    assert [entry.outcome and entry.outcome.score for entry in entries] == [1.0, 1.0]


if __name__ == "__main__":
    main()
