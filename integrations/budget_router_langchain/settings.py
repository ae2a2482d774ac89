"""What the chat models of different providers call a strategy's settings, and which values they take.

A class is known by its fields, not by its name: subclasses and compatible servers are served like the class they resemble, and no
provider's package is imported. What a field takes is said by its type, what a model can by its `profile`, where it has one.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, NoReturn

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from pydantic import AliasChoices, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from budget_router.errors import InvalidInput
from budget_router.menu import Sampling

Fields = dict[str, Any]  # Any: values of a model's own fields, by name

_TEMPERATURE = ("temperature",)
_MAX_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample", "num_predict")
_EFFORT = ("reasoning_effort", "effort", "thinking_level")
_THINKING = ("thinking_budget", "thinking")

_LEAST_THINKING_TOKENS = 1024
"""Anthropic's least `budget_tokens`."""
_LEAST_TOP_P = 0.95
"""Anthropic's least `top_p` of a model that thinks."""
_HOTTEST = {"thinking": 1.0, "thinking_budget": 2.0}
"""Highest temperature that Anthropic and Google take, by the field that tells their classes."""


def settings_of(model: BaseChatModel, sampling: Sampling) -> Fields:
    """Fields of a chat model that carry a sampling's settings, with those of its own that would contradict them put away.

    Raises:
        InvalidInput: the model's class does not offer a setting, its field does not take the value, the model cannot by what its
            profile says, or two settings exclude each other.
    """
    _check_profile(model, sampling)
    fields: Fields = {}
    if sampling.temperature is not None:
        fields |= _set(model, "temperature", _TEMPERATURE, sampling.temperature)
    if sampling.max_tokens is not None:
        fields |= _set(model, "max_tokens", _MAX_TOKENS, sampling.max_tokens)
    if sampling.effort is not None:
        fields |= _effort(model, sampling.effort)
    if sampling.max_thinking_tokens is not None:
        fields |= _thinking(model, sampling, sampling.max_thinking_tokens)
    fields |= _room_to_answer(model, sampling, fields)
    fields |= _cooled(model, sampling, fields)
    return fields | _extra_body(model, sampling)


def check_request(tuned: BaseChatModel) -> None:
    """Let a tuned model draft a request, where its class can; raises InvalidInput with what the class itself refuses."""
    draft = getattr(tuned, "_get_request_payload", None)  # the seam that the subclasses of OpenAI's and Anthropic's override
    if draft is not None:
        try:
            draft([HumanMessage("?")])
        except ValueError as error:
            _refuse(tuned, f"refuses the strategy's settings, {error}", "change them", error)


def limited(model: BaseChatModel, sampling: Sampling, at_most: int | None) -> Sampling:
    """The sampling with a limit of its reply where it sets none: of a hard cap, of the model's own, of what the model can."""
    if at_most is None or sampling.max_tokens is not None:
        return sampling
    own, can = longest_reply(model), _profile(model).get("max_output_tokens")
    thought = sampling.max_thinking_tokens or 0
    longest = [limit for limit in (own, can) if isinstance(limit, int) and limit > thought]
    return sampling.model_copy(update={"max_tokens": min(at_most, *longest)} if longest else {"max_tokens": at_most})


def longest_reply(model: BaseChatModel) -> int | None:
    """Most completion tokens that a chat model is set to write, reasoning included; `None` when nothing limits it."""
    limits = [getattr(model, name, None) for name in _MAX_TOKENS]
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


def model_name(model: BaseChatModel) -> str | None:
    """What the provider calls a chat model, as price lists know it; `None` when its class does not tell."""
    names = (getattr(model, field, None) for field in ("model_name", "model"))
    return next((name for name in names if isinstance(name, str) and name), None)


