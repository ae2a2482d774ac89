"""Columns of a file's answer, each in one text: a row that is handed over alone costs more than it takes to find."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic_core import from_json
from sqlalchemy import BigInteger, ColumnElement, Double, Label, Select, Text, TypeDecorator, case, cast, func, type_coerce

from budget_router_sql.schema import Json, UtcTime

_BETWEEN = "\x1e"
"""Parts texts that hold no control character."""
_BETWEEN_ANY, _NONE = f"\x1e{secrets.token_hex(8)}\x1e", f"\x1f{secrets.token_hex(8)}\x1f"
"""Between any texts, and in the place of one that is not there: drawn anew by each process, so they stand in none."""
_EXACT = "%!.17g"
"""Writes a number to its last digit."""
_UNITS = 2.0**57
"""Most numbers are so many times a whole one of 64 bits, without loss; to write their digits takes three times as long."""
_UTC = "+00:00"
"""A file keeps no time zone."""


class LongText(TypeDecorator[str]):
    """A text that is long enough for each look at its letters to count."""

    impl = Text
    cache_ok = True


@lru_cache
def joined(question: Select[Any]) -> Select[*tuple[str, ...]]:  # Any: columns of any type
    """A question for the columns of another, each in one text; their rows are in no order, but all in the same."""
    columns = [column.element if isinstance(column, Label) else column for column in question.selected_columns]
    return question.with_only_columns(*map(_joined, columns)).order_by(None)


def parted(question: Select[Any], texts: Sequence[str | None]) -> list[list[Any]]:
    """The columns that texts were made of; raises ValueError where something else stands. Any: of each column's own type."""
    return list(map(_parted, question.selected_columns, texts))


def _joined(column: ColumnElement[Any]) -> ColumnElement[str]:
    match column.type:
        case Json():  # as it is: to quote it takes as long as to find it
            return func.group_concat(func.coalesce(column, ""), _BETWEEN)
        case LongText():
            return func.group_concat(func.coalesce(column, _NONE), _BETWEEN_ANY)
        case Double():
            n_units = column * _UNITS
            whole = cast(n_units, BigInteger)
            return func.json_group_array(case((whole == n_units, whole), (column.is_not(None), func.printf(_EXACT, column))))
        case UtcTime():
            return func.json_group_array(type_coerce(column, Text).concat(_UTC))
        case _:
            return func.json_group_array(column)


def _parted(column: ColumnElement[Any], text: str | None) -> list[Any]:
    if text is None:  # of no rows
        return []
    match column.type:
        case Json():
            return [one or None for one in text.split(_BETWEEN)]
        case LongText():
            return [None if one == _NONE else one for one in text.split(_BETWEEN_ANY)]
        case Double():
            return [told / _UNITS if isinstance(told, int) else told and float(told) for told in from_json(text)]
        case UtcTime():
            return list(map(datetime.fromisoformat, from_json(text)))
    found: list[Any] = from_json(text)
    return found
