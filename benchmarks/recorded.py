"""Recorded outcomes of real models as tables: read from a folder that is named, never from this repository.

Each set is a folder with `tasks.csv.gz` (task_id, task_text, …) and `outcomes.csv.gz` (task_id, action, sample, answer, correct,
completion_tokens, …), one row per recorded answer.
"""

import csv
import gzip
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from budget_router import EarlyStop, Escalate, Menu, SelfConsistency, SingleShot, Strategy
from budget_router.allocation import FloatArray, IntArray
from budget_router.features import Facts, structural_features
from budget_router.outcomes import OutcomeTable, early_stop_value, escalation_value, vote_accuracy
from budget_router.strategy import stages

BUDGETS: dict[str, tuple[float, ...]] = {
    "bbh_codex": (60, 70, 80, 100),
    "jhu_mcqa": (50, 90, 150, 250, 400),
}
"""Budgets that comparisons are made at; other sets take shares of the way from their cheapest strategy to their dearest."""
SHARES = (0.1, 0.25, 0.5, 0.75)
VOTES = (1, 3, 5, 10)
CAPS = (5, 10)
"""Most samples of a vote that stops once its leader is 90 % sure."""
ESCALATIONS = tuple((f"direct x{k}", then) for k in (3, 5) for then in ("concise_cot", "cot", "cot x3", "cot x5"))
"""First and second stage: direct answers that all agree are taken."""

csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class Sample:
    """One recorded answer."""

    answer: str | None
    score: float
    cost: float


@dataclass(frozen=True)
class Recorded:
    """A set of tasks with every strategy's expected accuracy and cost on each, from all samples recorded."""

    name: str
    menu: Menu
    texts: tuple[str, ...]
    groups: tuple[str, ...]
    """(n,) tasks of one group share a passage: they stay on one side of any split."""
    labels: tuple[str, ...] | None
    """(n,) category of each task, where one is known."""
    samples: Mapping[tuple[int, str], tuple[Sample, ...]]
    """By row and prompt (a strategy's instruction)."""
    accuracy: FloatArray
    """(n, n_strategies)."""
    cost: FloatArray
    """(n, n_strategies)."""

    @property
    def facts(self) -> tuple[Facts, ...]:
        """What is known of each task beside its text: its category."""
        return tuple({} if self.labels is None else {"category": label} for label in self.labels or self.texts)

    @property
    def plain(self) -> IntArray:
        """Columns of the strategies that neither stop early nor escalate."""
        return np.flatnonzero([not strategy.is_adaptive for strategy in self.menu])

    @property
    def budgets(self) -> tuple[float, ...]:
        """Where to compare."""
        if (own := BUDGETS.get(self.name.partition(":")[0])) is not None:
            return own
        means = self.cost.mean(axis=0)[self.plain]
        return tuple(float(means.min() + share * (means.max() - means.min())) for share in SHARES)

    @property
    def n_least(self) -> int:
        """Samples of the least sampled cell: with one there is no second half to score an oracle on."""
        return min(map(len, self.samples.values()))

    def rows(self, chosen: IntArray) -> Self:
        """Some of the tasks."""
        place = {int(row): position for position, row in enumerate(chosen)}
        return replace(
            self,
            texts=tuple(self.texts[row] for row in chosen),
            groups=tuple(self.groups[row] for row in chosen),
            labels=None if self.labels is None else tuple(self.labels[row] for row in chosen),
            samples={(place[row], prompt): held for (row, prompt), held in self.samples.items() if row in place},
            accuracy=self.accuracy[chosen],
            cost=self.cost[chosen],
        )

    def only(self, columns: IntArray) -> Self:
        """Some of the strategies."""
        return replace(
            self,
            menu=Menu([self.menu.root[column] for column in columns]),
            accuracy=self.accuracy[:, columns],
            cost=self.cost[:, columns],
        )

    def halves(self, rng: np.random.Generator) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
        """Accuracy and cost from two halves of each cell's samples; a vote of more than a half holds takes the whole half."""
        split = {key: rng.permutation(len(held)) for key, held in self.samples.items()}
        sides = [{key: tuple(held[one] for one in split[key][side::2]) for key, held in self.samples.items()} for side in (0, 1)]
        first, second = (_table(self.menu, len(self.texts), side) for side in sides)
        return first, second

    def full(self) -> OutcomeTable:
        """What a log with every strategy tried on every task would tell."""
        error = np.array(
            [
                [_error(self.accuracy[row, column], self._n_votes(row, strategy)) for column, strategy in enumerate(self.menu)]
                for row in range(len(self.texts))
            ]
        )
        return self._outcomes(self.accuracy, error, np.ones(self.cost.shape), self.cost)

    def partial(self, rng: np.random.Generator) -> OutcomeTable:
        """What a log tells in which one strategy per task was tried, drawn uniformly: its bundle, and the smaller votes in it."""
        shape = self.cost.shape
        accuracy, error, cost, doubt = (np.full(shape, np.nan) for _ in range(4))
        prob = np.zeros(shape)
        for strategy in self.menu:
            prob[:, list(self.menu.priced_by(strategy))] += 1 / len(self.menu)
        for row, action in enumerate(rng.integers(len(self.menu), size=(shape[0],)).tolist()):
            strategy = self.menu.root[action]
            shuffled = {
                _prompt(stage): [held[one] for one in rng.permutation(len(held))[: stage.n_samples]]
                for stage in stages(strategy)
                for held in [self.samples[row, _prompt(stage)]]
            }
            for column in self.menu.priced_by(strategy):
                priced = self.menu.root[column]
                seen = shuffled if priced == strategy else {_prompt(priced): shuffled[_prompt(strategy)][: strategy.n_guaranteed]}
                accuracy[row, column], cost[row, column] = _value(priced, seen)
                error[row, column] = _error(accuracy[row, column], len(seen[_prompt(priced)]) / priced.n_guaranteed)
            answers, scores = votes(shuffled[_prompt(strategy)][: strategy.n_guaranteed])
            for column, priced in enumerate(self.menu):
                is_known = _prompt(priced) == _prompt(strategy) and priced.n_guaranteed <= len(answers)
                if isinstance(priced, Escalate) and is_known:
                    doubt[row, column] = 1 - escalation_value(answers, scores, priced.first.k, priced.agreement).accepted
        return replace(self._outcomes(accuracy, error, prob, cost), doubt=doubt)

    def _n_votes(self, row: int, strategy: Strategy) -> float:
        return min(len(self.samples[row, _prompt(stage)]) / stage.n_samples for stage in stages(strategy))

    def _outcomes(self, accuracy: FloatArray, error: FloatArray, prob: FloatArray, cost: FloatArray) -> OutcomeTable:
        return OutcomeTable(
            menu=self.menu,
            unit="completion_tokens",
            texts=self.texts,
            structure=np.array([structural_features(text) for text in self.texts]),
            task_ids=tuple(map(str, range(len(self.texts)))),
            accuracy=accuracy,
            standard_error=error,
            observed_prob=prob,
            cost=cost,
            is_forced=np.zeros(len(self.texts), dtype=bool),
            cluster_ids=self.groups,
        )


