"""What learned policies buy on recorded outcomes they have not seen: `python -m benchmarks.quality --dataset NAME --train ROOT`.

With `--test ROOT` a policy is trained on the one half and tested on the other; without it, cross-validated by group. Cost is
completion tokens of all samples drawn. `mix_at_spend` is the best static mix of fixed votes on the very test tasks at the
policy's realised spend, `mix_full` the same with early stopping and escalation in the mix, `gain` what the
policy's accuracy is above the first, by paired bootstrap over groups with the hull drawn again each time. `value_fixed` is the
value policy on fixed votes alone, `value_told` is told each task's category as a fact of its metadata; each policy is
learned once and priced anew for every budget. Rivals are told of in `benchmarks.rivals`.

`aiq` is one figure for all budgets: mean accuracy over the spends from the lowest to the highest budget (RouterBench, arXiv
2403.12031, its limits fixed), `aiq_static` that of the best static mix, `aiq_low` and `aiq_high` the interval of their
difference. Unlike gains at the realised spend it charges for a budget that a policy leaves unspent.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.curve_area import area, limits
from benchmarks.recorded import Recorded, load
from benchmarks.rivals import ROUTERS, Chosen
from budget_router import Task
from budget_router.allocation import FloatArray, IntArray, solve
from budget_router.evaluation import Estimate, honest_oracle, mix_at_spend, mixes_at_spend
from budget_router.policies import OracleImitator, ValuePolicy
from budget_router.policies.learned import LearnedPolicy

N_FOLDS = 5
N_DRAWS = 300
LEARNERS: dict[str, type[LearnedPolicy]] = {"value": ValuePolicy, "imitator": OracleImitator}


OURS = (*LEARNERS, "value_fixed", "value_told")
ON_LOGS = (*OURS, "static_mix", "group_label", "length_heuristic")
"""Policies that partial feedback leaves standing; the others need every strategy's outcome on every task."""


class Compared(NamedTuple):
    """A policy on test tasks."""

    accuracy: float
    spend: Estimate
    mix_at_spend: float
    gain: Estimate


def learned(name: str, train: Recorded, test: Recorded, budgets: Sequence[float], *, feedback: str, seed: int) -> Chosen:
    """Train one policy, and price it for every budget: nothing is learned anew."""
    rng = np.random.default_rng(seed)
    if name == "value_fixed":
        within = learned("value", train.only(train.plain), test.only(test.plain), budgets, feedback=feedback, seed=seed)
        spread = np.eye(len(train.menu))[train.plain]
        return {budget: probabilities @ spread for budget, probabilities in within.items()}
    table = train.full() if feedback == "full" else train.partial(rng)
    tasks = [Task(text) for text in test.texts]
    if name == "value_told":
        table = replace(table, metadata=train.facts)
        tasks = [Task(text, metadata=facts) for text, facts in zip(test.texts, test.facts, strict=True)]
    policy = LEARNERS.get(name, ValuePolicy)().fit(table, rng=np.random.default_rng(seed))
    prediction = policy.predict(tasks)
    return {budget: policy.choose(prediction, budget).probabilities for budget in budgets}


