"""Tasks with their right answers as a JSON Lines file.

Each line is an object with `text` and `gold`, the right answer, and if known an `id`, a `group` and `metadata`:

    {"text": "What is 27 + 41?", "gold": "68", "id": "arith-1", "metadata": {"kind": "arithmetic"}}
"""

import json
from pathlib import Path

from budget_router.errors import InvalidInput
from budget_router_langchain import LabelledTask


def read_tasks(path: Path) -> list[LabelledTask]:
    """Read a task file; raises InvalidInput that names the file and the line for whatever is wrong."""
    tasks = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    tasks.append(_task(line, f"{path}, line {number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as tasks: {error}") from error
    if not tasks:
        raise InvalidInput(f"{path} holds no task: write one JSON object per line, with text and gold")
    return tasks


def _task(line: str, place: str) -> LabelledTask:
    try:
        told = json.loads(line)
    except ValueError as error:
        raise InvalidInput(f"{place}: no JSON: {error}") from error
    if not isinstance(told, dict) or "gold" not in told:
        raise InvalidInput(f'{place}: write an object such as {{"text": "What is 27 + 41?", "gold": "68"}}')
    try:
        return LabelledTask(**{**told, "gold": str(told["gold"])})
    except InvalidInput as error:
        raise InvalidInput(f"{place}: {error}") from error
