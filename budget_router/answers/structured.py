"""Structured answers, field by field: JSON, pydantic models and tool calls written in one canonical form.

Keys are sorted, white space goes, and numbers are written as numbers are: 1, 1.0 and 1e0 are one. The parser alone reads what a
model wrote; nothing of it is evaluated.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from budget_router.answers.final import normalise
from budget_router.answers.number import MAX_NUMBER_CHARACTERS, plain_decimal
from budget_router.answers.rule import AnswerRule, end_of
from budget_router.errors import InvalidInput

MAX_SCANNED_CHARACTERS = 10_000_000
"""Read in vain, over all places where a value might begin, before the search is given up."""

_OPENING = re.compile(r"""\{(?=\s*+["}])|\[(?=\s*+[]\["{\-\dtfn])""")
_COUNTING_SPEED = 64  # characters in which a failed attempt counts lines, for one that it parses

Json = Any  # what JSON can hold
T = TypeVar("T")


class ToolCall(NamedTuple):
    """A tool that a model asks for."""

    name: str
    arguments: Mapping[str, Json]


def json_answer(text: str) -> str | None:
    """The last object or list of JSON in a reply, field by field; texts in it as `normalise` writes them.

    >>> json_answer('Here it is: {"total": 52.0, "city": "Paris "}')
    '{"city":"paris","total":52}'
    """
    found = _last_json(end_of(text))
    return None if found is None else _canonical_or_none(_DECODER.decode(found))


def structured(schema: type[T], *, fields: Mapping[str, AnswerRule] | None = None) -> AnswerRule:
    """Make a rule that reads a reply as JSON of a schema: what does not validate is no answer.

    Args:
        schema: a pydantic model, or another class that pydantic validates.
        fields: those that count, each with the rule that writes its text; by default all of them, as `normalise` writes them.
            Leave out what may differ between equal answers, such as a field for the reasoning.

    Raises:
        InvalidInput: `fields` is empty, or names a field that the schema does not have.

    >>> from pydantic import BaseModel
    >>> class Invoice(BaseModel):
    ...     reasoning: str
    ...     total: float
    >>> rule = structured(Invoice, fields={"total": normalise})
    >>> rule('{"reasoning": "as I said", "total": "52.0"}')
    '{"total":"52"}'
    """
    adapter = TypeAdapter(schema)
    if fields is not None:
        known = adapter.json_schema(by_alias=False, mode="serialization").get("properties", {})
        if not fields or not fields.keys() <= known.keys():
            raise InvalidInput(
                f"fields {list(fields)} of {schema.__name__}: name at least one that it has, {', '.join(known) or 'it has none'}"
            )

    def rule(text: str) -> str | None:
        found = _last_json(end_of(text))
        if found is None:
            return None
        try:
            value = adapter.dump_python(adapter.validate_json(found), mode="json")
        except ValidationError:
            return None
        if fields is None:
            return _canonical_or_none(value)
        shown = {name: value[name] if isinstance(value[name], str) else canonical_json(value[name]) for name in fields}
        return canonical_json({name: of(shown[name]) for name, of in fields.items()})

    return rule


def canonical_calls(calls: Sequence[ToolCall]) -> str:
    """Tool calls by name and arguments, in their order; texts in the arguments count to the letter, for tools do.

    >>> canonical_calls([ToolCall("search", {"limit": 5.0, "q": "Paris"})])
    '[{"arguments":{"limit":5,"q":"Paris"},"name":"search"}]'
    """
    return canonical_json([{"name": call.name, "arguments": call.arguments} for call in calls])


def canonical_json(value: Json, text: AnswerRule = str) -> str:
    """Write a JSON value in one way: keys sorted, no white space, numbers plain, each text as the rule `text` writes it."""
    match value:
        case bool() | None:
            return json.dumps(value)
        case int() | float() | Decimal():
            return plain_decimal(value)
        case Mapping():
            fields = sorted((str(key), canonical_json(one, text)) for key, one in value.items())
            return "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{one}" for key, one in fields) + "}"
        case list() | tuple():
            return "[" + ",".join(canonical_json(one, text) for one in value) + "]"
        case _:
            return json.dumps(text(str(value)), ensure_ascii=False)


def _canonical_or_none(value: Json) -> str | None:
    try:
        return canonical_json(value, normalise)
    except RecursionError:  # nested deeper than anybody's answer
        return None


def _last_json(text: str) -> str | None:
    """The last object or list that stands in a text, as it is written."""
    last: str | None = None
    place, n_in_vain = 0, 0
    while n_in_vain < MAX_SCANNED_CHARACTERS and (opening := _OPENING.search(text, place)):
        start = opening.start()
        try:
            _, place = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            place = start + 1
            n_in_vain += error.pos - start + error.pos // _COUNTING_SPEED + 1
        except RecursionError:
            break
        except ValueError:  # a number that nobody would write
            place = start + 1
            n_in_vain += len(text) - start
        else:
            last = text[start:place]
    return last


def _number(digits: str) -> Decimal:
    if len(digits) > MAX_NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(digits)} digits")
    return Decimal(digits)


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_number, parse_int=_number, parse_constant=_refused)