def _check_profile(model: BaseChatModel, sampling: Sampling) -> None:
    """Refuse what a model cannot, though its class can."""
    profile = _profile(model)
    levels = _levels(model)
    most = profile.get("max_output_tokens") or float("inf")
    otherwise = "or correct the model's profile"
    for setting in ("effort", "max_thinking_tokens"):
        if getattr(sampling, setting) is not None and profile.get("reasoning_output") is False:
            _refuse(model, "does not reason, says its profile", f"leave {setting} out of the strategy, {otherwise}")
    if sampling.effort is not None and levels and sampling.effort not in levels:
        known = ", ".join(map(repr, levels))
        _refuse(model, f"takes no effort {sampling.effort!r}, says its profile, but {known}", f"set one of them, {otherwise}")
    if sampling.max_thinking_tokens is not None and "xhigh" in levels and _find(model, ("thinking",)):
        # Anthropic's models of that level think as they see fit: their class goes by the same sign
        _refuse(model, "takes no thinking-token limit, says its profile", f"set effort instead, {otherwise}")
    if sampling.temperature not in {None, 1} and profile.get("temperature") is False:
        _refuse(
            model,
            f"takes no temperature, says its profile, the strategy sets {sampling.temperature:g}",
            f"leave temperature out of the strategy, {otherwise}",
        )
    for setting, least_above in (("max_tokens", most), ("max_thinking_tokens", most - 1)):
        wanted = getattr(sampling, setting)
        if wanted is not None and wanted > least_above:
            _refuse(
                model,
                f"writes at most {most} tokens, says its profile, the strategy sets {setting}={wanted}",
                f"lower {setting}, {otherwise}",
            )


def _effort(model: BaseChatModel, effort: str) -> Fields:
    """Set a reasoning effort where the model reads it."""
    if _reasoning_in_extra_body(model):  # so says the model itself: _extra_body sets it there
        return {}
    if _takes(model, "reasoning", {}):
        own = getattr(model, "reasoning", None)
        if (
            own is not None or _find(model, _EFFORT) is None
        ):  # OpenAI's Responses API, which refuses both forms at once; OpenRouter
            return {"reasoning": _with_effort(own, effort), **_cleared(model, _EFFORT)}
    elif _takes(model, "reasoning", effort) and _find(model, _EFFORT) is None:
        if effort == "minimal":  # Ollama's field takes any text, its servers do not
            _refuse(model, "takes no effort 'minimal', but 'low', 'medium', 'high'", "set one of them")
        return {"reasoning": effort}
    if _is_google(model) and "gemini-2" in (model_name(model) or ""):
        _refuse(model, "thinks by a token limit, not by effort", "set max_thinking_tokens instead")
    return _set(model, "effort", _EFFORT, effort) | _google_without(model, "thinking_budget", ("thinking_budget",))


def _thinking(model: BaseChatModel, sampling: Sampling, limit: int) -> Fields:
    """Set a thinking-token limit in Google's form, or in Anthropic's."""
    if _find(model, _THINKING) is None and _find(model, ("extra_body",)):
        raise InvalidInput(
            f"{type(model).__name__} offers no max_thinking_tokens, for OpenAI's interface has no field for it: "
            "set effort instead, or leave it out and name by model= a model made with its server's own extra_body"
        )
    if _is_google(model):
        if sampling.effort is not None and _find(model, _EFFORT):
            _refuse(model, "takes an effort or a thinking-token limit, the strategy sets both", "leave one of them out")
        return _set(model, "max_thinking_tokens", _THINKING, limit) | _google_without(model, "thinking_level", _EFFORT)
    own = getattr(model, "thinking", None)
    kept = {key: said for key, said in own.items() if key == "display"} if isinstance(own, Mapping) else {}
    fields = _set(model, "max_thinking_tokens", _THINKING, {**kept, "type": "enabled", "budget_tokens": limit})
    if limit < _LEAST_THINKING_TOKENS:
        found = f"takes no max_thinking_tokens below {_LEAST_THINKING_TOKENS}, the strategy sets {limit}"
        _refuse(model, found, f"raise it to {_LEAST_THINKING_TOKENS}")
    return fields