def folds(recorded: Recorded, *, seed: int) -> list[tuple[IntArray, IntArray]]:
    """Train and test rows, groups whole."""
    groups, member = np.unique(np.array(recorded.groups), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(np.arange(len(groups)) % N_FOLDS)[member]
    return [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(N_FOLDS)]


def compare(test: Recorded, chosen: FloatArray, *, rng: np.random.Generator) -> Compared:
    """Accuracy, spend, the best static mix at that spend, and the gain over it, bootstrapped over groups."""
    ours = (chosen * test.accuracy).sum(axis=1)
    spent = (chosen * test.cost).sum(axis=1)
    drawn = list(resampled(test, rng=rng))
    reached, spends = (np.array([each[rows].mean() for rows in drawn]) for each in (ours, spent))
    accuracies, costs = (
        np.array([each[np.ix_(rows, test.plain)].mean(axis=0) for rows in drawn]) for each in (test.accuracy, test.cost)
    )
    gains = reached - mixes_at_spend(accuracies, costs, spends)
    accuracy, spend = float(ours.mean()), float(spent.mean())
    mix = mix_at_spend(test.accuracy[:, test.plain], test.cost[:, test.plain], spend)
    return Compared(accuracy, Estimate(spend, *_middle(spends)), mix, Estimate(accuracy - mix, *_middle(gains)))


def resampled(test: Recorded, *, rng: np.random.Generator) -> Iterator[IntArray]:
    """Rows of tests drawn anew, groups whole (Efron and Tibshirani 1993, An Introduction to the Bootstrap, 8)."""
    groups, member = np.unique(np.array(test.groups), return_inverse=True)
    rows_of = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
    for _ in range(N_DRAWS):
        yield np.concatenate([rows_of[group] for group in rng.integers(0, len(groups), len(groups))])


def _middle(draws: FloatArray) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def oracles(test: Recorded, budget: float, *, rng: np.random.Generator) -> tuple[float | None, float]:
    """Accuracy of the honest oracle, where there are two samples a cell, and of the one that knows the test samples."""
    cheapest = float(test.cost.min(axis=1).mean())
    in_sample = solve(test.accuracy, test.cost, max(budget, cheapest)).accuracy
    if test.n_least < 2:
        return None, in_sample
    first, second = test.halves(rng)
    scored = [
        honest_oracle(solved, other, max(budget, float(solved[1].min(axis=1).mean()))).accuracy
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
    left_out = set() if train.labels is not None else {"group_label", "value_told"}
    if options.feedback == "partial":
        left_out |= ROUTERS.keys() - set(ON_LOGS)
    whole = joined([other for _, other in parts])
    found = []
    names = [name for name in options.policies if name not in left_out]
    for name in track(names, description=options.dataset, console=Console(stderr=True)):
        started = time.perf_counter()
        n_seeds = options.seeds if name not in ROUTERS and options.feedback == "partial" else 1
        chosen = [
            [choose(name, *part, budgets, feedback=options.feedback, seed=seed) for seed in range(n_seeds)] for part in parts
        ]
        seconds = (time.perf_counter() - started) / n_seeds
        met = {budget: np.concatenate([np.mean([one[budget] for one in part], axis=0) for part in chosen]) for budget in budgets}
        told = {"feedback": options.feedback, "seconds": seconds} | curve(whole, met)
        found += [row(whole, name, probabilities, budget) | told for budget, probabilities in met.items()]
    return found


def choose(name: str, train: Recorded, test: Recorded, budgets: Sequence[float], *, feedback: str, seed: int) -> Chosen:
    """What a policy would pick on test tasks: probabilities of each strategy, (n_tasks, n_strategies), by budget."""
    if name in ROUTERS:
        return ROUTERS[name](train, test, budgets)
    return learned(name, train, test, budgets, feedback=feedback, seed=seed)


def row(test: Recorded, name: str, chosen: FloatArray, budget: float) -> dict[str, Any]:  # Any: JSON
    """One policy at one budget."""
    accuracy, spend, mix, gain = compare(test, chosen, rng=np.random.default_rng(0))
    honest, in_sample = oracles(test, budget, rng=np.random.default_rng(0))
    return {
        "dataset": test.name,
        "policy": name,
        "budget": budget,
        "accuracy": accuracy,
        "spend": spend.value,
        "spend_low": spend.low,
        "spend_high": spend.high,
        "mix_at_spend": mix,
        "mix_full": mix_at_spend(test.accuracy, test.cost, spend.value),
        "relative_gain": accuracy / mix - 1,
        "gain": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "budget_error": spend.value / budget - 1,
        "honest_oracle": honest,
        "gap_closed": None if honest is None or honest <= mix else gain.value / (honest - mix),
        "in_sample_oracle": in_sample,
    }


def curve(test: Recorded, met: Chosen) -> dict[str, float | None]:
    """One policy over all its budgets; nothing where there is only one of them."""
    between = limits(test, met)
    if between is None:
        return dict.fromkeys(("aiq", "aiq_static", "aiq_low", "aiq_high"))
    reached = area(test, met, between, resampled(test, rng=np.random.default_rng(0)))
    return {"aiq": reached.aiq, "aiq_static": reached.aiq_static, "aiq_low": reached.gain.low, "aiq_high": reached.gain.high}


def joined(parts: Sequence[Recorded]) -> Recorded:
    """One set of several: the tests of all folds."""
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
    names = [*OURS, *ROUTERS]
    parser.add_argument("--policies", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
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
    console = Console(width=100)
    console.print(table)
    if rows and rows[0]["aiq"] is not None:
        console.print(_curves(rows))


def _curves(rows: Sequence[dict[str, Any]]) -> Table:  # Any: JSON
    table = Table("policy", title="\nover all budgets", box=None, title_justify="left", pad_edge=False)
    for column in ("AIQ", "of the static mix", "gain", "95 % interval"):
        table.add_column(column, justify="right")
    for one in {row["policy"]: row for row in rows}.values():
        reached, static, low, high = (one[key] for key in ("aiq", "aiq_static", "aiq_low", "aiq_high"))
        table.add_row(one["policy"], f"{reached:.4f}", f"{static:.4f}", f"{reached - static:+.4f}", f"[{low:+.3f}, {high:+.3f}]")
    return table


if __name__ == "__main__":
    main()
