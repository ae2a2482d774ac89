"""A human in the loop: asked what to do where a hard cap runs short, and whether the answer is right.

Both are interrupts of the graph, which waits in its checkpointer until it is resumed. Run it as it is: both parts are scripted.
"""

from contextlib import suppress
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router.errors import CapReached
from budget_router_langgraph import GradeNode, ask_by_interrupt, budgeted_reasoner

CAP = 2000  # tokens a day


class Student(BaseChatModel):
    """Answers offline."""

    max_tokens: int | None = None

    @property
    def _llm_type(self) -> str:
        return "student"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        usage = {"input_tokens": 12, "output_tokens": 40, "total_tokens": 52}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Answer: 68", usage_metadata=usage))])


class State(TypedDict, total=False):
    """What the graph keeps."""

    question: str
    answer: str
    score: bool


def review(state: State) -> State:
    return {"score": interrupt({"question": "Is this right?", "answer": state["answer"]})}


def human(asked: dict[str, Any]) -> str | bool:
    """Look at the answer when asked for a verdict, and take what fits when asked for money."""
    if "answer" in asked:
        return "68" in str(asked["answer"])
    print(f"asked: {asked['question']}")
    return "cheapest" if asked["fitting"] else "refuse"


def main() -> None:
    menu = Menu([SingleShot(max_tokens=60), SelfConsistency(k=5, max_tokens=60)])
    budget = Budget(per_task=500, unit="tokens", hard_cap=CAP, window="day", on_shortage="ask")
    router = BudgetRouter(menu, budget, ask=ask_by_interrupt)
    steps = [("reason", budgeted_reasoner(router, Student())), review, ("grade", GradeNode(router))]
    agent = StateGraph(State).add_sequence(steps).add_edge(START, "reason").compile(checkpointer=InMemorySaver())

    with suppress(CapReached):  # the human's refusal
        for turn in range(100):
            thread = {"configurable": {"thread_id": f"thread-{turn}"}}
            result = agent.invoke({"question": "What is 27 + 41?"}, thread)
            while asked := result.get("__interrupt__"):
                result = agent.invoke(Command(resume=human(asked[0].value)), thread)

    entries = list(router.ledger.read())
    spent = sum(entry.settlement.spend.in_unit("tokens") for entry in entries if entry.settlement)
    print(f"{len(entries)} answers for {spent:.0f} of {CAP} tokens")
    assert CAP / 2 < spent <= CAP
    assert all(entry.outcome and entry.outcome.score == 1.0 for entry in entries)


if __name__ == "__main__":
    main()
