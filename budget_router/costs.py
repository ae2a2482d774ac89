"""What a strategy is expected to cost on a task before anything was measured, and what it may cost at most."""

import math
from collections.abc import Callable
from typing import TypeVar

from budget_router.budget import Budget, Unit
from budget_router.menu import Escalate, ExtendedCoT, Sampling, SelfConsistency, SingleShot, Stage, Strategy, stages
from budget_router.records import usd
from budget_router.tariffs import Tariffs

TYPICAL_TOKENS_PER_SECOND = 50.0
"""Speed at which today's hosted models write; only the first guess of a budget in seconds rests on it."""
TYPICAL_ESCALATION = 0.5
"""Share of tasks on which a second stage runs, as guessed before anything was measured."""
TEMPLATE_TOKENS = 64
"""Most tokens that a model's chat template puts around a prompt of one or two messages."""
TIMES_TYPICAL = (4, 2, 1)
"""How many times its typical length an answer without `max_tokens` may have under a hard cap: the first that enough is left for.
Few answers are longer than that of the first, and no decision takes a day's cap; below the last, most would be cut off."""


def typical_completion(stage: Stage) -> float:
    """Completion tokens of one of the answers, as far as the settings tell."""
    return min(stage.typical_completion_tokens, stage.max_tokens or stage.typical_completion_tokens)


def typical_samples(strategy: Strategy) -> tuple[float, ...]:
    """Answers that each stage draws: half way between what is guaranteed and the most; a second stage runs half of the time."""
    first, *then = ((stage.n_guaranteed + stage.n_samples) / 2 for stage in stages(strategy))
    return (first, *(TYPICAL_ESCALATION * n_samples for n_samples in then))


def expected_cost(
    strategy: Strategy,
    *,
    prompt_tokens: int,
    unit: Unit,
    tariffs: Tariffs,
    model: str | None = None,
    completion_tokens: Callable[[Stage], float] = typical_completion,
    n_samples: tuple[float, ...] | None = None,
) -> float:
    """Expected cost from the counted prompt, the answers' length and their number, in the budget's unit.

    Each sample is a call of its own and bills the prompt again; samples of one round run side by side, so they do not add up in
    seconds, while rounds do.

    Args:
        strategy: the `model` of each of its stages, when set, goes before `model`.
        prompt_tokens: of one call.
        unit: of the budget.
        tariffs: asked for budgets in USD only; raises UnknownTariff.
        model: the model that strategies without one of their own run on; needed for budgets in USD.
        completion_tokens: of one answer of a stage.
        n_samples: answers that each stage draws, `typical_samples` if not given.
    """
    drawn = typical_samples(strategy) if n_samples is None else n_samples
    total = 0.0
    for stage, n_drawn in zip(stages(strategy), drawn, strict=True):
        length = completion_tokens(stage)
        match unit:
            case "tokens":
                total += n_drawn * (prompt_tokens + length)
            case "completion_tokens":
                total += n_drawn * length
            case "usd":
                named = stage.model or model or "(no model named)"
                bill = tariffs.bill(named, prompt_tokens=prompt_tokens, completion_tokens=round(length))
                total += n_drawn * usd(bill.nano_usd)
            case _:
                total += n_drawn / stage.n_guaranteed * length / TYPICAL_TOKENS_PER_SECOND
    return total


def most_prompt_tokens(*texts: str | None) -> int:
    """Most tokens of a prompt, whatever the model's tokenizer: every byte one, which is the least that a token takes."""
    return TEMPLATE_TOKENS + sum(len(text.encode("utf-8", "replace")) for text in texts if text)


def most_billed(
    unit: Unit, *, prompt_tokens: int, completion_tokens: int, tariffs: Tariffs, model: str | None, n_calls: int = 1
) -> int:
    """Most that calls may bill, in whole tokens or nano-USD; raises UnknownTariff.

    Args:
        unit: of the budget.
        prompt_tokens: most of one call.
        completion_tokens: most of one call.
        tariffs: asked for budgets in USD only.
        model: that is called.
        n_calls: calls of this size.
    """
    if unit != "usd":
        return n_calls * (completion_tokens + (prompt_tokens if unit == "tokens" else 0))
    bills = [
        tariffs.bill(
            model or "(no model named)",
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cached_tokens=cached_tokens,
        )
        for cached_tokens in (0, prompt_tokens)  # on some price list the cache may be the dearer
    ]
    return n_calls * max(bill.nano_usd for bill in bills)


def most_completion(stage: Stage, times: int = TIMES_TYPICAL[0]) -> int:
    """Most tokens of one answer under a hard cap: `max_tokens`, else so many times the typical length, beside what is thought."""
    if stage.max_tokens is not None:
        return stage.max_tokens
    return (getattr(stage, "max_thinking_tokens", None) or 0) + math.ceil(times * stage.typical_completion_tokens)


def limits(strategy: Strategy, budget: Budget) -> dict[Sampling, int]:
    """Most tokens of one answer where a hard cap alone limits it, by how the answer is drawn."""
    if budget.hard_cap is None:
        return {}
    found: dict[Sampling, int] = {}
    for stage in stages(strategy):
        if stage.max_tokens is None:
            found[stage.sampling] = max(most_completion(stage), found.get(stage.sampling, 0))
    return found


def shortened(strategy: Strategy, times: int) -> Strategy:
    """The strategy, under its own name, with a `max_tokens` of so many times the typical length wherever it has none."""
    if isinstance(strategy, Escalate):
        return Escalate(
            name=strategy.name,
            first=_shortened(strategy.first, times),
            then=_shortened(strategy.then, times),
            agreement=strategy.agreement,
        )
    return _shortened(strategy, times)


StageOf = TypeVar("StageOf", bound=SingleShot | SelfConsistency | ExtendedCoT)


def _shortened(stage: StageOf, times: int) -> StageOf:
    fields = {name: getattr(stage, name) for name in stage.model_fields_set}
    return type(stage)(**fields | {"name": stage.name, "max_tokens": most_completion(stage, times)})


def upper_bound(
    strategy: Strategy,
    text: str,
    *,
    unit: Unit,
    tariffs: Tariffs,
    model: str | None = None,
    times: int = TIMES_TYPICAL[0],
    prompt_tokens: int = 0,
) -> int:
    """Most that a strategy may bill on a task, in whole tokens or nano-USD: what a hard cap reserves.

    Both stages of an escalation run, a vote that may stop early draws all its samples, each sample bills the whole prompt again
    and writes `max_tokens`, or so many `times` its typical length without one.

    Args:
        strategy: the `model` of each of its stages, when set, goes before `model`.
        text: of the task.
        unit: of the budget.
        tariffs: asked for budgets in USD only; raises UnknownTariff.
        model: the model that strategies without one of their own run on.
        times: of `most_completion`.
        prompt_tokens: most tokens that are sent for each answer, where more than the text is.
    """
    total = 0
    for stage in stages(strategy):
        total += most_billed(
            unit,
            prompt_tokens=max(
                most_prompt_tokens(text, stage.instruction), prompt_tokens + len((stage.instruction or "").encode())
            ),
            completion_tokens=most_completion(stage, times),
            tariffs=tariffs,
            model=stage.model or model,
            n_calls=stage.n_samples,
        )
    return total
