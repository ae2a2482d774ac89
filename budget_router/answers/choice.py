"""The letter of a multiple-choice answer, told from the pronoun and the article that look like one."""

import re

from budget_router.answers.final import marked_answer
from budget_router.answers.rule import end_of

_VERBS = r"(?:is|was|are|and|or|nor|because|since|as|would|seems?|looks?|fits?|must|can|with|but)\b"
_NAMED = re.compile(
    r"\(\s?([A-Za-z])\s?\)"  # (C)
    r"|\*\*\(?([A-Za-z])\)?[.:)]?\*\*"  # **C**
    r"|(?<![A-Za-z])([A-Z])\)"  # C)
    r"|\b(?i:options?|choices?|answers?|letters?)(?i:\s(?:is|was))?[\s:]{1,3}"  # option C, the answer is C
    rf"(?:([B-HJ-Zb-hj-z])(?![A-Za-z'’])|([AaIi])(?![A-Za-z'’])(?!\s(?!{_VERBS})[a-z]))"
)
_BARE = re.compile(rf"(?<![A-Za-z'’])(?:([B-HJ-Z])(?![A-Za-z'’])|(A)(?![A-Za-z'’])(?!\s(?!{_VERBS})[a-z]))")
_MARKED = re.compile(r"\W{0,5}([A-Za-z])(?![A-Za-z'’])(?:\s{0,2}$|\s?[^\sA-Za-z]|\n)")
_OPENING = re.compile(r"\W{0,5}(?:([A-Za-z])\W{0,5}$|([A-HJ-Z])[.:]\s)")


def choice_letter(text: str, *, letters: str = "ABCDEFGHIJ") -> str | None:
    """The letter of a multiple-choice answer: of the marked answer, or the last that a reply names.

    Letters in brackets or after "option" go before those that stand alone. "I" alone is the pronoun, and "A" before a noun the
    article, unless it is all that the answer says.

    Args:
        text: the reply.
        letters: that there are.

    >>> choice_letter("(B) is tempting, but the answer is: (C)"), choice_letter("The answer is D, I think.")
    ('c', 'd')
    """
    text = end_of(text).strip()
    offered = set(letters.lower())
    marked = marked_answer(text)
    if marked is not None:
        opening = _MARKED.match(marked)
        found = [opening[1].lower()] if opening else _letters(_NAMED, marked) or _letters(_BARE, marked)
        if kept := [letter for letter in found if letter in offered]:
            return kept[0]
    elif (opening := _OPENING.match(text)) and (letter := (opening[1] or opening[2]).lower()) in offered:
        return letter
    ways = (_letters(pattern, text) for pattern in (_NAMED, _BARE))
    return next((kept[-1] for found in ways if (kept := [letter for letter in found if letter in offered])), None)


def _letters(pattern: re.Pattern[str], text: str) -> list[str]:
    return [next(filter(None, found)).lower() for found in pattern.findall(text)]
