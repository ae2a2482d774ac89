"""Find the answer in a reply, and write equal answers equally, so that they can be counted."""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

AnswerRule = Callable[[str], str | None]
"""Takes a reply's text, gives its normalised answer, or `None` when it holds none."""

MAX_REPLY_CHARACTERS = 200_000
"""Only the end of a longer reply is searched: an answer stands last, and a hostile reply must not take time."""

# possessive where white space repeats: giving it back would take quadratic time on a hostile reply
_MARKER = re.compile(r"(?:answer\s*+(?:is\s*+)?+[:=]\s*+)+(\S.*)", re.IGNORECASE)
_BRACE = re.compile(r"\\boxed\{|\\[{}]|[{}]")
_SIGN = r"(?:(?<![\w.)%])[-+])?"  # of a number, not of a difference or a range: 3-5 ends in 5
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?<![\w.])(?=\.\d))(?:\.\d+)?"
_NUMBER = re.compile(_SIGN + _DIGITS + r"(?:[eE][-+]?\d{1,3})?%?")
_CHOICE = re.compile(r"(?<![A-Za-z])\(?([A-Ja-j])(?![A-Za-z'’])\)?")
_MINUS = "\N{MINUS SIGN}"
_WRAPPING = " \t\n\"'`*_.,;:!?()[]{}$"


def final_answer(text: str) -> str | None:
    r"""The answer after the last "Answer:" or in the last box; a reply of one line is its own answer.

    >>> final_answer("60 - 8 = 52 dollars.\nAnswer: $52.00")
    '52'
    >>> final_answer("I would have to think about that.\nLet me see.") is None
    True
    """
    text = text[-MAX_REPLY_CHARACTERS:].strip()
    if (boxed := _last_box(text)) is not None:
        return normalise(boxed)
    if marked := _MARKER.findall(text):
        return normalise(marked[-1])
    return normalise(text) if text and "\n" not in text else None


def last_number(text: str) -> str | None:
    """The last number of a reply.

    >>> last_number("27 + 41 = 68, so 1,068 in all")
    '1068'
    """
    numbers = _NUMBER.findall(text[-MAX_REPLY_CHARACTERS:].replace(_MINUS, "-"))
    return normalise(numbers[-1]) if numbers else None


def choice_letter(text: str) -> str | None:
    """The letter of a multiple-choice answer: of the marked answer, or the last one that stands alone.

    >>> choice_letter("(B) is tempting, but the answer is: (C)")
    'c'
    """
    text = text[-MAX_REPLY_CHARACTERS:]
    marked = _MARKER.findall(text)
    letters = _CHOICE.findall(marked[-1] if marked else text)
    return (letters[0] if marked else letters[-1]).lower() if letters else None


def normalise(answer: str) -> str | None:
    """Write equal answers equally: case, white space, wrapping signs, and the many ways to write one number.

    >>> normalise(" **1,250.50** "), normalise("$.50"), normalise("Yes."), normalise("...")
    ('1250.5', '0.5', 'yes', None)
    """
    whole = " ".join(answer[-MAX_REPLY_CHARACTERS:].split()).replace(_MINUS, "-")
    plain = whole.lstrip(_WRAPPING)
    if plain[:1].isdecimal() and re.search(r"(?<!\.)\.$", whole[: len(whole) - len(plain)]):
        plain = "." + plain  # of .5 the point is no wrapping
    plain = plain.rstrip(_WRAPPING).casefold()
    plain += "}" * (plain.count("{") - plain.count("}"))  # nor is the last brace of a formula
    if not plain:
        return None
    return _plain_number(plain) if _NUMBER.fullmatch(plain) else plain


def _last_box(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}` that is closed, the inner one of two nested ones."""
    opened: list[tuple[bool, int]] = []
    last: tuple[int, int] | None = None
    for brace in _BRACE.finditer(text):
        if brace[0] == "}":
            is_box, start = opened.pop() if opened else (False, 0)
            if is_box and (last is None or start > last[0]):
                last = start, brace.start()
        elif brace[0] not in (r"\{", r"\}"):
            opened.append((brace[0] != "{", brace.end()))
    return text[slice(*last)] if last else None


def _plain_number(text: str) -> str:
    try:
        number = Decimal(text.replace(",", "").rstrip("%"))
    except InvalidOperation:  # digits of other scripts that the pattern lets pass and Decimal does not
        return text
    if number and abs(number.adjusted()) > 30:  # writing 1e999 out would take a page
        return text
    shown = format(number, "f") if number else "0"  # exact: rounding to a context's digits would make other numbers equal
    shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    return shown + ("%" if text.endswith("%") else "")
