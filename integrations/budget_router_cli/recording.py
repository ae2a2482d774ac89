"""Recorded answers of a real model, read from a folder: what the demo replays, and what it is scored against."""

import csv
import gzip
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from budget_router import ExtendedCoT, Menu, SelfConsistency, SingleShot, Strategy, Task
from budget_router.allocation import FloatArray
from budget_router.errors import InvalidInput
from budget_router.outcomes import vote_accuracy
from budget_router.strategies import normalise

INSTRUCTIONS = {
    "direct": "Reply with the final answer only, without any explanation.",
    "cot": "Solve the problem in a few short steps in plain text (no code). End with a line 'Answer: <answer>'.",
    "long_cot": (
        "Think step by step carefully in plain text (no code) and write out every calculation. Then check the result by working "
        "it out a second time and fix any mistake. End with a line 'Answer: <answer>'."
    ),
}
"""The prompts under which the samples were recorded, by the recording's name of them."""

_MARKER = re.compile(r"answer\s*(?:is)?\s*[:=]\s*", re.IGNORECASE)
_SHORT = re.compile(r"\d{1,2}:\d\d|[-+]?\d[\d,]*(?:\.\d+)?"), re.compile(r"\b(?:[A-Z][a-z]+|yes|no)\b")
_LIMITS = {"direct": 12, "cot": 140, "long_cot": 340}


@dataclass(frozen=True, slots=True)
class Completion:
    """One recorded reply with the token counts that its model reported."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    answer: str | None
    score: float


@dataclass(frozen=True)
class Recording:
    """Tasks, and every reply recorded for them under each prompt."""

    tasks: tuple[Task, ...]
    gold: dict[str, str]
    completions: dict[tuple[str, str], tuple[Completion, ...]]
    """By task id and prompt name."""

    @cached_property
    def by_text(self) -> dict[str, Task]:
        """Tasks by what they ask."""
        return {task.text: task for task in self.tasks}

    def of(self, task: Task, strategy: Strategy) -> tuple[Completion, ...]:
        """All replies recorded for a task under a strategy's prompt."""
        return self.completions[str(task.id), prompt_of(strategy)]

    def scores(self, task: Task, strategy: Strategy) -> dict[str, float]:
        """Score of each distinct answer to a task under a strategy's prompt."""
        return {reply.answer: reply.score for reply in self.of(task, strategy) if reply.answer is not None}

    def table(self, menu: Menu, *, half: tuple[int, int] | None = None) -> tuple[FloatArray, FloatArray]:
        """Expected accuracy and completion tokens, each (n_tasks, n_strategies), by counting all votes of the recorded samples.

        Args:
            menu: the columns.
            half: seed and side (0 or 1): read only one half of each task's samples, drawn at random. A vote of more samples
                than a half holds is then a vote of the whole half, at its cost.
        """
        key = menu.hash, half
        if key not in self._tables:
            cells = [[self._cell(row, strategy, half) for strategy in menu] for row in range(len(self.tasks))]
            self._tables[key] = np.array(cells)
        both = self._tables[key]
        return both[..., 0], both[..., 1]

    @cached_property
    def _tables(self) -> dict[tuple[str, tuple[int, int] | None], FloatArray]:
        return {}

    def _cell(self, row: int, strategy: Strategy, half: tuple[int, int] | None) -> tuple[float, float]:
        task = self.tasks[row]
        replies = self.of(task, strategy)
        if half is not None:
            seed, side = half
            shuffled = np.random.default_rng([seed, row, len(replies)]).permutation(len(replies))
            replies = tuple(replies[index] for index in shuffled[side::2])
        votes = min(strategy.n_samples, len(replies))
        accuracy = vote_accuracy([reply.answer for reply in replies], self.scores(task, strategy), votes)
        return accuracy, votes * float(np.mean([reply.completion_tokens for reply in replies]))


class Deck:
    """Serves the recorded replies of each task and prompt in an order of its own, over and over.

    Replies drawn in a row are distinct until all were drawn: k samples of one decision never repeat one.
    """

    def __init__(self, recording: Recording, *, seed: int) -> None:
        self.recording = recording
        rng = np.random.default_rng(seed)
        self._order = {key: rng.permutation(len(replies)) for key, replies in recording.completions.items()}
        self._drawn: dict[tuple[str, str], int] = defaultdict(int)

    def draw(self, task_id: str, prompt: str) -> Completion:
        """The next reply."""
        key = task_id, prompt
        order = self._order[key]
        position = int(order[self._drawn[key] % len(order)])
        self._drawn[key] += 1
        return self.recording.completions[key][position]


def demo_menu() -> Menu:
    """The strategies that the recording can serve, cheap to dear."""
    direct = {"instruction": INSTRUCTIONS["direct"], "max_tokens": _LIMITS["direct"], "typical_completion_tokens": 5}
    cot = {"instruction": INSTRUCTIONS["cot"], "max_tokens": _LIMITS["cot"], "typical_completion_tokens": 40}
    long_cot = {"instruction": INSTRUCTIONS["long_cot"], "max_tokens": _LIMITS["long_cot"], "typical_completion_tokens": 200}
    return Menu(
        [
            SingleShot(name="direct", **direct),
            SelfConsistency(name="direct_3", k=3, **direct),
            SingleShot(name="cot", **cot),
            SelfConsistency(name="cot_3", k=3, **cot),
            SelfConsistency(name="cot_5", k=5, **cot),
            ExtendedCoT(name="long_cot", **long_cot),
        ]
    )


@lru_cache(maxsize=2**14)  # the demo reads each recorded reply some thirty times
def short_answer(text: str) -> str | None:
    r"""The demo's answer rule: the last time or number after the last "Answer:", or the last name; then the same anywhere.

    >>> short_answer("18 ÷ 2 = 9.\nAnswer: 9 pencils"), short_answer("Hugo is the oldest."), short_answer("...")
    ('9', 'hugo', None)
    """
    for part in (_MARKER.split(text)[-1], text):
        for pattern in _SHORT:
            if found := pattern.findall(part):
                return normalise(found[-1])
    return None


def prompt_of(strategy: Strategy) -> str:
    """The recording's name of a strategy's prompt; raises InvalidInput for a prompt that was not recorded."""
    for name, instruction in INSTRUCTIONS.items():
        if strategy.sampling.instruction == instruction:
            return name
    raise InvalidInput(f"strategy {strategy.name!r} has no recorded prompt: there are {', '.join(INSTRUCTIONS)}")


def load_recording(folder: Path | None = None) -> Recording:
    """Read a recording; the demo's own when no folder is given."""
    place = folder or Path(str(files("budget_router_cli"))) / "demo_data"
    tasks, gold = [], {}
    for row in _rows(place / "tasks.csv.gz"):
        tasks.append(Task(row["task_text"], id=row["task_id"], metadata={"kind": row["family"]}))
        gold[row["task_id"]] = row["gold"]
    completions: dict[tuple[str, str], list[Completion]] = defaultdict(list)
    for row in _rows(place / "outcomes.csv.gz"):
        answer = short_answer(row["text"])
        is_right = answer is not None and answer == normalise(gold[row["task_id"]])
        reply = Completion(row["text"], int(row["prompt_tokens"]), int(row["completion_tokens"]), answer, float(is_right))
        completions[row["task_id"], row["action"]].append(reply)
    return Recording(tuple(tasks), gold, {key: tuple(replies) for key, replies in completions.items()})


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
            return list(csv.DictReader(text))
    except OSError as error:
        raise InvalidInput(f"{file.name} cannot be read in {file.parent}: {error}; name the folder of a recording") from error
