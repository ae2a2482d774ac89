"""Columns of a file's answer, each in one text: a row that is handed over alone costs more than it takes to find."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic_core import from_json
from sqlalchemy import ColumnElement, Double, Integer, Label, Select, func, type_coerce

from budget_router_sql.schema import Json, UtcTime

_BETWEEN = "\x1e"
"""Parts texts that hold no control character."""
_EXACT = "%!.17g"
"""Writes a number to its last digit."""
_UTC = "+00:00"
"""A file keeps no time zone."""

Columns = Sequence[ColumnElement[Any]]
"""Any: of any type."""


@lru_cache
def joined(question: Select[Any]) -> Select[*tuple[str, ...]]:  # Any: columns of any type
    """A question for the columns of another, each in one text, but for all numbers in one; the rows are in no order."""
    others, numbers = _by_kind(question)
    texts = [*map(_joined, others), *([_joined_numbers(numbers)] if numbers else [])]
    return question.with_only_columns(*texts).order_by(None)


def parted(question: Select[Any], texts: Sequence[str | None]) -> list[list[Any]]:
    """The columns that texts were made of; raises ValueError where something else stands. Any: of each column's own type."""
    others, numbers = _by_kind(question)
    found = iter([_parted(column, text) for column, text in zip(others, texts, strict=False)])
    counted = iter(_parted_numbers(texts[-1], len(numbers)) if numbers else [])
    return [next(counted if _is_number(column) else found) for column in question.selected_columns]


@lru_cache
def _by_kind(question: Select[Any]) -> tuple[Columns, Columns]:
    columns = [column.element if isinstance(column, Label) else column for column in question.selected_columns]
    return [column for column in columns if not _is_number(column)], [column for column in columns if _is_number(column)]


def _is_number(column: ColumnElement[Any]) -> bool:
    return isinstance(column.type, Double)


def _joined(column: ColumnElement[Any]) -> ColumnElement[str]:
    if isinstance(column.type, Json):  # as it is: to quote it takes as long as to find it
        return func.group_concat(func.coalesce(column, ""), _BETWEEN)
    return func.json_group_array(column)


def _joined_numbers(columns: Columns) -> ColumnElement[str]:
    """Of each row its numbers, and one that tells by its bits which of them are none."""
    are_none = sum(type_coerce(column.is_(None), Integer) * (1 << place) for place, column in enumerate(columns))
    return func.group_concat(func.printf(",".join([*[_EXACT] * len(columns), "%d"]), *columns, are_none))


def _parted(column: ColumnElement[Any], text: str | None) -> list[Any]:
    if text is None:  # of no rows
        return []
    if isinstance(column.type, Json):
        return [one or None for one in text.split(_BETWEEN)]
    found: list[Any] = from_json(text)
    if isinstance(column.type, UtcTime) and found:
        return list(map(datetime.fromisoformat, f"{f'{_UTC},'.join(found)}{_UTC}".split(",")))
    return found


def _parted_numbers(text: str | None, n_columns: int) -> list[list[float | None]]:
    told = from_json(f"[{text or ''}]")
    *columns, are_none = (told[place :: n_columns + 1] for place in range(n_columns + 1))
    some = {place for bits in set(are_none) for place in range(n_columns) if bits >> place & 1}
    for place in some:
        columns[place] = [None if bits >> place & 1 else number for number, bits in zip(columns[place], are_none, strict=True)]
    return columns
