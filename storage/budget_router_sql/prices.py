"""Whether the money of each call is its tariff times its tokens, to the nano-USD.

A tariff that is so much per token is checked by the database, in whole numbers. What it cannot check, prompts so long that they
cost more and prices that change by the hour, is priced again here, call by call.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Numeric,
    Select,
    Text,
    and_,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from budget_router.errors import InvalidInput, UnknownTariff
from budget_router.tariffs import Rates, Tariffs
from budget_router_sql.schema import call_closings

TARIFFS_AT_ONCE = 400
"""Models and tariffs of one statement: SQLite joins at most 500 in one."""

_calls = call_closings.c


class Priced(NamedTuple):
    """Calls of a model that were priced by one tariff."""

    model: str
    tariff: str
    n_calls: int
    nano_usd: int
    """These two are 0 where its prices are known."""
    rates: Rates | None
    """`None` where the hour counts."""
    is_known: bool
    """Whether its prices are known here."""


def priced_calls(connection: Connection, tariffs: Tariffs) -> list[Priced]:
    """The tariffs that calls were priced by, each with what is known of it; calls are counted where nothing is."""
    is_priced = and_(_calls.tariff.is_not(None), _calls.nano_usd.is_not(None))
    found, unknown = [], []
    # not counted at once: a file sorts what it groups, and finds what is distinct without
    for model, tariff in connection.execute(select(_calls.model, _calls.tariff).where(is_priced).distinct()):
        try:
            found.append(Priced(model, tariff, 0, 0, tariffs.rates(model, tariff), is_known=True))
        except UnknownTariff:
            unknown.append((model, tariff))
    for start in range(0, len(unknown), TARIFFS_AT_ONCE):
        these = tuple_(_calls.model, _calls.tariff).in_(unknown[start : start + TARIFFS_AT_ONCE])
        counted = select(_calls.model, _calls.tariff, func.count(), func.sum(_calls.nano_usd)).where(is_priced, these)
        for model, tariff, n_calls, nano_usd in connection.execute(counted.group_by(_calls.model, _calls.tariff)):
            found.append(Priced(model, tariff, n_calls, int(nano_usd), None, is_known=False))
    return found


def n_priced(connection: Connection) -> int:
    """How many calls have a price."""
    return connection.execute(
        select(func.count()).select_from(call_closings).where(_calls.tariff.is_not(None), _calls.nano_usd.is_not(None))
    ).scalar_one()


def mispriced(priced: Sequence[Priced]) -> Iterator[Select[Any]]:  # Any: a row of many columns
    """Questions for calls whose money is not their tariff times their tokens, as `questions.first_of` asks them."""
    plain = [one for one in priced if one.rates is not None]
    for start in range(0, len(plain), TARIFFS_AT_ONCE):
        rates = _listed(plain[start : start + TARIFFS_AT_ONCE])
        yield (
            select(
                literal("price_differs").label("kind"),
                _calls.id.label("name"),
                _calls.prompt_tokens,
                _calls.completion_tokens,
                _calls.nano_usd,
            )
            .join(rates, and_(rates.c.model == _calls.model, rates.c.tariff == _calls.tariff))
            .where(_is_short(rates), *_is_off(rates))
        )


def long_or_hourly(priced: Sequence[Priced]) -> Select[Any] | None:
    """The calls that no statement can price, `None` where there are none to look for; Any: a row of many columns."""
    hourly = [(one.model, one.tariff) for one in priced if one.is_known and one.rates is None]
    long: dict[int, list[tuple[str, str]]] = {}
    for one in priced:
        if one.rates is not None and one.rates.longest_prompt is not None:
            long.setdefault(one.rates.longest_prompt, []).append((one.model, one.tariff))
    if not hourly and not long:
        return None
    of = tuple_(_calls.model, _calls.tariff)
    beyond = [and_(of.in_(names), _calls.prompt_tokens > most) for most, names in long.items()]
    wanted = or_(of.in_(hourly) if hourly else false(), *beyond)
    return select(
        _calls.id,
        _calls.model,
        _calls.tariff,
        _calls.prompt_tokens,
        _calls.completion_tokens,
        _calls.cached_tokens,
        _calls.nano_usd,
        _calls.started_at,
    ).where(wanted, _calls.nano_usd.is_not(None))


def is_priced_right(call: Any, tariffs: Tariffs) -> bool:  # Any: a row of `long_or_hourly`
    """Price a call again and compare."""
    try:
        bill = tariffs.bill(
            call.model,
            prompt_tokens=call.prompt_tokens,
            completion_tokens=call.completion_tokens,
            cached_tokens=call.cached_tokens,
            at=call.started_at,
        )
    except (UnknownTariff, InvalidInput):
        return False
    return bool(bill.nano_usd == call.nano_usd)


def _listed(priced: Sequence[Priced]) -> CTE:
    rows = []
    for one in priced:
        known = one.rates or Rates(0, 0, 0, 0, 1)
        numbers = {name: value for name, value in known._asdict().items() if name != "longest_prompt"}
        longest = -1 if known.longest_prompt is None else known.longest_prompt
        rows.append(
            select(
                literal(one.model, Text).label("model"),
                literal(one.tariff, Text).label("tariff"),
                *(literal(value, BigInteger).label(name) for name, value in numbers.items()),
                literal(longest, BigInteger).label("longest_prompt"),
            )
        )
    return union_all(*rows).cte("rates")


def _is_short(rates: CTE) -> ColumnElement[bool]:
    return or_(rates.c.longest_prompt < 0, _calls.prompt_tokens <= rates.c.longest_prompt)


def _is_off(rates: CTE) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Off by more than half a nano-USD; at exactly half, the even number is right. First what tells most calls apart at once."""
    tokens = {
        "prompt": _calls.prompt_tokens - _calls.cached_tokens,
        "cached": _calls.cached_tokens,
        "completion": _calls.completion_tokens,
    }
    exact = rates.c.fixed + sum((_wide(count) * rates.c[name] for name, count in tokens.items()), start=literal(0))
    off = func.abs(2 * (exact - _wide(_calls.nano_usd) * rates.c.scale))
    return off >= rates.c.scale, or_(off > rates.c.scale, _calls.nano_usd % 2 != 0)


def _wide(number: ColumnElement[int]) -> ColumnElement[Any]:  # Any: a number without bounds, where the database has such
    return cast(number, Numeric(asdecimal=False))
