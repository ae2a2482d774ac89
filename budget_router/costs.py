"""What a strategy is expected to cost on a task before anything was measured."""

from collections.abc import Callable

from budget_router.budget import Unit
from budget_router.menu import Stage, Strategy, stages
from budget_router.records import usd
from budget_router.tariffs import Tariffs

TYPICAL_TOKENS_PER_SECOND = 50.0
"""Speed at which today's hosted models write; only the first guess of a budget in seconds rests on it."""
TYPICAL_ESCALATION = 0.5
"""Share of tasks on which a second stage runs, as guessed before anything was measured."""


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