def load(name: str, root: Path, *, is_adaptive: bool = True) -> Recorded:
    """Read a set by name, e.g. `bbh_codex` or `jhu_mcqa:gpt-4`, from `root`; says what is missing when it is not there.

    Unless told otherwise the menu holds early stopping and escalation as well, priced from the same samples.
    """
    folder, _, model = name.partition(":")
    place = root / folder
    if not (place / "tasks.csv.gz").exists():
        raise SystemExit(f"no recorded set {folder!r} in {root}: --train names the folder that holds {folder}/tasks.csv.gz")
    tasks = _read(place / "tasks.csv.gz")
    actions = ACTIONS.get(folder, _single)(model)
    by_id = {row["task_id"]: position for position, row in enumerate(tasks)}
    samples: dict[tuple[int, str], list[Sample]] = defaultdict(list)
    for row in _read(place / "outcomes.csv.gz"):
        if (prompt := actions(row["action"])) is not None and row["task_id"] in by_id:
            samples[by_id[row["task_id"]], prompt].append(_sample(row))
    prompts = sorted({prompt for _, prompt in samples})
    known = [row for row in range(len(tasks)) if all((row, prompt) in samples for prompt in prompts)]
    place_of = {row: position for position, row in enumerate(known)}
    kept = {(place_of[row], prompt): tuple(held) for (row, prompt), held in samples.items() if row in place_of}
    menu = _menu(prompts, kept, is_adaptive=is_adaptive)
    accuracy, cost = _table(menu, len(known), kept)
    label = next((column for column in ("category", "exam", "family", "topic") if column in tasks[0]), None)
    return Recorded(
        name=name,
        menu=menu,
        texts=tuple(tasks[row]["task_text"].replace("\0", " ") or "(no text)" for row in known),
        groups=tuple(tasks[row].get("group_id") or tasks[row]["task_id"] for row in known),
        labels=None if label is None else tuple(tasks[row][label] for row in known),
        samples=kept,
        accuracy=accuracy,
        cost=cost,
    )


