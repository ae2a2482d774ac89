"""Streams to pace: tasks with heavy-tailed bills, a policy calibrated on yesterday's tasks, and what may go wrong today.

Accuracy is logistic in skill minus difficulty, both blurred; a strategy's expected cost is its mean times the task's size, which
the policy knows; the bill is that times a lognormal of σ = 0.8, cut off at five times its mean as a limit on tokens does it. The
dearest strategy costs sixteen budgets, so single bills reach a hundred. The policy guesses accuracy with an error, and prices
by the same `PriceCurve` as a learned one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.policies.contract import Choice, Prediction
from budget_router.policies.pricing import PriceCurve
from budget_router.task import Task

BUDGET = 1.2e-3
"""USD per task."""
MEAN_COST = BUDGET * np.array([0.2, 0.5, 1.5, 5.0, 16.0])
"""Of each strategy, USD per task of a thousand tokens."""
N_KNOWN = 2000
"""Tasks that the policy was calibrated on."""

_SKILL = np.linspace(-1, 2, len(MEAN_COST))
_DIFFICULTY, _BLUR, _ERROR = 1.5, 0.5, 0.03
"""Standard deviations: of difficulty, of skill from task to task, and of the policy's guesses of accuracy."""
_SIZE, _TAIL, _LIMIT = 0.5, 0.8, 5.0
"""σ of the lognormal sizes and bills, and where a bill is cut off, in expected ones."""


@dataclass(frozen=True)
class Stream:
    """Tasks in the order of their coming, and what would come of each strategy on them."""

    accuracy: FloatArray
    """(n_tasks, n_strategies) expected score."""
    bill: FloatArray
    """(n_tasks, n_strategies) what is billed, USD."""
    guess: FloatArray
    """(n_tasks, n_strategies) accuracy that the policy predicts."""
    cost: FloatArray
    """(n_tasks, n_strategies) cost that the policy predicts, USD."""
    delay: IntArray
    """(n_tasks,) decisions that are made before this one's bill is known."""
    is_failed: IntArray
    """(n_tasks,) 1 where no answer comes, and no bill."""

    @classmethod
    def drawn(cls, rng: np.random.Generator, ease: FloatArray) -> Self:
        """Tasks that are easier by `ease`, (n_tasks,); bills are known at once."""
        shape = len(ease), len(MEAN_COST)
        level = _SKILL + ease[:, None] + rng.normal(0, _DIFFICULTY, (len(ease), 1))
        accuracy = _logistic(level + rng.normal(0, _BLUR, shape))
        guess = np.clip(_logistic(level + rng.normal(0, _BLUR, (len(ease), 1))) + rng.normal(0, _ERROR, shape), 0, 1)
        cost = MEAN_COST * rng.lognormal(-(_SIZE**2) / 2, _SIZE, (len(ease), 1))
        bill = cost * np.minimum(rng.lognormal(-(_TAIL**2) / 2, _TAIL, shape), _LIMIT)
        nothing = np.zeros(len(ease), dtype=np.intp)
        return cls(accuracy, bill, guess, cost, nothing, nothing)

    def priced(self, factor: FloatArray) -> Self:
        """The same tasks, their bills multiplied by `factor`, (n_tasks,)."""
        return replace(self, bill=self.bill * factor[:, None])

    def failing(self, is_failed: IntArray) -> Self:
        """The same tasks, some of which get no answer."""
        answered = 1 - is_failed[:, None]
        return replace(self, accuracy=self.accuracy * answered, bill=self.bill * answered, is_failed=is_failed)

    def late(self, delay: IntArray) -> Self:
        """The same tasks, their bills known later."""
        return replace(self, delay=delay)

    def prediction(self, rows: slice = slice(None)) -> Prediction:
        """What the policy predicts of some of the tasks."""
        return Prediction(self.cost[rows], self.guess[rows], self.guess[rows])

    def outcome(self, actions: IntArray) -> tuple[FloatArray, FloatArray]:
        """Bill and accuracy of each task, (n_tasks,) each."""
        rows = np.arange(len(actions))
        return self.bill[rows, actions], self.accuracy[rows, actions]


class Calibrated:
    """A policy whose predictions are given, priced on tasks of the day before; a task's id is its row."""

    version = "calibrated"

    def __init__(self, known: Stream, stream: Stream) -> None:
        self.curve = PriceCurve.of(known.prediction(), billed=known.bill)
        self._stream = stream

    def predict(self, tasks: Sequence[Task]) -> Prediction:
        """Look the tasks up."""
        rows = [int(task.id or 0) for task in tasks]
        cost, guess = self._stream.cost[rows], self._stream.guess[rows]
        return Prediction(cost, guess, guess)

    def choose(self, prediction: Prediction, budget: float, *, floor: float = 0.0) -> Choice:
        """As a learned policy does."""
        return self.curve.choose(prediction, budget, floor=floor)


SCENARIOS = {
    "stationary": "nothing changes",
    "harder tasks": "difficulty rises by two thirds of its deviation, half way",
    "easier tasks": "difficulty falls by its deviation, half way",
    "price × 3": "all bills triple half way",
    "price × 0.1": "all bills fall to a tenth half way",
    "bursts": "of 250 decisions, 100 are made before the first of them settles",
    "outage": "200 decisions fail half way and bill nothing",
    "late bills": "bills come 50 decisions late in the median, one in ten 180 or more, at most 500",
}


def stream_of(name: str, rng: np.random.Generator, n_tasks: int) -> Stream:
    """The stream of a scenario."""
    row = np.arange(n_tasks)
    is_after = row >= n_tasks // 2
    ease = {"harder tasks": -1.0, "easier tasks": 1.5}.get(name, 0.0)
    stream = Stream.drawn(rng, np.where(is_after, ease, 0.0))
    if name.startswith("price"):
        return stream.priced(np.where(is_after, float(name.removeprefix("price × ")), 1.0))
    if name == "bursts":
        return stream.late(np.maximum(99 - row % 250, 0))
    if name == "outage":
        return stream.failing((is_after & (row < n_tasks // 2 + 200)).astype(np.intp))
    if name == "late bills":
        return stream.late(np.minimum(rng.lognormal(np.log(50), 1, n_tasks), 500).astype(np.intp))
    return stream


def _logistic(level: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-level)))
