"""Which replies are read so fast that an event loop need not be spared it: a thread costs more than they do."""

from collections.abc import Callable, Iterable

from budget_router.answers.choice import choice_letter
from budget_router.answers.final import final_answer, final_number, last_number
from budget_router.answers.rule import AnswerRule

MOST_CHARACTERS = 4_000
"""Of all the replies of a round: some tenths of a millisecond, on a hostile one a few."""

_QUICK: frozenset[Callable[[str], str | None]] = frozenset({final_answer, final_number, last_number, choice_letter})
"""Rules of ours that pass over a text once; a formula, and whatever the user's own rule does, may take its time."""


def are_quick(rule: AnswerRule, texts: Iterable[str]) -> bool:
    """Whether a rule finds the answers in some replies at once.

    >>> are_quick(final_answer, ["Answer: 4", "Answer: 5"]), are_quick(lambda text: text, ["4"])
    (True, False)
    """
    return rule in _QUICK and sum(map(len, texts)) <= MOST_CHARACTERS
