"""A production log to learn from: tasks of their own words, some of them hard, six strategies, and half of the answers graded."""

import json
import random
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

from benchmarks.books_made import GROUPS, Mould, Serve, call_of
from budget_router import Budget, Call, Escalate, ExtendedCoT, Menu, SelfConsistency, SingleShot, Task
from budget_router.features.structure import structural_features

MENU = Menu(
    [
        SingleShot(temperature=0.7),
        SelfConsistency(k=3, temperature=0.7),
        SelfConsistency(k=5, temperature=0.7),
        ExtendedCoT(effort="low", name="brief"),
        ExtendedCoT(effort="high", name="careful"),
        Escalate(first=SelfConsistency(k=3, temperature=0.7), then=ExtendedCoT(effort="high"), agreement=1.0),
    ]
)
PROPENSITIES = dict(zip(MENU.names, (0.4, 0.15, 0.1, 0.15, 0.1, 0.1), strict=True))
BUDGET = Budget(per_task=900)
_MOULDS = 50
"""Of each kind of task and each strategy."""
_EVERY_REPEATED = 10
"""Of so many tasks one was there just before."""
_N_WORDS = 20_000
_WRONG = ("wrong", "worse", None)


class _Kind(NamedTuple):
    """Tasks that are alike."""

    share: float
    told_by: str
    """How such a task begins: its other words are anybody's."""
    right: tuple[float, float, float]
    """How often a plain answer is right, a brief and a careful one."""
    tokens: tuple[int, int, int]
    """Of such answers, on average."""


_KINDS = (
    _Kind(0.5, "Say in one word whether this is so:", (0.9, 0.91, 0.92), (90, 250, 900)),
    _Kind(0.3, "A customer asks how much 3 x 14.50 EUR and 7 % make in all, given", (0.6, 0.75, 0.9), (200, 500, 1500)),
    _Kind(0.2, "Prove for every n > 2, step by step, with $\\sum_k a_k \\leq n^2$ and", (0.25, 0.45, 0.8), (350, 900, 2800)),
)


def served(seed: int = 0) -> Serve:
    """Serve tasks of three kinds at random."""
    rng = random.Random(seed)  # noqa: S311  # no secret
    words = ["".join(rng.choices("abcdefghiklmnoprstuvw", k=rng.randint(2, 11))) for _ in range(_N_WORDS)]
    frequency = list(accumulate(1 / (place + 5) for place in range(_N_WORDS)))  # as of a language's words: Zipf's law
    moulds = {
        (kind, name): [_mould(kind, name, number, rng) for number in range(_MOULDS)] for kind in _KINDS for name in MENU.names
    }
    kinds, names = [kind.share for kind in _KINDS], list(PROPENSITIES.values())
    last: dict[str, object] = {}
    last_kind = _KINDS[0]

    def serve(number: int, rng: random.Random) -> tuple[Mould, Mapping[str, object]]:
        nonlocal last, last_kind
        if number % _EVERY_REPEATED or not last:
            (last_kind,) = rng.choices(_KINDS, kinds)
            text = " ".join([last_kind.told_by, *rng.choices(words, cum_weights=frequency, k=rng.randint(25, 45))])
            last = {"task_id": f"task {number}", "task_text": text, "features": json.dumps(structural_features(text))}
        (name,) = rng.choices(MENU.names, names)
        return moulds[last_kind, name][rng.randrange(_MOULDS)], last

    return serve


def _mould(kind: _Kind, name: str, number: int, rng: random.Random) -> Mould:
    strategy = MENU[name]
    stages = {"careful": (2,), "brief": (1,)}.get(name, (0,) * (3 if isinstance(strategy, Escalate) else strategy.n_samples))
    calls, answers = _drawn(kind, stages, rng)
    if isinstance(strategy, Escalate) and len(set(answers)) > 1:
        more, last = _drawn(kind, (2,), rng, first=len(calls))
        calls, answers = [*calls, *more], [*answers, *last]
    task = Task(kind.told_by, metadata={"turn": rng.randint(1, 9), "team": rng.choice(("north", "south"))})
    group = GROUPS[number % len(GROUPS)]
    return Mould.served(task, name, calls, answers, menu=MENU, propensities=PROPENSITIES, group=group)


def _drawn(kind: _Kind, stages: tuple[int, ...], rng: random.Random, first: int = 0) -> tuple[list[Call], list[str | None]]:
    """Calls of so many answers, each plain, brief or careful, and what they answered."""
    calls = [
        call_of(first + index, max(round(rng.gauss(1, 0.3) * kind.tokens[stage]), 10), rng) for index, stage in enumerate(stages)
    ]
    return calls, ["right" if rng.random() < kind.right[stage] else rng.choice(_WRONG) for stage in stages]
