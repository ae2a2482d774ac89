"""The graphs of docs/langgraph.md: each runs without and with its change, which is three lines at most."""

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage

from budget_router import Budget, BudgetRouter, Menu, SelfConsistency
from tests.test_agents import AgentModel

GUIDE = (Path(__file__).parents[1] / "docs" / "langgraph.md").read_text()
DIFFS = dict(
    zip(
        re.findall(r"^### (.*)$", GUIDE, flags=re.MULTILINE),
        re.findall(r"```diff\n(.*?)```", GUIDE, flags=re.DOTALL),
        strict=True,
    )
)
MOST_CHANGED = 3


def reply(messages: list[Any]) -> AIMessage:
    """Multiply by the tool, then say what it gave; whatever else is asked is answered at once."""
    last = messages[-1]
    if isinstance(last, ToolMessage):
        return AIMessage(f"Answer: {last.text}")
    if "times" in str(last.text):
        return AIMessage("", tool_calls=[{"name": "multiply", "args": {"a": 17, "b": 23}, "id": "1"}])
    return AIMessage("Answer: 1932" if "opened" in str(last.text) else "Answer: yes")


def program(diff: str, kept: str) -> str:
    return "\n".join(line[1:] for line in diff.splitlines() if not line or line[0] in kept)


@pytest.mark.parametrize("name", DIFFS)
def test_a_graph_runs_before_and_after_its_change(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    diff = DIFFS[name]
    changed = [line for line in diff.splitlines() if line.startswith("+")]
    assert 0 < len(changed) <= MOST_CHANGED
    assert len([line for line in diff.splitlines() if line.startswith("-")]) <= len(changed)

    router = BudgetRouter(Menu([SelfConsistency(k=3)]), Budget(per_task=1e6))
    budgeting: Any = types.ModuleType("budgeting")
    budgeting.router = router
    monkeypatch.setitem(sys.modules, "budgeting", budgeting)
    said = []
    for kept in (" -", " +"):
        model = AgentModel(script=reply)
        monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda _, model=model: model)
        scope: dict[str, Any] = {}
        exec(compile(program(diff, kept), name, "exec"), scope)  # the guide's own programs
        question = "What is 17 times 23?" if "multiply" in scope else "When was the bridge opened?"
        given = {"question": question} if "PAGES" in scope else {"messages": [("user", question)]}
        done = scope["app"].invoke(given)
        said.append(done["answer"] if "answer" in done else done["messages"][-1].text)
        is_budgeted = kept == " +"
        logged = list(router.ledger.read())
        assert bool(logged) is is_budgeted
        if is_budgeted:
            assert all(entry.settlement is not None and len(entry.calls) == 3 for entry in logged)
            assert len(model.invoice) == 3 * len(logged)
    assert said[0] == said[1]
    assert said[0].startswith("Answer: ")


def test_all_three_are_there() -> None:
    assert len(DIFFS) == 3
