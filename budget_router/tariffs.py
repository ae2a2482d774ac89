"""Money per token of a model.

Prices come from the `genai-prices` package, and from the user first. A model that neither knows is an error, never free.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import cache, lru_cache, partial
from importlib.metadata import version
from typing import NamedTuple

from pydantic import Field

from budget_router.errors import InvalidInput, UnknownTariff
from budget_router.words import Word

_NANO = Decimal(10**9)
_MILLION = Decimal(10**6)
OWN, CACHE = "own", "cache"
"""What a call's tariff is called where the price was the user's own, and where a cache answered for nothing."""
_OF = ", prices of "
_MANY_MODELS = 1024
_ARITHMETIC = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""Digits enough that nothing is rounded before the end, whatever context the caller has set."""


class Tariff(Word):
    """A user's own prices of one model, in USD per million tokens."""

    prompt: Decimal = Field(ge=0, allow_inf_nan=False)
    completion: Decimal = Field(ge=0, allow_inf_nan=False)
    cached: Decimal | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Of prompt tokens read from the provider's cache; as `prompt` when not given."""

    def amount(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> Decimal:
        """USD of a call, not rounded."""
        cached = self.prompt if self.cached is None else self.cached
        uncached_tokens = prompt_tokens - cached_tokens
        return (uncached_tokens * self.prompt + cached_tokens * cached + completion_tokens * self.completion) / _MILLION


class Bill(NamedTuple):
    """What a call costs, and by whose price list."""

    nano_usd: int
    tariff: str


class Rates(NamedTuple):
    """What a call costs in whole numbers: its counts times these, divided by `scale` and rounded half-even, in nano-USD."""

    fixed: int
    prompt: int
    cached: int
    completion: int
    scale: int
    longest_prompt: int | None = None
    """Tokens of the prompt up to which it is so; `None`: of every prompt."""

    def nano_usd(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> int | None:
        """What a call costs; `None` where its prompt is too long."""
        if self.longest_prompt is not None and prompt_tokens > self.longest_prompt:
            return None
        spent = (prompt_tokens - cached_tokens) * self.prompt + cached_tokens * self.cached + completion_tokens * self.completion
        whole, rest = divmod(self.fixed + spent, self.scale)
        return whole + (2 * rest > self.scale or (2 * rest == self.scale and whole % 2 == 1))


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
        """Price a call, rounded half-even to nano-USD once.

        Args:
            model: as the provider names it.
            prompt_tokens: all of them, the cached ones included.
            completion_tokens: all of them, reasoning included.
            cached_tokens: those of the prompt that the provider read from its cache.
            at: when the call was made; prices change.

        Raises:
            UnknownTariff: the model is on no list.
            InvalidInput: a count is negative, or more tokens were cached than sent.
        """
        if not 0 <= cached_tokens <= prompt_tokens or completion_tokens < 0:
            raise InvalidInput(
                f"call of {model!r}: {prompt_tokens} prompt, {cached_tokens} cached, {completion_tokens} completion tokens: "
                "counts are not negative, and cached tokens are part of the prompt's"
            )
        with localcontext(_ARITHMETIC):
            if model in self.own:
                return Bill(_nano_usd(self.own[model].amount(prompt_tokens, completion_tokens, cached_tokens)), OWN)
            moment = at or datetime.now(UTC)
            nano_usd = None
            with suppress(LookupError):  # told just below
                if rates := _rates_of_day(model, moment.date()):
                    nano_usd = rates.nano_usd(prompt_tokens, completion_tokens, cached_tokens)
            if nano_usd is None:
                nano_usd = _nano_usd(_listed_amount(model, prompt_tokens, completion_tokens, cached_tokens, moment))
            return Bill(nano_usd, f"{_price_list()}{_OF}{moment:%Y-%m-%d}")

    def rates(self, model: str, tariff: str) -> Rates | None:
        """What each token costs under a tariff, as `bill` named it; `None` where the hour of the day counts as well.

        >>> Tariffs({"local": Tariff(prompt="0.1", completion="0.4")}).rates("local", "own")
        Rates(fixed=0, prompt=100, cached=100, completion=400, scale=1, longest_prompt=None)

        Raises:
            UnknownTariff: the tariff's prices are not known here: another version's list, or own prices that were not given.
        """
        with localcontext(_ARITHMETIC):
            if tariff == CACHE:
                return Rates(0, 0, 0, 0, 1)
            if tariff == OWN and model in self.own:
                return _rates(self.own[model].amount)
            list_name, _, day = tariff.partition(_OF)
            if list_name == _price_list():
                with suppress(LookupError, ValueError):
                    return _rates_of_day(model, date.fromisoformat(day))
        raise UnknownTariff(
            f"the tariff {tariff!r} of {model!r} is not known here: give its own price, or install that price list"
        )


def _listed_amount(model: str, prompt_tokens: int, completion_tokens: int, cached_tokens: int, at: datetime) -> Decimal:
    # genai-prices holds 1.5 MB of prices: it is read when the first one is asked for
    from genai_prices import Usage, calc_price

    usage = Usage(input_tokens=prompt_tokens, output_tokens=completion_tokens, cache_read_tokens=cached_tokens)
    try:
        return calc_price(usage, model_ref=model, genai_request_timestamp=at).total_price
    except LookupError as error:
        raise UnknownTariff(
            f"no price is known for model {model!r} in {_price_list()}: "
            f"give its price, Tariffs({{{model!r}: Tariff(prompt=..., completion=...)}}), in USD per million tokens"
        ) from error


@lru_cache(_MANY_MODELS)
def _rates_of_day(model: str, day: date) -> Rates | None:
    """Rates of short prompts on the list of a day; `None` where the hour of the day counts as well. To look one up takes long."""
    from genai_prices import Usage, calc_price
    from genai_prices.types import TieredPrices, TimeOfDateConstraint

    at = datetime(day.year, day.month, day.day, tzinfo=UTC)
    price = calc_price(Usage(), model_ref=model, genai_request_timestamp=at)
    over_time = price.model.prices if isinstance(price.model.prices, list) else []
    if any(isinstance(one.constraint, TimeOfDateConstraint) for one in over_time):
        return None
    tiered = [each for each in vars(price.model_price).values() if isinstance(each, TieredPrices)]
    starts = [tier.start for each in tiered for tier in each.tiers]
    return _rates(partial(_listed_amount, model, at=at))._replace(longest_prompt=min(starts, default=None))


def _rates(amount: Callable[[int, int, int], Decimal]) -> Rates:
    """Read the rates off the prices of single tokens."""
    fixed = amount(0, 0, 0)
    nano = [each * _NANO for each in (fixed, amount(1, 0, 0) - fixed, amount(1, 0, 1) - fixed, amount(0, 1, 0) - fixed)]
    scale = 10 ** max(0, *(-int(each.normalize().as_tuple().exponent) for each in nano))
    whole = [int(each * scale) for each in nano]
    return Rates(fixed=whole[0], prompt=whole[1], cached=whole[2], completion=whole[3], scale=scale)


def _nano_usd(amount: Decimal) -> int:
    return int((amount * _NANO).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


@cache
def _price_list() -> str:
    return f"genai-prices {version('genai-prices')}"