def _room_to_answer(model: BaseChatModel, sampling: Sampling, fields: Fields) -> Fields:
    """Keep the answer's room where the longest reply includes the thinking, as it does with Anthropic and Google."""
    thinking = fields.get("thinking", getattr(model, "thinking", None))
    limit = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
    if _is_google(model):
        limit = fields.get("thinking_budget", getattr(model, "thinking_budget", None))
    if not isinstance(limit, int) or limit <= 0:
        return {}
    if sampling.max_tokens is not None:
        if sampling.max_tokens <= limit:
            found = f"thinks up to {limit} tokens, and max_tokens={sampling.max_tokens} includes them"
            _refuse(model, found, f"set max_tokens above {limit}, or a lower max_thinking_tokens")
        return {}
    field = _find(model, _MAX_TOKENS)
    own = getattr(model, field) if field else None
    if sampling.max_thinking_tokens is None or field is None or own is None or not 0 < own <= limit:
        return {}
    return {field: min(limit + own, _profile(model).get("max_output_tokens") or limit + own)}


def _cooled(model: BaseChatModel, sampling: Sampling, fields: Fields) -> Fields:
    """Refuse a strategy's temperature that the model does not take, and put away the model's own where thinking forbids it."""
    wanted = sampling.temperature
    hottest = next((limit for field, limit in _HOTTEST.items() if _find(model, (field,))), None)
    if wanted is not None and hottest is not None and wanted > hottest:
        _refuse(model, f"takes no temperature above {hottest:g}, the strategy sets {wanted:g}", "lower it")
    if not _fixes_temperature(model, fields):
        return {}
    if wanted not in {None, 1}:
        found = f"takes no temperature but 1 while it reasons, the strategy sets {wanted:g}"
        _refuse(model, found, "leave temperature out of the strategy")
    if sampling.effort is None and sampling.max_thinking_tokens is None:
        return {}
    cooled = _cleared(model, _TEMPERATURE) if wanted is None and getattr(model, "temperature", None) != 1 else {}
    if _find(model, ("thinking",)):
        cooled |= _cleared(model, ("top_k",))
        if (getattr(model, "top_p", None) or 1) < _LEAST_TOP_P:
            cooled |= _cleared(model, ("top_p",))
    return cooled


def _fixes_temperature(model: BaseChatModel, fields: Fields) -> bool:
    """Whether a model with these fields thinks in a way that admits no temperature."""
    field = _find(model, _EFFORT)
    effort = fields.get(field, getattr(model, field)) if field else None
    if _find(model, ("thinking",)):
        thinking = fields.get("thinking", getattr(model, "thinking", None))
        if isinstance(thinking, Mapping):
            return thinking.get("type") in {"enabled", "adaptive"}
        return effort is not None and "xhigh" in _levels(model)  # Anthropic's class then adds adaptive thinking
    reasoning = fields.get("reasoning", getattr(model, "reasoning", None))
    if isinstance(reasoning, Mapping):
        effort = reasoning.get("effort")
    name = model_name(model) or ""
    return name.startswith("gpt-5") and "chat" not in name and effort != "none"  # as OpenAI's class has it


def _extra_body(model: BaseChatModel, sampling: Sampling) -> Fields:
    """Set also in `extra_body` what it sets already: it is laid over the request, and would win."""
    own = getattr(model, "extra_body", None)
    if not isinstance(own, Mapping):
        return {}
    extra = dict(own)
    for setting, names in (("temperature", _TEMPERATURE), ("max_tokens", _MAX_TOKENS), ("effort", _EFFORT)):
        wanted = getattr(sampling, setting)
        extra |= {name: wanted for name in names if name in own and wanted is not None}
    if sampling.effort is not None and _reasoning_in_extra_body(model):
        extra["reasoning"] = _with_effort(own["reasoning"], sampling.effort)
    return {} if extra == own else {"extra_body": extra}


