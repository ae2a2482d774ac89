"""Read a text once: the words, numbers and signs that every featuriser works from."""

import re
from functools import lru_cache

MAX_READ_CHARACTERS = 20_000
"""What is read of a longer text: its first and its last half of this, where a task states what it wants."""

_TOKEN = re.compile(r"[^\W\d_]+|\d+(?:[.,:]\d+)*|\\[a-zA-Z]+|\n|[^\w\s]")


@lru_cache(maxsize=64)
def read(text: str) -> tuple[str, ...]:
    r"""Split a text into words, numbers, LaTeX commands, line ends and signs; the last texts read are remembered.

    >>> read("Is 1,250 > 3.5?")
    ('Is', '1,250', '>', '3.5', '?')
    """
    if len(text) > MAX_READ_CHARACTERS:
        half = MAX_READ_CHARACTERS // 2
        text = text[:half] + text[-half:]
    return tuple(_TOKEN.findall(text))
