"""Where an agent stands when it decides: facts of its state, known before the answer, that policies learn from."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.config import get_config

from budget_router.errors import InvalidTask
from budget_router.task import MetadataValue
from budget_router_langchain.asked import field_of, last_turn, messages_of
from budget_router_langchain.budget_state import BudgetState

FactSource = Callable[[Any], Mapping[str, MetadataValue]]
"""A function of the state; Any: the user's own state, dict, dataclass or pydantic."""


def agent_facts(state: object) -> dict[str, MetadataValue]:
    """Tell how far an agent is, under names of their own that begin with `agent.`.

    `step` is LangGraph's, counted over the thread. Of the state's `messages`, where it has any: `n_messages`, `n_turns` of the
    human, `n_replies`, `n_tool_calls` and how many of them are `n_failed_tool_calls`, `context_characters` of all that stands
    there beside the last human turn, and the kind of the `last_message`. Of the thread's decisions before this
    one: `n_settled`, and the `n_tokens` that they billed. The nodes add `cap_left`, the share that is left of the hard cap, where
    the task is under one.

    >>> facts = agent_facts({"messages": [("user", "2 + 2?"), ("ai", "4"), ("user", "Sure?")]})
    >>> facts["agent.n_turns"], facts["agent.context_characters"], facts["agent.last_message"]
    (2, 7, 'human')
    """
    facts: dict[str, MetadataValue] = {}
    with suppress(RuntimeError, KeyError):  # outside of a graph there is no step
        facts["agent.step"] = int(get_config()["metadata"]["langgraph_step"])
    budget: BudgetState | None = field_of(state, "budget")
    if budget and (so_far := budget.get("so_far")):
        facts["agent.n_settled"] = budget["n_settled"]
        facts["agent.n_tokens"] = (so_far["prompt_tokens"] or 0) + (so_far["completion_tokens"] or 0)
    try:
        messages = messages_of(field_of(state, "messages"))
    except InvalidTask:  # whose task does not stand in its messages may keep anything there
        return facts
    if not messages:
        return facts
    replies = [message for message in messages if isinstance(message, AIMessage)]
    results = [message for message in messages if isinstance(message, ToolMessage)]
    n_characters = sum(len(str(message.text)) for message in messages)
    return facts | {
        "agent.n_messages": len(messages),
        "agent.n_turns": sum(isinstance(message, HumanMessage) for message in messages),
        "agent.n_replies": len(replies),
        "agent.n_tool_calls": sum(len(reply.tool_calls) for reply in replies),
        "agent.n_failed_tool_calls": sum(result.status == "error" for result in results),
        "agent.context_characters": max(n_characters - len(last_turn(messages) or ""), 0),
        "agent.last_message": messages[-1].type,
    }
