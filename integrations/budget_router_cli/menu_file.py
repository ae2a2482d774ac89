"""A menu as a TOML file: one `[[strategy]]` table each, cheap to dear, and the user's own prices of models.

    [[strategy]]
    kind = "single_shot"
    max_tokens = 200

    [[strategy]]
    kind = "escalate"
    agreement = 1.0
    first = { kind = "self_consistency", k = 3, max_tokens = 200 }
    then = { kind = "extended_cot", effort = "high", max_tokens = 4000 }

    [tariff.my-local-model]  # USD per million tokens
    prompt = 0.1
    completion = 0.4

The keys of a strategy are the fields of its class; `kind` tells which.
"""

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from budget_router import Menu, Tariff, Tariffs
from budget_router.errors import InvalidInput

_KEYS = {"strategy", "tariff"}


class MenuFile(NamedTuple):
    """What a menu file says."""

    menu: Menu
    tariffs: Tariffs


def read_menu(path: Path) -> MenuFile:
    """Read a menu file; raises InvalidInput that names the file, the strategy and the field for whatever is wrong."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as a menu: {error}") from error
    if unknown := set(told) - _KEYS:
        raise InvalidInput(f"{path}: unknown table {min(unknown)!r}: a menu has [[strategy]] tables, and [tariff.MODEL] ones")
    strategies, prices = told.get("strategy", []), told.get("tariff", {})
    if not isinstance(strategies, list) or not isinstance(prices, dict):
        raise InvalidInput(
            f"{path}: write each strategy as a table of its own under [[strategy]], each price under [tariff.MODEL]"
        )
    try:
        return MenuFile(Menu(strategies), Tariffs({name: _tariff(name, price) for name, price in prices.items()}))
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def _tariff(name: str, price: Any) -> Tariff:  # Any: whatever the file holds, checked by the tariff
    if not isinstance(price, dict):
        raise InvalidInput(f"tariff {name!r} is {price!r}: write it as a table with prompt and completion")
    return Tariff(**{field: str(amount) for field, amount in price.items()})  # as it is written, not as a float
