"""The demo's experiment without a graph: the same router over the same recording, fast enough for many seeds.

Each seed splits the tasks at random. On the larger part a cold start serves a stream in which every task comes back a few times,
as questions do in production; then a policy is learned from the ledger and serves the unseen rest once. The kinds of question
that the recording knows are for the reports alone: the policy has to read them off the text. Everything goes through the public
API.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from budget_router import Budget, BudgetRouter, Decision, MemoryLedger, Menu, Spend, Task, refresh
from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation import Estimate, honest_oracle, mixes_at_spend, paired_bootstrap
from budget_router.strategies import Reply, Request, plan, run
from budget_router_cli.recording import Deck, Recording, prompt_of, short_answer

N_FOLDS, N_UNSEEN_FOLDS = 5, 2
"""Parts that the tasks are cut into, and how many of them are unseen: three fifths are learned from."""
N_VISITS = 3
"""Times that each training task comes by while the cold start collects."""
HORIZON = 25
"""Pacing horizon of the demo: its streams are a few hundred decisions long, so a deviation is worked off within a tenth."""
EXPLORATION = 0.002


@dataclass(frozen=True)
class Split:
    """Which tasks are learned from, in the order of their coming, and which are unseen; row numbers of the recording."""

    stream: IntArray
    unseen: IntArray

    @classmethod
    def of(cls, n_tasks: int, *, seed: int) -> "Split":
        """Draw a split; in each run of `N_FOLDS` seeds every task is unseen equally often, so that seeds weigh tasks alike."""
        fold = np.random.default_rng([seed // N_FOLDS, n_tasks]).permutation(np.arange(n_tasks) % N_FOLDS)
        is_unseen = (fold - seed) % N_FOLDS < N_UNSEEN_FOLDS
        rng = np.random.default_rng([seed, n_tasks])
        training = np.flatnonzero(~is_unseen)
        stream = np.concatenate([rng.permutation(training) for _ in range(N_VISITS)])
        return cls(stream, rng.permutation(np.flatnonzero(is_unseen)))


@dataclass(frozen=True)
class Trial:
    """One seed on the unseen tasks: what was decided there, and what it cost."""

    rows: IntArray
    """(n_unseen,) rows of the recording."""
    actions: IntArray
    """(n_unseen,) column of the executed strategy."""
    spend: FloatArray
    """(n_unseen,) what was billed, in the budget's unit."""


@dataclass(frozen=True)
class Comparison:
    """The learned policy against its rivals on tasks it has not seen, over all seeds."""

    budget: float
    spend: float
    """Mean over seeds of the realised spend."""
    budget_error: float
    accuracy: Estimate
    """Of the strategies that were executed: each counts with its expected accuracy on the task, over all recorded samples."""
    mix_accuracy: float
    """Of the best static mix at each seed's realised spend."""
    gain: Estimate
    """Paired difference; 95 % bootstrap over tasks, seeds averaged inside, the mix refitted in each draw."""
    honest_oracle: tuple[float, float]
    """Spend and accuracy."""

    @property
    def gap_closed(self) -> float:
        """Share of the way from the static mix to the honest oracle."""
        return self.gain.value / (self.honest_oracle[1] - self.mix_accuracy)


def serve(router: BudgetRouter, tasks: Sequence[Task], deck: Deck, *, grade: bool) -> tuple[list[Decision], list[float]]:
    """Decide, draw recorded samples, settle, and grade if asked; the decisions and what each billed."""
    decisions, spends = [], []
    for task in tasks:
        decision = router.decide(task)
        spend = Spend()

        def complete(requests: list[Request], task: Task = task, decision: Decision = decision) -> list[Reply]:
            nonlocal spend
            drawn = [deck.draw(str(task.id), prompt_of(decision.strategy)) for _ in requests]
            spend = Spend(
                prompt_tokens=sum(reply.prompt_tokens for reply in drawn),
                completion_tokens=sum(reply.completion_tokens for reply in drawn),
                n_calls=len(drawn),
            )
            return [Reply(reply.text) for reply in drawn]

        result = run(plan(decision.strategy, answer=short_answer), complete)
        router.settle(decision, spend, result=result)
        if grade:
            scores = deck.recording.scores(task, decision.strategy)
            router.grade(decision.id, score=scores.get(result.answer or "", 0.0), answer_scores=scores)
        decisions.append(decision)
        spends.append(spend.in_unit(decision.budget.unit))
    return decisions, spends


def trial(recording: Recording, menu: Menu, budget: Budget, *, seed: int, learner: str = "value") -> Trial:
    """Run one seed: cold start on the stream, refresh, unseen tasks."""
    split = Split.of(len(recording.tasks), seed=seed)
    ledger, deck = MemoryLedger(), Deck(recording, seed=seed)
    cold = BudgetRouter(menu, budget, ledger=ledger, horizon=HORIZON, exploration=EXPLORATION, seed=seed)
    serve(cold, [recording.tasks[row] for row in split.stream], deck, grade=True)
    refresh(ledger, menu=menu, budget=budget, learner=learner, columns=(), seed=seed).promote()
    learned = BudgetRouter(menu, budget, ledger=ledger, horizon=HORIZON, exploration=EXPLORATION, seed=seed + 1)
    decisions, spends = serve(learned, [recording.tasks[row] for row in split.unseen], deck, grade=False)
    actions = np.array([menu.action(decision.strategy.name) for decision in decisions])
    return Trial(split.unseen, actions, np.array(spends))


def compare(recording: Recording, menu: Menu, budget: Budget, trials: Sequence[Trial], *, n_draws: int = 1000) -> Comparison:
    """Hold the trials against the best static mix and the honest oracle, each on the trial's own unseen tasks."""
    accuracy, cost = recording.table(menu)
    unseen, ours, billed = np.zeros((3, len(trials), len(accuracy)))
    for seed, one in enumerate(trials):
        unseen[seed, one.rows], ours[seed, one.rows] = 1.0, accuracy[one.rows, one.actions]
        billed[seed, one.rows] = one.spend

    def weights(resample: IntArray) -> FloatArray:
        """(n_trials, n_tasks), each task as often as it was resampled in the trials that had not seen it; rows sum to 1."""
        times = unseen * np.bincount(resample, minlength=len(accuracy))
        return np.asarray(times / times.sum(axis=1, keepdims=True))

    def accuracy_of(resample: IntArray) -> float:
        return float((weights(resample) * ours).sum(axis=1).mean())

    def gain_of(resample: IntArray) -> float:
        weight = weights(resample)
        mixes = mixes_at_spend(weight @ accuracy, weight @ cost, (weight * billed).sum(axis=1))
        return float(((weight * ours).sum(axis=1) - mixes).mean())

    reached, gain = (
        paired_bootstrap(of, len(accuracy), rng=np.random.default_rng(0), n_draws=n_draws) for of in (accuracy_of, gain_of)
    )
    halves = recording.table(menu, half=(0, 0)), recording.table(menu, half=(0, 1))
    oracles = []
    for one in trials:
        left, right = (tuple(cells[one.rows] for cells in half) for half in halves)
        oracles += [honest_oracle(left, right, budget.per_task), honest_oracle(right, left, budget.per_task)]
    spend = float(np.mean([one.spend.mean() for one in trials]))
    return Comparison(
        budget=budget.per_task,
        spend=spend,
        budget_error=spend / budget.per_task - 1,
        accuracy=reached,
        mix_accuracy=reached.value - gain.value,
        gain=gain,
        honest_oracle=(float(np.mean([one.spend for one in oracles])), float(np.mean([one.accuracy for one in oracles]))),
    )
