"""What came of an execution: the winning output, read, and what it cost."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from pydantic import BaseModel, Field
from pydantic_core import PydanticSerializationError, to_json

from budget_router.answers import ToolCall, final_answer, json_answer
from budget_router.records import Spend
from budget_router.strategies import Reply
from budget_router.words import Word

_RAW = frozenset({"raw", "parsed", "parsing_error"})
"""Keys of a structured output that LangChain gives with the message it was read from."""


class Receipt(Word):
    """What was answered, and what it cost."""

    decision_id: str
    strategy: str
    output: Any = Field(repr=False)
    """What gave the winning answer, as it came: a chain's output, or a model's message with the tools that it asks for."""
    text: str = Field(repr=False)
    """The same in words; what a parser made is written as JSON."""
    answer: str | None
    """The winning answer, normalised; `None` when no reply held one."""
    agreement: float | None
    """Share of the samples, of the stage that answered, that gave the winning answer."""
    answers: tuple[str | None, ...]
    """Normalised answer of each sample that arrived."""
    spend: Spend


def reply_of(output: object) -> Reply:
    """Read what a chain or a model gave, for the vote."""
    if isinstance(output, str):
        return Reply(output)
    if isinstance(output, AIMessage):
        return Reply(str(output.text), tool_calls=tuple(ToolCall(call["name"], call["args"]) for call in output.tool_calls))
    if isinstance(output, BaseMessage):
        return Reply(str(output.text))
    if isinstance(output, Mapping) and output.keys() == _RAW:
        return Reply("") if output["parsed"] is None else reply_of(output["parsed"])
    return Reply(_json(output))


def output_answer(text: str) -> str | None:
    r"""The answer of a chain: field by field where its output is JSON as a whole, else by `final_answer`.

    >>> output_answer('{"total": 52.0}'), output_answer("So it is 52.\nAnswer: $52.00")
    ('{"total":52}', '52')
    """
    bare = text.strip()
    is_json = bare[:1] + bare[-1:] in {"{}", "[]"}
    return (json_answer(text) if is_json else None) or final_answer(text)


def _json(output: object) -> str:
    try:
        return to_json(output, fallback=_plain).decode()
    except (PydanticSerializationError, RecursionError):  # nothing that could be voted on
        return str(output)


def _plain(output: Any) -> Any:  # Any: of an output, whatever pydantic cannot write
    if isinstance(output, BaseModel):
        return output.model_dump(mode="json")
    return dataclasses.asdict(output) if dataclasses.is_dataclass(output) and not isinstance(output, type) else str(output)
