"""Read a user's state: what was said last, and which keys a node asks LangGraph for."""

from types import MethodType
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import Runnable
from typing_extensions import TypedDict

from budget_router_langchain.asked import messages_of
from budget_router_langgraph.state import BudgetIO, Update


def last_reply(messages: Any) -> str | None:  # Any: whatever the user keeps under `messages`
    """What the model said since the last human turn; `None` when it said nothing."""
    for message in reversed(messages_of(messages)):
        if isinstance(message, HumanMessage):
            break
        if isinstance(message, AIMessage) and message.text:
            return str(message.text)
    return None


def read_also(node: Runnable[Any, Update], *sources: object) -> None:
    """Let a node read more of the state than `BudgetIO`: other keys, or, for a function, all of the user's own state.

    LangGraph takes a node's input schema from the signature of its `__call__`, so the node gets one of its own.
    """
    keys = {source: Any for source in sources if isinstance(source, str) and source not in BudgetIO.__annotations__}
    is_whole = any(callable(source) for source in sources)
    if not keys and not is_whole:
        return

    def call(self: Runnable[Any, Update], state):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  # told just below
        return self.invoke(state)

    if not is_whole:
        call.__annotations__["state"] = TypedDict("BudgetIO", {**BudgetIO.__annotations__, **keys}, total=False)  # type: ignore[operator]
    node.__dict__["__call__"] = MethodType(call, node)
