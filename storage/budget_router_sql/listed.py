"""Many ids that a question is asked with, as one JSON array: to hand over each alone takes longer than to look it up."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, FunctionElement, Text, bindparam, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler


class _each_of(FunctionElement[str]):  # noqa: N801  # reads as the function it is
    """A row for each text of an array, its column `value`."""

    type = Text()
    inherit_cache = True


@compiles(_each_of, "sqlite")
def _on_sqlite(element: _each_of, compiler: SQLCompiler, **told: Any) -> str:  # Any: SQLAlchemy's signature
    return f"json_each({compiler.process(element.clauses, **told)})"


@compiles(_each_of, "postgresql")
def _on_postgresql(element: _each_of, compiler: SQLCompiler, **told: Any) -> str:  # Any: SQLAlchemy's signature
    return f"jsonb_array_elements_text(CAST({compiler.process(element.clauses, **told)} AS jsonb))"


def is_listed(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Whether a column's id is among those that `name` is given as `listed` writes them."""
    return column.in_(select(_each_of(bindparam(name, type_=Text)).table_valued("value").c.value))


def listed(ids: Sequence[str]) -> str:
    """Ids as one array."""
    return json.dumps(ids)
