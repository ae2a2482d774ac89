"""What is to be reasoned about."""

import math
from typing import Any

from pydantic import Field, field_validator

from budget_router.errors import InvalidTask
from budget_router.words import Name, Word, storable

MAX_TASK_CHARACTERS = 1_000_000
"""Longest text a task may hold: four times the context of today's largest models at one token per character."""

MetadataValue = bool | int | float | str


class Task(Word):
    """One thing to be reasoned about, as it is known before any answer.

    Raises InvalidTask for text that is empty, longer than `MAX_TASK_CHARACTERS`, or not storable (NUL, lone surrogates).

    >>> Task("What is 27 + 41?", group="support").group
    'support'
    """

    text: str = Field(repr=False)
    id: Name | None = None
    """The caller's own name of the task; two decisions with one id are about the same task."""
    group: Name | None = None
    """The budget it draws on: a team, a route, an agent."""
    metadata: dict[str, MetadataValue] = Field(default_factory=dict)
    """Facts known before the answer, kept with the decision, learned from, and shown in reports by name; a text is a category."""

    def __init__(self, /, text: str = "", **fields: Any) -> None:  # Any: pydantic checks the fields just below
        super().__init__(text=check_text(text), **fields)

    @field_validator("metadata")
    @classmethod
    def _storable(cls, metadata: dict[str, MetadataValue]) -> dict[str, MetadataValue]:
        for name, fact in metadata.items():
            of = f"metadata {name[:40]!r}"
            check_text(name, of=of)
            if isinstance(fact, str) and fact.strip():
                check_text(fact, of=of)
            if isinstance(fact, float) and not math.isfinite(fact):
                raise InvalidTask(f"{of} is {fact}: JSON cannot hold it, leave it out or write it as text")
        return metadata


def check_text(text: object, *, of: str = "task") -> str:
    """Return `text` if it can be counted, stored and shown; otherwise raise InvalidTask with the mend."""
    if not isinstance(text, str):
        raise InvalidTask(f"{of}: text is a {type(text).__name__}, not a str: pass the text itself")
    if not text.strip():
        raise InvalidTask(f"{of}: text is empty: pass what is to be reasoned about")
    if len(text) > MAX_TASK_CHARACTERS:
        raise InvalidTask(
            f"{of}: text of {len(text):,} characters is over the limit of {MAX_TASK_CHARACTERS:,}: shorten or summarise it first"
        )
    try:
        return storable(text)
    except ValueError as error:
        raise InvalidTask(f"{of}: {error}") from error
