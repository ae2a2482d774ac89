"""Structure: what can be seen of a task at a glance, before any answer.

Counts of what makes reasoning long (numbers, operators, formulas, code, choices) and of how long and in which form it is asked.
Stateless and cheap.
"""

import math
from functools import lru_cache

from budget_router.features.reading import read

STRUCTURE_VERSION = "structure-1"

_KINDS: dict[str, str] = {  # the tokens that each count counts, lower case
    "operators": "- + * / = < > ^ × ÷ %",
    "questions": "?",
    "sentences": ". ! ? :",
    "commas": ", ;",
    "brackets": "{ } [ ] ( )",
    "quotes": "\" ' “ ” ’ `",
    "money": "$ € £ dollars euros cents",
    "code": "def return import class function print none true false python const let",
    "conditions": "if then all some none no every each not only unless either",
    "comparisons": "more less fewer larger largest smaller smallest than most least older younger first last second third",
    "rates": "per each every percent half twice times total altogether left remain remaining",
    "questions_of_number": "how many much long far number sum difference product",
    "units": "km m cm mm kg g hours hour minutes minute seconds second days day weeks week",
    "instructions": "write explain list prove find calculate compute solve show give describe",
}
_COUNTED = {
    token: [name for name, tokens in _KINDS.items() if token in tokens.split()] for token in " ".join(_KINDS.values()).split()
}
_SIZES = ("characters", "tokens", "words", "numbers", "digits", "latex", "lines", "capitals", "non_ascii")
STRUCTURE_NAMES: tuple[str, ...] = (*_SIZES, *_KINDS, "mean_word_length", "longest_number")


@lru_cache(maxsize=64)
def structural_features(text: str) -> tuple[float, ...]:
    """Describe a text by `STRUCTURE_NAMES`: counts as log(1 + n), so that a page does not drown a line.

    >>> dict(zip(STRUCTURE_NAMES, structural_features("What is 27 + 41?")))["numbers"] == math.log1p(2)
    True
    """
    tokens = read(text)
    words = [token for token in tokens if token.isalpha()]
    numbers = [token for token in tokens if token[0].isdecimal()]
    counts = dict.fromkeys(_KINDS, 0)
    for token in map(str.lower, tokens):
        for name in _COUNTED.get(token, ()):
            counts[name] += 1
    letters = sum(map(len, words))
    sizes = (
        len(text),
        len(tokens),
        len(words),
        len(numbers),
        sum(map(len, numbers)),
        sum(token[0] == "\\" for token in tokens),
        tokens.count("\n"),
        sum(word.isupper() for word in words),
        sum(not word.isascii() for word in words),
    )
    logs = map(math.log1p, (*sizes, *counts.values()))
    return (*logs, letters / len(words) if words else 0.0, float(max(map(len, numbers), default=0)))
