"""What an answer rule promises."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol, TypeGuard, runtime_checkable

AnswerRule = Callable[[str], str | None]
"""Takes a reply's text, gives its answer in a canonical form, or `None` when it holds none. Equal forms are one answer."""

MAX_REPLY_CHARACTERS = 200_000
"""Only the end of a longer reply is searched: an answer stands last, and a hostile reply must not take time."""


@runtime_checkable
class GroupingRule(Protocol):
    """An answer rule whose answers have no canonical form: it tells by looking at all of them which mean the same."""

    def __call__(self, text: str, /) -> str | None:
        """Find the answer in a reply, as any rule does."""
        ...

    def grouped(self, answers: Sequence[str | None], /) -> Sequence[str | None]:
        """Write answers that mean the same as the one of them given first; `None` stays `None`."""
        ...


def groups(rule: AnswerRule) -> TypeGuard[GroupingRule]:
    """Whether an answer rule is such a one."""
    kind: type = type(rule)
    return _group(kind)


@lru_cache
def _group(kind: type) -> bool:
    return issubclass(kind, GroupingRule)  # to ask each time takes longer than to read an answer


def end_of(text: str) -> str:
    """As much of a reply as is searched."""
    return text[-MAX_REPLY_CHARACTERS:]
