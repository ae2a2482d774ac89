"""What learned policies buy on recorded outcomes they have not seen: `python -m benchmarks.quality --dataset NAME --train ROOT`.

With `--test ROOT` a policy is trained on the one half and tested on the other; without it, cross-validated by group. Cost is
completion tokens of all samples drawn. `mix_at_spend` is the best static mix of fixed votes on the very test tasks at the
policy's realised spend, `mix_full` the same with early stopping and escalation in the mix, `gain` what the
policy's accuracy is above the first, by paired bootstrap over groups with the hull drawn again each time.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.recorded import Recorded, load
from budget_router import Task
from budget_router.allocation import FloatArray, IntArray, frontier, solve
from budget_router.evaluation import Estimate, honest_oracle, mix_at_spend
from budget_router.policies import OracleImitator, ValuePolicy
from budget_router.policies.learned import LearnedPolicy
from budget_router.policies.static import Mixture

N_FOLDS = 5
N_DRAWS = 300
LEARNERS: dict[str, type[LearnedPolicy]] = {"value": ValuePolicy, "imitator": OracleImitator}


@dataclass(frozen=True)
class Chosen:
    """What a policy would do on test tasks: probabilities of each strategy, (n, n_strategies), by budget."""

    policy: str
    by_budget: dict[float, FloatArray]
    seconds: float = 0.0


def learned(
    name: str, train: Recorded, test: Recorded, budgets: Sequence[float], *, feedback: str, seed: int
) -> dict[float, FloatArray]:
    """Train one policy and apply it at every budget."""
    rng = np.random.default_rng(seed)
    table = train.full() if feedback == "full" else train.partial(rng)
    tasks = [Task(text) for text in test.texts]
    chosen = {}
    policy = None
    for budget in budgets:
        if policy is None or name == "imitator":  # an imitator's labels are those of a budget
            policy = LEARNERS[name](budget=budget).fit(table, rng=np.random.default_rng(seed))
            prediction = policy.predict(tasks)
        chosen[budget] = policy.choose(prediction, budget).probabilities
    return chosen


def by_label(train: Recorded, test: Recorded, budgets: Sequence[float]) -> dict[float, FloatArray]:
    """The policy that is told each task's category, and knows the training means of every strategy there."""
    of_train, of_test = np.array(train.labels or ()), np.array(test.labels or ())
    means = {label: (train.accuracy[of_train == label].mean(0), train.cost[of_train == label].mean(0)) for label in set(of_train)}
    overall = train.accuracy.mean(0), train.cost.mean(0)
    accuracy = np.array([means.get(label, overall)[0] for label in of_test])
    cost = np.array([means.get(label, overall)[1] for label in of_test])
    known = np.array([means[label][0] for label in of_train]), np.array([means[label][1] for label in of_train])
    chosen = {}
    for budget in budgets:
        lam, share = frontier(*known).price(budget)
        value = accuracy - lam * cost
        ties = value >= value.max(axis=1, keepdims=True) - 1e-9
        probabilities = np.zeros(value.shape)
        rows = np.arange(len(value))
        probabilities[rows, np.where(ties, cost, np.inf).argmin(1)] += 1 - share
        probabilities[rows, np.where(ties, cost, -np.inf).argmax(1)] += share
        chosen[budget] = probabilities
    return chosen


def static_mix(train: Recorded, test: Recorded, budgets: Sequence[float]) -> dict[float, FloatArray]:
    """The best mixture of strategies by their training means."""
    mixture = Mixture(train.accuracy.mean(axis=0), train.cost.mean(axis=0))
    tasks = [Task(text) for text in test.texts]
    return {budget: mixture.choose(mixture.predict(tasks), budget).probabilities for budget in budgets}


