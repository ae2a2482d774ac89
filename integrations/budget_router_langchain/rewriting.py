"""The structure of a chain: which steps hold a chat model, and the same chain with its chat models changed.

A chain is rewritten by what LangChain composes it of: sequences, parallels, assignments, branches, routers, fallbacks, retries,
bindings, configurable alternatives. Everything else (a prompt, a parser, a retriever, a function) stays as it is, models that it
may hold included.
"""

from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import (
    Runnable,
    RunnableAssign,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase, RunnableEachBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.router import RouterRunnable

from budget_router_langchain.tuned import as_messages, instructed

Chain = Runnable[Any, Any]  # Any: the user's own input and output

Change = Callable[[BaseChatModel], Chain]

COMPOSED = (
    RunnableSequence,
    RunnableParallel,
    RunnableAssign,
    RunnableBranch,
    RunnableWithFallbacks,
    RunnableBindingBase,  # retries, histories and listeners too
    RunnableEachBase,
    RouterRunnable,
    DynamicRunnable,
)
"""Runnables that are made of others."""
_FIELDS = frozenset(
    {
        "first",
        "middle",
        "last",
        "steps__",
        "mapper",
        "branches",
        "default",
        "runnable",
        "fallbacks",
        "bound",
        "runnables",
        "alternatives",
    }
)
"""Where they keep them."""


def steps_of(chain: Chain) -> list[Chain]:
    """The steps of a sequence; anything else is its own only step."""
    return list(chain.steps) if isinstance(chain, RunnableSequence) else [chain]


def in_sequence(steps: list[Chain]) -> Chain:
    """Steps, at least one, as a chain."""
    return steps[0] if len(steps) == 1 else RunnableSequence(*steps)


def nodes_of(chain: Chain) -> Iterator[Chain]:
    """A chain and all that its structure shows it to be made of."""
    yield chain
    if isinstance(chain, COMPOSED):
        for name in _FIELDS & type(chain).model_fields.keys():
            for part in _parts(getattr(chain, name)):
                yield from nodes_of(part)


def models_of(chain: Chain) -> Iterator[BaseChatModel]:
    """All chat models that the structure of a chain shows."""
    return (node for node in nodes_of(chain) if isinstance(node, BaseChatModel))


def asks(step: Chain) -> bool:
    """Tell whether a step takes a prompt and gives a model's message: a chat model, bound, retried or with fallbacks."""
    match step:
        case BaseChatModel():
            return True
        case RunnableBindingBase():
            return asks(step.bound)
        case RunnableWithFallbacks():
            return all(asks(one) for one in step.runnables)
        case DynamicRunnable():
            return asks(step.default)
        case _:
            return False


def rewritten(chain: Chain, change: Change, instruction: str | None = None) -> Chain:
    """The chain with `change` applied to each of its chat models, and an instruction put before what each of them is asked."""
    if asks(chain) and instruction:
        return RunnableLambda(lambda given: instructed(as_messages(given), instruction), name="instruct") | rewritten(
            chain, change
        )
    if isinstance(chain, BaseChatModel):
        return change(chain)
    if not isinstance(chain, COMPOSED):
        return chain
    update = {}
    for name in _FIELDS & type(chain).model_fields.keys():
        part = getattr(chain, name)
        changed = _rewritten_part(part, change, instruction)
        if changed is not part:
            update[name] = changed
    return chain.model_copy(update=update) if update else chain


def _parts(field: Any) -> Iterator[Chain]:  # Any: of a composed runnable, whatever it keeps there
    match field:
        case Runnable():
            yield field
        case Mapping():
            for part in field.values():
                yield from _parts(part)
        case list() | tuple():
            for part in field:
                yield from _parts(part)


def _rewritten_part(field: Any, change: Change, instruction: str | None) -> Any:  # Any: as in `_parts`
    """The field itself where nothing in it changes."""
    match field:
        case Runnable():
            return rewritten(field, change, instruction)
        case Mapping():
            parts = {key: _rewritten_part(part, change, instruction) for key, part in field.items()}
            return parts if any(parts[key] is not part for key, part in field.items()) else field
        case list() | tuple():
            changed = [_rewritten_part(part, change, instruction) for part in field]
            return type(field)(changed) if any(one is not part for one, part in zip(changed, field, strict=True)) else field
        case FunctionType():  # it makes an alternative once that is chosen
            return lambda: rewritten(field(), change, instruction)
        case _:
            return field
