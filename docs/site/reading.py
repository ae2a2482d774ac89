"""How griffe reads this project's code for the reference."""

import re
from typing import Any

import griffe


class Reading(griffe.Extension):
    """Shows doctests as code, where griffe sees text whose lists look like links, and leaves pydantic's own settings out."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:  # Any: griffe's loader, for which there is no use
        """Fence the examples of one object's docstring before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:  # Any: as above
        """Forget what a class tells pydantic alone."""
        cls.members.pop("model_config", None)


def fenced(text: str) -> str:
    r"""The text with a code block around each run of examples.

    >>> fenced("Twice.\n\n>>> 2 * 2\n4\n\nNo more.").splitlines()
    ['Twice.', '', '```pycon', '>>> 2 * 2', '4', '```', '', 'No more.']
    """
    return re.sub(r"(?m)^>>> (?:.+\n?)+", lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)
