"""What an agent's model votes for in one step: the tools it wants to call, a structured response, or an answer in words."""

import json
from typing import Any

from langchain.agents.middleware import ModelResponse
from langchain_core.messages import AIMessage
from pydantic_core import to_jsonable_python

from budget_router.strategies import AnswerRule


def vote_key(response: ModelResponse[Any], answer: AnswerRule) -> str | None:  # Any: the user's own structured response
    """Write equal replies equally; `None` for one that says nothing to vote on.

    Tool calls are equal when the same tools are called with the same arguments, whatever the order of either; their ids do not
    matter, nor what is said beside them.
    """
    message = reply_of(response)
    if message.tool_calls:
        return _canonical(sorted(_canonical({"name": call["name"], "args": call["args"]}) for call in message.tool_calls))
    if response.structured_response is not None:
        return _canonical(to_jsonable_python(response.structured_response, fallback=str))
    return answer(str(message.text))


def reply_of(response: ModelResponse[Any]) -> AIMessage:  # Any: the user's own structured response
    """The model's own message among those of a step."""
    return next(message for message in response.result if isinstance(message, AIMessage))


def _canonical(value: object) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), default=str)


def _plain(value: object) -> object:
    """Write 2.0 as 2, as a model may do in one sample and not in the next."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
