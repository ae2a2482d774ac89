"""A small world in which it is known what is right: one glance settles the sums, only thinking settles the proofs."""

import numpy as np

from budget_router import BudgetRouter, ExtendedCoT, Menu, SelfConsistency, SingleShot, Spend, Task
from budget_router.strategies import Draw, Result, majority

MENU = Menu(
    [
        SingleShot(typical_completion_tokens=20),
        SelfConsistency(k=3, typical_completion_tokens=20),
        ExtendedCoT(effort="high", typical_completion_tokens=200),
    ]
)
RIGHT = {"sum": {False: 0.9, True: 0.95}, "proof": {False: 0.15, True: 0.9}}
"""Probability that one sample is right, by kind of task and whether the model thinks."""
LENGTH = {False: 20, True: 200}
ASKED = {"sum": "What is {} plus {} ?", "proof": "Prove that every graph of order {} has a cycle of length {} ."}


def vote_of_three(right):
    """Two of three right; or one right, given before two wrong ones that differ, of three that there are."""
    wrong = 1 - right
    return right**3 + 3 * right**2 * wrong + 3 * right * wrong**2 * (2 / 3) / 3


EXPECTED = {kind: np.array([right[False], vote_of_three(right[False]), right[True]]) for kind, right in RIGHT.items()}
"""Expected score of each strategy of the menu, by kind of task."""


def tasks(n_tasks, *, seed, group=None):
    rng = np.random.default_rng(seed)
    kinds = [("sum", "proof")[one] for one in rng.integers(0, 2, n_tasks)]
    return [
        Task(ASKED[kind].format(*rng.integers(10, 1000, 2)), id=f"{seed}-{index}", group=group, metadata={"kind": kind})
        for index, kind in enumerate(kinds)
    ]


def serve(router: BudgetRouter, stream, *, seed, grade=True, **options):
    """Decide, sample, settle and grade; the decisions, and the completion tokens that each billed."""
    rng = np.random.default_rng(seed)
    decisions, spends = [], []
    for task in stream:
        decision = router.decide(task, **options)
        thinks = isinstance(decision.strategy, ExtendedCoT)
        right = rng.random(decision.strategy.n_samples) < RIGHT[str(task.metadata["kind"])][thinks]
        answers = ["right" if one else f"wrong {rng.integers(3)}" for one in right]
        draws = tuple(Draw(index, None, answer, answer) for index, answer in enumerate(answers))
        vote = majority(answers)
        winner = answers[vote.winner or 0]
        spend = Spend(completion_tokens=int(rng.poisson(LENGTH[thinks] * len(answers))), n_calls=len(answers))
        router.settle(decision, spend, result=Result(winner, winner, vote.agreement, draws))
        if grade:
            scores = {answer: float(answer == "right") for answer in answers}
            router.grade(decision.id, score=scores[winner], answer_scores=scores)
        decisions.append(decision)
        spends.append(spend.completion_tokens)
    return decisions, np.array(spends, dtype=float)
