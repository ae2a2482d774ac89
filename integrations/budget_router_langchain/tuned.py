"""A chat model that draws its answers as a strategy says."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue

from budget_router.errors import InvalidInput
from budget_router.menu import Sampling

NO_STREAM = "nostream"
"""LangGraph's tag for a model whose tokens do not go to `stream_mode="messages"`: samples are no answers yet."""

_FIELDS = {  # setting of a strategy: what the chat models of different providers call it
    "temperature": ("temperature",),
    "max_tokens": ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample", "num_predict"),
    "effort": ("reasoning_effort",),
    "max_thinking_tokens": ("thinking_budget", "thinking"),
}


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


def tuned(model: BaseChatModel, sampling: Sampling, *, streams: bool = False) -> BaseChatModel:
    """Copy a chat model with the sampling's settings; its name and instruction are the caller's to apply.

    The copy does not read LangChain's cache, which would make all samples equal, and does not stream to LangGraph's users unless
    it `streams`: a sample of several is no answer yet.

    Raises:
        InvalidInput: the model's class does not offer a setting, or `model` is no chat model at all.
    """
    if not isinstance(model, BaseChatModel):
        raise InvalidInput(f"{type(model).__name__} is no chat model whose settings can be set: pass the bare BaseChatModel")
    update: dict[str, Any] = {"cache": False}  # Any: values of the model's own fields
    if not streams:
        update["tags"] = [*(model.tags or []), NO_STREAM]
    for setting, names in _FIELDS.items():
        wanted = getattr(sampling, setting)
        if wanted is not None:
            field = _field_of(model, setting, names)
            update[field] = {"type": "enabled", "budget_tokens": wanted} if field == "thinking" else wanted
    return model.model_copy(update=update)


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


def longest_reply(model: BaseChatModel) -> int | None:
    """Most completion tokens that a chat model is set to write, reasoning included; `None` when nothing limits it."""
    limits = [getattr(model, name, None) for name in _FIELDS["max_tokens"]]
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def model_name(model: BaseChatModel) -> str | None:
    """What the provider calls a chat model, as price lists know it; `None` when its class does not tell."""
    names = (getattr(model, field, None) for field in ("model_name", "model"))
    return next((name for name in names if isinstance(name, str) and name), None)


def _field_of(model: BaseChatModel, setting: str, names: Sequence[str]) -> str:
    fields = type(model).model_fields
    for name in names:
        for field, info in fields.items():
            if name in {field, info.alias, info.validation_alias}:
                return field
    raise InvalidInput(
        f"{type(model).__name__} offers no {setting}: none of its fields is {' or '.join(names)}; "
        f"leave {setting} out of the strategy, or name another model in it"
    )
