"""Read a user's state: the task to be reasoned about, what was said last, and which keys a node asks LangGraph for."""

from collections.abc import Callable
from types import MethodType
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.runnables import Runnable
from typing_extensions import TypedDict

from budget_router.errors import InvalidTask
from budget_router.task import Task
from budget_router_langgraph.state import BudgetIO, Update, field_of

TASK_KEYS = ("task", "question", "input")
"""Where a state's task is looked for, before the last turn of its `messages`."""

TaskSource = str | Callable[[Any], str | Task]
"""A key of the state, or a function of it; Any: the user's own state, dict, dataclass or pydantic."""


def task_from(state: object, source: TaskSource | None = None, *, group: str | None = None) -> Task:
    """Read the task from a graph's state.

    Without a `source` it is the state's `task`, `question` or `input`, else the last human turn of its `messages`.

    Raises:
        InvalidTask: there is none, or it cannot be stored; the message tells the mend.
    """
    found = _found(state, source)
    if not isinstance(found, Task):
        return Task(found, group=group)
    return found.model_copy(update={"group": group}) if found.group is None else found


def last_turn(messages: Any) -> str | None:  # Any: whatever the user keeps under `messages`
    """All that the human said last: the human messages since the reply before them; `None` when nobody spoke."""
    turn: list[str] = []
    for message in reversed(messages_of(messages)):
        if isinstance(message, HumanMessage):
            turn.insert(0, str(message.text))
        elif isinstance(message, AIMessage) and turn:
            break
    return "\n\n".join(turn) or None


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


def _found(state: object, source: TaskSource | None) -> Any:  # Any: checked by Task
    if callable(source):
        return source(state)
    for key in TASK_KEYS if source is None else (source,):
        value = field_of(state, key)
        if isinstance(value, list | BaseMessage):
            value = last_turn(value if isinstance(value, list) else [value])
        is_blank = value is None or (isinstance(value, str) and not value.strip())
        if not is_blank:
            return value
    if source is None and (text := last_turn(field_of(state, "messages"))):
        return text
    looked_for = f"{source!r}" if source else f"{', '.join(map(repr, TASK_KEYS))} and a human message in 'messages'"
    raise InvalidTask(
        f"no task in the state: looked for {looked_for}; put it there, or tell where it is by task_from='key' or "
        "task_from=lambda state: ..."
    )


def messages_of(messages: Any) -> list[BaseMessage]:  # Any: whatever the user keeps under `messages`
    """Read LangChain messages from what a state keeps; raises InvalidTask if they are none."""
    if not messages:
        return []
    try:
        return convert_to_messages(messages)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InvalidTask(f"'messages' of the state cannot be read: {error}; keep LangChain messages there") from error