def _single(_: str) -> Callable[[str], str | None]:
    return lambda action: action


def _of_model(model: str) -> Callable[[str], str | None]:
    return lambda action: action.removeprefix(f"{model}/") if action.startswith(f"{model}/") else None


ACTIONS: dict[str, Callable[[str], Callable[[str], str | None]]] = {
    "jhu_mcqa": _of_model,
    "gsm8k_six": lambda _: lambda action: None if "verification" in action else action,
}
"""Which recorded actions of a set are prompts of the menu; by default all of them."""


def _menu(prompts: Sequence[str], samples: Mapping[tuple[int, str], tuple[Sample, ...]], *, is_adaptive: bool) -> Menu:
    strategies: list[Strategy] = []
    for prompt in prompts:
        held = [len(one) for (_, name), one in samples.items() if name == prompt]
        strategies.append(SingleShot(name=prompt[:150], instruction=prompt))
        strategies += [SelfConsistency(name=f"{prompt[:150]} x{k}", k=k, instruction=prompt) for k in VOTES if 1 < k <= min(held)]
        strategies += [
            SelfConsistency(name=f"{prompt} stop x{cap}", k=cap, instruction=prompt, early_stop=EarlyStop(threshold=0.9))
            for cap in CAPS
            if is_adaptive and cap <= min(held)
        ]
    by_name = {strategy.name: strategy for strategy in strategies}
    for first, then in ESCALATIONS if is_adaptive else ():
        if {first, then} <= by_name.keys():
            both = {"first": by_name[first], "then": by_name[then]}
            strategies.append(Escalate(name=f"{first} then {then}", agreement=1.0, **both))
    return Menu(strategies)


def _prompt(strategy: Strategy) -> str:
    return stages(strategy)[0].instruction or ""


def _table(menu: Menu, n_tasks: int, samples: Mapping[tuple[int, str], tuple[Sample, ...]]) -> tuple[FloatArray, FloatArray]:
    prompts = {_prompt(stage) for strategy in menu for stage in stages(strategy)}
    cells = [
        [_value(strategy, {prompt: samples[row, prompt] for prompt in prompts}) for strategy in menu] for row in range(n_tasks)
    ]
    accuracy, cost = np.moveaxis(np.array(cells).reshape(n_tasks, len(menu), 2), 2, 0)
    return np.clip(accuracy, 0.0, 1.0), cost  # sums of shares miss 1 by a rounding error


def _value(strategy: Strategy, samples: Mapping[str, Sequence[Sample]]) -> tuple[float, float]:
    """Accuracy and cost of a strategy on one task, by its samples of each prompt; a vote of more than were drawn takes all."""
    held = samples[_prompt(strategy)]
    one = float(np.mean([sample.cost for sample in held]))
    answers, scores = votes(held)
    if isinstance(strategy, Escalate):
        k = min(strategy.first.k, len(held))
        first = escalation_value(answers, scores, k, strategy.agreement)
        accuracy, cost = _value(strategy.then, samples)
        return first.accepted_right + (1 - first.accepted) * accuracy, k * one + (1 - first.accepted) * cost
    k = min(strategy.n_samples, len(held))
    if isinstance(strategy, SelfConsistency) and strategy.early_stop is not None:
        accuracy, mean_samples = early_stop_value(answers, scores, strategy.early_stop, k)
        return accuracy, mean_samples * one
    return _vote(held, k), k * one


def votes(samples: Sequence[Sample]) -> tuple[list[str | None], dict[str, float]]:
    """Answer of each sample, `None` where it held none, and what each distinct answer scores."""
    scores = {sample.answer: sample.score for sample in samples if sample.answer is not None}
    return [sample.answer for sample in samples], scores


def _vote(samples: Sequence[Sample], k: int) -> float:
    if k == 1:
        return float(np.mean([sample.score for sample in samples]))
    return vote_accuracy(*votes(samples), k)


def _error(score: float, n_votes: float) -> float:
    shrunk = (score * n_votes + 0.5) / (n_votes + 1)
    return float(np.sqrt(shrunk * (1 - shrunk) / n_votes))


def _sample(row: dict[str, str]) -> Sample:
    tokens = row.get("completion_tokens") or ""
    strong = row["action"].startswith("gpt-4")  # a set without tokens counts calls of its strong model
    return Sample(row.get("answer") or None, float(row["correct"]), float(tokens) if tokens else float(strong))


def _read(file: Path) -> list[dict[str, str]]:
    with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))