def _reasoning_in_extra_body(model: BaseChatModel) -> bool:
    extra = getattr(model, "extra_body", None)
    return isinstance(extra, Mapping) and isinstance(extra.get("reasoning"), Mapping)


def _with_effort(reasoning: Mapping[str, Any] | None, effort: str) -> Fields:
    """A `reasoning` parameter of this effort; a token limit in it would contradict."""
    return {**{key: said for key, said in (reasoning or {}).items() if key != "max_tokens"}, "effort": effort}


def _google_without(model: BaseChatModel, key: str, names: Sequence[str]) -> Fields:
    """Put away one of Google's ways to say how much is thought, which exclude each other, in both places that it may stand in."""
    if not _is_google(model):
        return {}
    config = getattr(model, "thinking_config", None)
    said = config if isinstance(config, Mapping) else {}
    kept = {"thinking_config": {name: value for name, value in said.items() if name != key}} if key in said else {}
    return {**_cleared(model, names), **kept}


def _is_google(model: BaseChatModel) -> bool:
    return _find(model, ("thinking_budget",)) is not None


def _cleared(model: BaseChatModel, names: Sequence[str]) -> Fields:
    field = _find(model, names)
    return {} if field is None or getattr(model, field) is None else {field: None}


def _set(model: BaseChatModel, setting: str, names: Sequence[str], wanted: object) -> Fields:
    """Give a value to the field that a class has for a setting; raises InvalidInput if there is none, or it does not take it."""
    field = _find(model, names)
    if field is None:
        raise InvalidInput(
            f"{type(model).__name__} offers no {setting}: none of its fields is {' or '.join(names)}; "
            f"leave {setting} out of the strategy, or name another model in it"
        )
    try:
        return {field: _type_of(type(model), field).validate_python(wanted)}
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        found = f"takes no {setting} {wanted!r}, {reason[:1].lower()}{reason[1:]}"
        _refuse(model, found, f"change {setting} in the strategy", error)


def _find(model: BaseChatModel, names: Sequence[str]) -> str | None:
    """The field of a class that goes by one of these names, the earlier name first."""
    fields = type(model).model_fields
    return next((field for name in names for field, info in fields.items() if name == field or name in _aliases(info)), None)


def _aliases(info: FieldInfo) -> list[object]:
    choices = info.validation_alias.choices if isinstance(info.validation_alias, AliasChoices) else [info.validation_alias]
    return [info.alias, *choices]


def _takes(model: BaseChatModel, field: str, value: object) -> bool:
    """Whether a class has a field that takes such a value."""
    if field not in type(model).model_fields:
        return False
    try:
        _type_of(type(model), field).validate_python(value)
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=256)
def _type_of(cls: type[BaseChatModel], field: str) -> TypeAdapter[Any]:  # Any: whatever type the field is of
    info = cls.model_fields[field]
    annotation: Any = info.annotation  # Any: a type that is known at run time alone
    return TypeAdapter(Annotated[annotation, *info.metadata] if info.metadata else annotation)


def _profile(model: BaseChatModel) -> Mapping[str, Any]:  # Any: the values of LangChain's own record
    """What LangChain knows of a model's abilities, by its name: nothing where the name is not known."""
    profile = getattr(model, "profile", None)
    return profile if isinstance(profile, Mapping) else {}


def _levels(model: BaseChatModel) -> Sequence[str]:
    return _profile(model).get("reasoning_effort_levels") or ()


def _refuse(model: BaseChatModel, found: str, mend: str, cause: Exception | None = None) -> NoReturn:
    name = model_name(model)
    told = type(model).__name__ if name is None else f"{type(model).__name__} {name!r}"
    raise InvalidInput(f"{told} {found}: {mend}, or name another model in the strategy") from cause
