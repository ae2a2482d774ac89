"""Money per token of a model.

Prices come from the `genai-prices` package, and from the user first. A model that neither knows is an error, never free.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from pydantic import Field

from budget_router.errors import UnknownTariff
from budget_router.words import Word

_NANO = Decimal(10**9)
_MILLION = Decimal(10**6)


class Tariff(Word):
    """A user's own prices of one model, in USD per million tokens."""

    prompt: Decimal = Field(ge=0, allow_inf_nan=False)
    completion: Decimal = Field(ge=0, allow_inf_nan=False)
    cached: Decimal | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Of prompt tokens read from the provider's cache; as `prompt` when not given."""


class Bill(NamedTuple):
    """What a call costs, and by whose price list."""

    nano_usd: int
    tariff: str


class Tariffs:
    """Price lists: the user's own on top of the `genai-prices` package.

    >>> Tariffs({"local": Tariff(prompt="0.1", completion="0.4")}).bill("local", prompt_tokens=1000, completion_tokens=10)
    Bill(nano_usd=104000, tariff='own')
    """

    def __init__(self, own: Mapping[str, Tariff] | None = None) -> None:
        self.own = dict(own or {})

    def bill(
        self, model: str, *, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0, at: datetime | None = None
    ) -> Bill:
        """Price a call, rounded half-even to nano-USD once; raises UnknownTariff for a model on no list.

        Args:
            model: as the provider names it.
            prompt_tokens: all of them, the cached ones included.
            completion_tokens: all of them, reasoning included.
            cached_tokens: those of the prompt that the provider read from its cache.
            at: when the call was made; prices change.
        """
        if model in self.own:
            tariff = self.own[model]
            cached = tariff.prompt if tariff.cached is None else tariff.cached
            total = (
                (prompt_tokens - cached_tokens) * tariff.prompt + cached_tokens * cached + completion_tokens * tariff.completion
            )
            return Bill(_nano_usd(total / _MILLION), "own")
        # genai-prices holds 1.5 MB of prices: it is read when the first one is asked for
        from genai_prices import Usage, calc_price

        try:
            price = calc_price(
                Usage(input_tokens=prompt_tokens, output_tokens=completion_tokens, cache_read_tokens=cached_tokens),
                model_ref=model,
                genai_request_timestamp=at,
            )
        except LookupError as error:
            raise UnknownTariff(
                f"no price is known for model {model!r} in {_price_list()}: "
                f"give its price, Tariffs({{{model!r}: Tariff(prompt=..., completion=...)}}), in USD per million tokens"
            ) from error
        return Bill(_nano_usd(price.total_price), _price_list())


def _nano_usd(amount: Decimal) -> int:
    return int((amount * _NANO).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@cache
def _price_list() -> str:
    return f"genai-prices {version('genai-prices')}"
