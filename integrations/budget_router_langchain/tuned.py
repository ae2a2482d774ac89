"""A chat model that draws its answers as a strategy says."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue

from budget_router.errors import InvalidInput
from budget_router.menu import Sampling
from budget_router_langchain.settings import check_request, limited, settings_of

NO_STREAM = "nostream"
"""LangGraph's tag for a model whose tokens do not go to `stream_mode="messages"`: samples are no answers yet."""


def chosen(sampling: Sampling, model: BaseChatModel, models: Mapping[str, BaseChatModel]) -> BaseChatModel:
    """The model that a sampling names, or `model`; raises InvalidInput where it names one that is not among `models`."""
    if sampling.model is None:
        return model
    if sampling.model not in models:
        known = ", ".join(map(repr, models)) or "none"
        raise InvalidInput(
            f"a strategy runs on model {sampling.model!r}, which is not at hand (there are: {known}): "
            f"pass models={{{sampling.model!r}: ...}}"
        )
    return models[sampling.model]


def tuned(model: BaseChatModel, sampling: Sampling, *, streams: bool = False, at_most: int | None = None) -> BaseChatModel:
    """Copy a chat model with the sampling's settings; its name and instruction are the caller's to apply.

    Unless it `streams`, as the only sample may, the copy does not read LangChain's cache, which would make all samples equal, and
    does not stream to LangGraph's users: a sample of several is no answer yet. It writes `at_most` so many tokens, where a
    sampling without `max_tokens` is limited by a hard cap; less, where the model is set to less or can no more.

    Raises:
        InvalidInput: the model does not offer a setting or a value of it, or `model` is no chat model at all; nothing was paid.
    """
    if not isinstance(model, BaseChatModel):
        raise InvalidInput(f"{type(model).__name__} is no chat model whose settings can be set: pass the bare BaseChatModel")
    update: dict[str, Any] = (
        {} if streams else {"cache": False, "tags": [*(model.tags or []), NO_STREAM]}
    )  # Any: of its own fields
    fields = settings_of(model, limited(model, sampling, at_most))
    copy = model.model_copy(update=update | fields)
    if fields:
        check_request(copy)
    return copy


def instructed(messages: Sequence[BaseMessage], instruction: str | None) -> list[BaseMessage]:
    """Put an instruction before the messages; a system message that leads them already takes it as its last paragraph."""
    if not instruction:
        return list(messages)
    if not messages or not isinstance(messages[0], SystemMessage):
        return [SystemMessage(instruction), *messages]
    leading, content = messages[0], messages[0].content
    if isinstance(content, str):
        extended: str | list[str | dict[str, Any]] = f"{content}\n\n{instruction}"  # Any: a provider's own block
    else:
        extended = [*content, {"type": "text", "text": instruction}]
    return [leading.model_copy(update={"content": extended}), *messages[1:]]


def as_messages(given: LanguageModelInput) -> list[BaseMessage]:
    """Whatever a chat model takes, as messages."""
    if isinstance(given, str):
        return [HumanMessage(given)]
    return given.to_messages() if isinstance(given, PromptValue) else convert_to_messages(given)
