"""Columns of a file's answer, each in one text: a row that is handed over alone costs more than it takes to find."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from pydantic_core import from_json
from sqlalchemy import ColumnElement, Double, Select, case, func, literal, select

from budget_router_sql.schema import Json, UtcTime

_MOST_ROWS = 2**62
_BETWEEN = "\x1e"
"""Parts texts that hold no control character."""


@lru_cache
def joined(question: Select[Any]) -> Select[*tuple[str, ...]]:  # Any: columns of any type
    """A question for the columns of another, each in one text; with a limit it keeps its order."""
    rows = question.limit(_MOST_ROWS).subquery()
    return select(*map(_joined, rows.c))


def parted(question: Select[Any], texts: Sequence[str | None]) -> list[list[Any]]:
    """The columns that texts were made of; raises ValueError where something else stands. Any: of each column's own type."""
    return list(map(_parted, question.selected_columns, texts))


def _joined(column: ColumnElement[Any]) -> ColumnElement[str]:
    match column.type:
        case Json():  # as it is: to quote it takes as long as to find it
            return func.group_concat(func.coalesce(column, ""), _BETWEEN)
        case Double():  # to the last digit
            digits = case((column.is_(None), "null"), else_=func.printf("%!.17g", column))
            return literal("[").concat(func.group_concat(digits)).concat("]")
        case _:
            return func.json_group_array(column)


def _parted(column: ColumnElement[Any], text: str | None) -> list[Any]:
    if text is None:  # of no rows
        return []
    if isinstance(column.type, Json):
        return [one or None for one in text.split(_BETWEEN)]
    found: list[Any] = from_json(text)
    if isinstance(column.type, UtcTime):  # a file keeps no time zone
        return [moment and datetime.fromisoformat(f"{moment}+00:00") for moment in found]
    return found
