"""Three agents share one budget: a supervisor sends the question to a planner, a worker and a critic until the critic is content.

Each decides how much its own step deserves; what one spends, the others have less of. The critic's word grades the whole run.
Run it as it is: the chat model below is scripted and needs no network.
"""

from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency, SingleShot
from budget_router_langgraph import GradeNode, budgeted_reasoner

billed: list[int] = []


class Staff(BaseChatModel):
    """Plays all three, offline; the worker is wrong until it sees its own draft again."""

    @property
    def _llm_type(self) -> str:
        return "staff"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        role, text = (str(message.text) for message in messages)
        answers = {"planner": "add", "worker": "68" if "67" in text else "67", "critic": "good" if "68" in text else "redo"}
        usage = {"input_tokens": 10, "output_tokens": 30, "total_tokens": 40}
        billed.append(40)
        reply = AIMessage(f"Answer: {answers[role]}", usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=reply)])


class State(TypedDict, total=False):
    """What the agents leave each other."""

    question: str
    plan: str
    draft: str
    verdict: str


def supervise(state: State) -> Command[Literal["planner", "worker", "critic", "grade"]]:
    if "good" in (verdict := state.get("verdict", "")):
        return Command(goto="grade")
    if "redo" in verdict:
        return Command(goto="worker", update={"verdict": ""})  # which sees its draft
    return Command(goto="critic" if state.get("draft") else "worker" if state.get("plan") else "planner")


def main() -> None:
    menu = Menu([SingleShot(typical_completion_tokens=30), SelfConsistency(k=3, typical_completion_tokens=30)])
    router = BudgetRouter(menu, Budget(per_task=80, unit="tokens"), seed=3)

    graph = StateGraph(State).add_node("supervisor", supervise)
    reads = {"planner": "{question}", "worker": "{plan} {draft}", "critic": "{question} {draft}"}
    for (name, text), key in zip(reads.items(), ("plan", "draft", "verdict"), strict=True):
        prompt = ChatPromptTemplate([("system", name), ("human", text)])
        graph.add_node(name, budgeted_reasoner(router, Staff(), prompt, answer_key=key))
        graph.add_edge(name, "supervisor")
    graph.add_node("grade", GradeNode(router, lambda state: "good" in state["verdict"], of="run"))
    team = graph.add_edge(START, "supervisor").compile()

    print(team.invoke({"question": "What is 27 + 41?", "draft": ""})["draft"])
    entries = list(router.ledger.read())
    for entry in entries:
        print(f"{entry.decision.strategy.name:<20} {len(entry.calls)} calls  score {entry.outcome and entry.outcome.score}")

    assert len({entry.decision.run_id for entry in entries}) == 1
    assert all(entry.outcome and entry.outcome.score == 1.0 for entry in entries)
    assert sum(entry.settlement.spend.in_unit("tokens") for entry in entries if entry.settlement) == sum(billed)


if __name__ == "__main__":
    main()
