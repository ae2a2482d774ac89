"""What a strategy is expected to cost on a task before anything was measured."""

from budget_router.budget import Unit
from budget_router.menu import Strategy
from budget_router.records import usd
from budget_router.tariffs import Tariffs

TYPICAL_TOKENS_PER_SECOND = 50.0
"""Speed at which today's hosted models write; only the first guess of a budget in seconds rests on it."""


def typical_completion(strategy: Strategy) -> float:
    """Completion tokens of one of the strategy's answers, as far as its settings tell."""
    return min(strategy.typical_completion_tokens, strategy.max_tokens or strategy.typical_completion_tokens)


def expected_cost(
    strategy: Strategy, *, prompt_tokens: int, completion_tokens: float, unit: Unit, tariffs: Tariffs, model: str | None = None
) -> float:
    """Expected cost from the counted prompt and the length of one answer, in the budget's unit.

    Each sample is a call of its own and bills the prompt again; samples run side by side, so they do not add up in seconds.

    Args:
        strategy: its `model`, when set, goes before `model`.
        prompt_tokens: of one call.
        completion_tokens: of one answer.
        unit: of the budget.
        tariffs: asked for budgets in USD only; raises UnknownTariff.
        model: the model that strategies without one of their own run on; needed for budgets in USD.
    """
    match unit:
        case "tokens":
            return strategy.n_samples * (prompt_tokens + completion_tokens)
        case "completion_tokens":
            return strategy.n_samples * completion_tokens
        case "usd":
            named = strategy.model or model or "(no model named)"
            bill = tariffs.bill(named, prompt_tokens=prompt_tokens, completion_tokens=round(completion_tokens))
            return usd(strategy.n_samples * bill.nano_usd)
        case _:
            return completion_tokens / TYPICAL_TOKENS_PER_SECOND