def folds(recorded: Recorded, *, seed: int) -> list[tuple[IntArray, IntArray]]:
    """Train and test rows, groups whole."""
    groups, member = np.unique(np.array(recorded.groups), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(np.arange(len(groups)) % N_FOLDS)[member]
    return [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(N_FOLDS)]


def compare(test: Recorded, chosen: FloatArray, *, rng: np.random.Generator) -> tuple[float, float, float, Estimate]:
    """Accuracy, spend, the best static mix at that spend, and the gain over it, bootstrapped over groups."""
    ours = (chosen * test.accuracy).sum(axis=1)
    spent = (chosen * test.cost).sum(axis=1)
    groups, member = np.unique(np.array(test.groups), return_inverse=True)
    rows_of = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
    draws = []
    for _ in range(N_DRAWS):
        rows = np.concatenate([rows_of[group] for group in rng.integers(0, len(groups), len(groups))])
        plain = np.ix_(rows, test.plain)
        draws.append(float(ours[rows].mean()) - mix_at_spend(test.accuracy[plain], test.cost[plain], float(spent[rows].mean())))
    low, high = np.percentile(draws, [2.5, 97.5])
    accuracy, spend = float(ours.mean()), float(spent.mean())
    mix = mix_at_spend(test.accuracy[:, test.plain], test.cost[:, test.plain], spend)
    return accuracy, spend, mix, Estimate(accuracy - mix, float(low), float(high))


def oracles(test: Recorded, budget: float, *, rng: np.random.Generator) -> tuple[float | None, float]:
    """Accuracy of the honest oracle, where there are two samples a cell, and of the one that knows the test samples."""
    cheapest = float(test.cost.min(axis=1).mean())
    in_sample = solve(test.accuracy, test.cost, max(budget, cheapest)).accuracy
    if test.n_least < 2:
        return None, in_sample
    first, second = test.halves(rng)
    scored = [
        honest_oracle(solved, other, max(budget, float(solved[1].min(axis=1).mean())))[1]
        for solved, other in ((first, second), (second, first))
    ]
    return float(np.mean(scored)), in_sample


def run(options: argparse.Namespace) -> list[dict[str, Any]]:  # Any: JSON
    """All rows of one data set."""
    train = load(options.dataset, options.train, is_adaptive=not options.fixed)
    budgets = tuple(options.budgets or train.budgets)
    if options.test is None:
        parts = [(train.rows(outside), train.rows(inside)) for outside, inside in folds(train, seed=0)]
    else:
        parts = [(train, load(options.dataset, options.test, is_adaptive=not options.fixed))]
    policies: dict[str, Callable[[Recorded, Recorded, int], dict[float, FloatArray]]] = {
        name: lambda one, other, seed, name=name: learned(name, one, other, budgets, feedback=options.feedback, seed=seed)  # type: ignore[misc]  # a default binds the name
        for name in options.policies
    }
    policies["static_mix"] = lambda one, other, _: static_mix(one, other, budgets)
    if train.labels is not None:
        policies["group_label"] = lambda one, other, _: by_label(one, other, budgets)
    rows = []
    for name, choose in policies.items():
        n_seeds = options.seeds if name in LEARNERS and options.feedback == "partial" else 1
        started = time.perf_counter()
        chosen = [[choose(one, other, seed) for seed in range(n_seeds)] for one, other in parts]
        seconds = (time.perf_counter() - started) / n_seeds
        whole = _joined([other for _, other in parts])
        for budget in budgets:
            probabilities = np.concatenate([np.mean([one[budget] for one in part], axis=0) for part in chosen])
            accuracy, spend, mix, gain = compare(whole, probabilities, rng=np.random.default_rng(0))
            honest, in_sample = oracles(whole, budget, rng=np.random.default_rng(0))
            rows.append(
                {
                    "dataset": options.dataset,
                    "policy": name,
                    "feedback": options.feedback,
                    "budget": budget,
                    "accuracy": accuracy,
                    "spend": spend,
                    "mix_at_spend": mix,
                    "mix_full": mix_at_spend(whole.accuracy, whole.cost, spend),
                    "relative_gain": accuracy / mix - 1,
                    "gain": gain.value,
                    "gain_low": gain.low,
                    "gain_high": gain.high,
                    "budget_error": spend / budget - 1,
                    "honest_oracle": honest,
                    "gap_closed": None if honest is None or honest <= mix else gain.value / (honest - mix),
                    "in_sample_oracle": in_sample,
                    "seconds": seconds,
                }
            )
    return rows


def _joined(parts: Sequence[Recorded]) -> Recorded:
    first = parts[0]
    if len(parts) == 1:
        return first
    offsets = np.cumsum([0, *(len(part.texts) for part in parts)])
    return Recorded(
        name=first.name,
        menu=first.menu,
        texts=sum((part.texts for part in parts), ()),
        groups=sum((part.groups for part in parts), ()),
        labels=None if first.labels is None else sum((part.labels or () for part in parts), ()),
        samples={
            (row + int(offset), prompt): held
            for offset, part in zip(offsets, parts, strict=False)
            for (row, prompt), held in part.samples.items()
        },
        accuracy=np.vstack([part.accuracy for part in parts]),
        cost=np.vstack([part.cost for part in parts]),
    )


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="folder of the set; jhu_mcqa takes a model, jhu_mcqa:gpt-4")
    parser.add_argument("--train", type=Path, required=True, help="folder of recorded sets")
    parser.add_argument("--test", type=Path, help="folder of the other halves; without it, cross-validation")
    parser.add_argument("--budgets", type=float, nargs="+")
    parser.add_argument("--feedback", choices=["full", "partial"], default="full")
    parser.add_argument("--seeds", type=int, default=3, help="logs drawn under partial feedback")
    parser.add_argument("--policies", nargs="+", choices=list(LEARNERS), default=list(LEARNERS))
    parser.add_argument("--fixed", action="store_true", help="leave early stopping and escalation off the menu")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = run(options)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(title=f"{options.dataset}, {options.feedback} feedback", box=None, title_justify="left", pad_edge=False)
    for column in ("policy", "budget", "spend", "accuracy", "mix at spend", "gain", "95 % interval", "oracle"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    for row in rows:
        oracle = row["honest_oracle"] if row["honest_oracle"] is not None else row["in_sample_oracle"]
        table.add_row(
            row["policy"],
            f"{row['budget']:.4g}",
            f"{row['spend']:.4g}",
            f"{row['accuracy']:.4f}",
            f"{row['mix_at_spend']:.4f}",
            f"{row['gain']:+.4f}",
            f"[{row['gain_low']:+.3f}, {row['gain_high']:+.3f}]",
            f"{oracle:.4f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
