"""Strategies and menus out of JSON that comes again and again: one object for all rows that hold the same text."""

from functools import lru_cache

from pydantic import TypeAdapter

from budget_router.menu import Menu, Strategy

_STRATEGY: TypeAdapter[Strategy] = TypeAdapter(Strategy)
_MANY_STRATEGIES = 1024
_MANY_MENUS = 64


@lru_cache(_MANY_STRATEGIES)
def strategy_of(settings: str) -> Strategy:
    """The strategy whose `model_dump_json` this is; raises pydantic's ValidationError where it is none."""
    return _STRATEGY.validate_json(settings)


@lru_cache(_MANY_MENUS)
def menu_of(strategies: str) -> Menu:
    """The menu whose `model_dump_json` this is; raises as above."""
    return Menu.model_validate_json(strategies)
