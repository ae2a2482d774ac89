"""Find the task in whatever a chain is given or a graph keeps in its state."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue

from budget_router.errors import InvalidTask
from budget_router.task import MetadataValue, Task

TASK_KEYS = ("task", "question", "input")
"""Where a task is looked for, before the last turn of `messages`."""

NO_FACTS: Mapping[str, MetadataValue] = MappingProxyType({})

TaskSource = str | Callable[[Any], str | Task]
"""A key of what is given, or a function of it; Any: the user's own input or state, dict, dataclass or pydantic."""


def task_from(
    state: object,
    source: TaskSource | None = None,
    *,
    group: str | None = None,
    facts: Mapping[str, MetadataValue] = NO_FACTS,
) -> Task:
    """Read the task from a graph's state.

    Without a `source` it is the state's `task`, `question` or `input`, else the last human turn of its `messages`. What the task
    itself says of its group, or in its metadata under the name of one of the `facts`, stands.

    Raises:
        InvalidTask: there is none, or it cannot be stored; the message tells the mend.
    """
    found = _found(state, source)
    return _as_task(_looked_for(source) if found is None else found, group, facts)


def task_of(given: object, source: TaskSource | None = None, *, group: str | None = None) -> Task:
    r"""Read the task from a chain's input: a text, a prompt, messages, or what `task_from` finds in a mapping.

    Without a `source` a mapping that has none of those keys is taken whole, all of its texts in their order, and so is a list of
    inputs.

    Raises:
        InvalidTask: there is none, or it cannot be stored; the message tells the mend.

    >>> task_of({"topic": "bears", "language": "French"}).text
    'bears\nFrench'
    """
    if source is None:
        if isinstance(given, str | Task):
            return _as_task(given, group)
        if isinstance(given, PromptValue):
            given = given.to_messages()
        if isinstance(given, BaseMessage):
            given = [given]
        if isinstance(given, list | tuple):
            if given and all(isinstance(one, Mapping) and "content" not in one for one in given):
                return _as_task("\n".join(task_of(one).text for one in given), group)
            given = {"messages": list(given)}
    found = _found(given, source)
    if found is None and isinstance(given, Mapping):
        found = "\n".join(value for value in given.values() if isinstance(value, str) and value.strip()) or None
    return _as_task(_looked_for(source) if found is None else found, group)


def last_turn(messages: Any) -> str | None:  # Any: whatever the user keeps under `messages`
    """All that the human said last: the human messages since the reply before them; `None` when nobody spoke."""
    turn: list[str] = []
    for message in reversed(messages_of(messages)):
        if isinstance(message, HumanMessage):
            turn.insert(0, str(message.text))
        elif isinstance(message, AIMessage) and turn:
            break
    return "\n\n".join(turn) or None


def messages_of(messages: Any) -> list[BaseMessage]:  # Any: whatever the user keeps under `messages`
    """Read LangChain messages; raises InvalidTask if they are none."""
    if not messages:
        return []
    try:
        return convert_to_messages(messages)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InvalidTask(f"'messages' of the state cannot be read: {error}; keep LangChain messages there") from error


def field_of(state: object, key: str) -> Any:  # Any: the user's own value
    """Value of a key in a dict, dataclass or pydantic state; `None` when there is none."""
    return state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)


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
    return last_turn(field_of(state, "messages")) if source is None else None


def _as_task(found: Any, group: str | None, facts: Mapping[str, MetadataValue] = NO_FACTS) -> Task:  # Any: checked by Task
    if not isinstance(found, Task):
        return Task(found, group=group, metadata=dict(facts))
    group = group if found.group is None else found.group
    return Task(found.text, id=found.id, group=group, metadata={**facts, **found.metadata})


def _looked_for(source: TaskSource | None) -> Any:
    looked_for = f"{source!r}" if source else f"{', '.join(map(repr, TASK_KEYS))} and a human message in 'messages'"
    raise InvalidTask(
        f"no task in the state: looked for {looked_for}; put it there, or tell where it is by task_from='key' or "
        "task_from=lambda state: ..."
    )
