"""The world that stands for a model and its users: tasks of three kinds, answers that are right with known odds, bills by tokens.

What a strategy is worth on each kind is known here, and nowhere else: so the picture can show beside what the router did what the
best mix of strategies would have done that looks at no task.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from budget_router import Budget, Call, ExtendedCoT, Menu, SelfConsistency, SingleShot, Spend, Strategy, Tariff, Tariffs, Task
from budget_router.policies import Mixture
from budget_router.strategies import Draw, Result, majority

MODEL = "scripted-1"
BUDGET = Budget(per_task=0.0009, unit="usd")
FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)

QUICK = SingleShot(name="answer", typical_completion_tokens=120)
VOTE = SelfConsistency(name="vote of 5", k=5, typical_completion_tokens=120)
THINK = ExtendedCoT(name="think hard", effort="high", typical_completion_tokens=1400)
SKETCH = ExtendedCoT(name="think briefly", effort="low", typical_completion_tokens=450)
MENUS = Menu([QUICK, VOTE, THINK]), Menu([QUICK, SKETCH, VOTE, THINK]), Menu([QUICK, SKETCH, THINK])
"""The first, the one with a strategy more, and the one with a strategy less."""

KINDS = ("lookup", "sum", "plan")
RIGHT = {
    "lookup": {None: 0.95, "low": 0.96, "high": 0.96},
    "sum": {None: 0.50, "low": 0.86, "high": 0.92},
    "plan": {None: 0.10, "low": 0.35, "high": 0.88},
}
"""Probability that one answer is right, by the kind of task and how much the model thinks."""
LENGTH = {
    "lookup": {None: 50, "low": 360, "high": 900},
    "sum": {None: 110, "low": 400, "high": 1200},
    "plan": {None: 180, "low": 560, "high": 1500},
}
"""Completion tokens of one answer, on average."""
N_WRONG = 8
"""Wrong answers that there are."""
_ASKED = {
    "lookup": "Which plan is account {} on, and when does it renew ?",
    "sum": "Account {} was billed {} dollars and {} cents for {} seats, and paid {} dollars . How much is still due ?",
    "plan": "Plan the migration of account {} from {} regions to {} : list each step , then prove that no request is lost "
    "if either region fails first , and explain what to do for all {} tenants if both do .",
}


@dataclass
class World:
    """A model, its prices, and the tasks of each day."""

    seed: int = 0
    tariffs: Tariffs = field(default_factory=lambda: Tariffs({MODEL: Tariff(prompt="0.50", completion="2.00")}))
    kinds: tuple[float, ...] = (0.58, 0.28, 0.14)
    """Shares of the kinds of tasks."""
    now: datetime = FIRST_DAY
    """The simulated moment."""

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._n_tasks = 0

    def grows_harder(self) -> None:
        """From now on fewer tasks are looked up, and more are planned."""
        self.kinds = (0.48, 0.28, 0.24)

    def grows_dearer(self) -> None:
        """From now on a token that is written costs a quarter more."""
        self.tariffs.own[MODEL] = Tariff(prompt="0.50", completion="2.50")

    def tasks(self, n_tasks: int) -> list[Task]:
        """The tasks of a day."""
        found = []
        for kind in self._rng.choice(KINDS, n_tasks, p=self.kinds):
            self._n_tasks += 1
            text = _ASKED[kind].format(*self._rng.integers(2, 10_000, 5))
            found.append(Task(text, id=f"task {self._n_tasks}", metadata={"channel": str(self._rng.choice(["mail", "chat"]))}))
        return found

    def passes(self, span: timedelta) -> None:
        """Let time pass."""
        self.now += span

    def answered(self, task: Task, strategy: Strategy) -> tuple[Result, list[tuple[int, int]]]:
        """Run a strategy on a task: what was answered, and prompt and completion tokens of each call."""
        kind, effort = kind_of(task), getattr(strategy, "effort", None)
        is_right = self._rng.random(strategy.n_samples) < RIGHT[kind][effort]
        answers = ["right" if one else f"wrong {self._rng.integers(N_WRONG)}" for one in is_right]
        vote = majority(answers)
        winner = answers[vote.winner or 0]
        lengths = LENGTH[kind][effort] * self._rng.lognormal(-0.01, 0.15, strategy.n_samples)
        draws = tuple(Draw(index, None, answer, answer) for index, answer in enumerate(answers))
        bills = [(len(task.text) // 4, max(int(length), 1)) for length in lengths]
        return Result(winner, winner, vote.agreement, draws), bills

    def calls(self, decision_id: str, bills: list[tuple[int, int]]) -> list[Call]:
        """The calls behind an answer."""
        return [
            Call(
                id=f"{decision_id} {place}",
                decision_id=decision_id,
                model=MODEL,
                started_at=self.now,
                prompt_tokens=prompt,
                completion_tokens=completion,
                seconds=completion / 80,
            )
            for place, (prompt, completion) in enumerate(bills)
        ]

    def grade_comes_in(self) -> int:
        """Days until somebody says how good an answer was: mostly none, sometimes two."""
        return int(self._rng.choice([0, 1, 2], p=[0.7, 0.2, 0.1]))

    def static_accuracy(self, menu: Menu) -> float:
        """What the best mix of a menu's strategies answers right at the budget, today, if it looks at no task."""
        right = np.array([[_expected(kind, strategy) for strategy in menu] for kind in KINDS])
        cost = np.array([[self._cost(kind, strategy) for strategy in menu] for kind in KINDS])
        share = np.array(self.kinds)
        mixture = Mixture(share @ right, share @ cost)
        return float(mixture.choose(mixture.predict([Task("Any?")]), BUDGET.per_task).probabilities[0] @ mixture.accuracy)

    def _cost(self, kind: str, strategy: Strategy) -> float:
        bill = self.tariffs.bill(
            MODEL,
            prompt_tokens=len(_ASKED[kind]) // 4 + 3,
            completion_tokens=LENGTH[kind][getattr(strategy, "effort", None)],
        )
        return strategy.n_samples * bill.nano_usd / 1e9


def kind_of(task: Task) -> str:
    """The kind of a task, which its text tells."""
    return next(kind for kind in KINDS if task.text.startswith(_ASKED[kind].split(" ")[0] + " "))


def spent(calls: list[Call]) -> Spend:
    """What calls came to; they ran side by side."""
    return Spend.of(calls, seconds=max(call.seconds for call in calls))


def _expected(kind: str, strategy: Strategy) -> float:
    """Probability that a strategy is right; of a vote, by drawing it."""
    right = RIGHT[kind][getattr(strategy, "effort", None)]
    if strategy.n_samples == 1:
        return right
    rng = np.random.default_rng(0)
    answers = np.where(
        rng.random((4000, strategy.n_samples)) < right, 0, 1 + rng.integers(N_WRONG, size=(4000, strategy.n_samples))
    )
    votes = np.array([np.bincount(row, minlength=N_WRONG + 1) for row in answers])
    is_ahead = votes[:, 0] > votes[:, 1:].max(axis=1)
    is_tied = votes[:, 0] == votes[:, 1:].max(axis=1)
    first = np.argmax(votes[np.arange(len(votes))[:, None], answers] == votes.max(axis=1, keepdims=True), axis=1)
    return float((is_ahead | (is_tied & (answers[np.arange(len(answers)), first] == 0))).mean())
