"""Model choice under a dollar budget, on the table that `paretobandit` publishes: `python -m benchmarks.pareto`.

`value` is trained on the validation prompts with one randomly drawn model tried per prompt, and serves the holdout in random
order, one request after the other, the price paced by what each request really cost. `paretobandit` learns from the same log and
serves likewise, see `benchmarks.bandit`. Reward and cost are those of the table; the mean over seeds (each draws its own
log, order and choices) and a bootstrap interval over seeds are shown beside the figures that its authors publish.
Needs `pip install paretobandit`.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import bandit
from benchmarks.prompts import Prompts, Served, load
from budget_router import Budget, Menu, SingleShot, Task
from budget_router.evaluation import mix_at_spend
from budget_router.features import structural_features
from budget_router.outcomes import OutcomeTable
from budget_router.pacing import Pacer
from budget_router.policies import ValuePolicy

PUBLISHED = {8.3e-5: 0.813, 2.3e-4: 0.859, 6.6e-4: 0.898, 1.9e-3: 0.917}
"""Reward that ParetoBandit (arXiv 2604.00136) publishes at its budgets, USD per request."""

AIM = 0.993
"""Share of the budget that the pacing aims at: on halves of the validation prompts it ended up to one per cent above its aim."""


def partial(models: tuple[str, ...], prompts: Prompts, *, rng: np.random.Generator) -> OutcomeTable:
    """What a log tells in which one model per prompt was tried, drawn uniformly."""
    n_prompts, n_models = prompts.reward.shape
    is_tried = np.eye(n_models, dtype=bool)[rng.integers(n_models, size=n_prompts)]
    return OutcomeTable(
        menu=Menu([SingleShot(name=model, model=model) for model in models]),
        unit="usd",
        texts=prompts.texts,
        structure=np.array([structural_features(text) for text in prompts.texts]),
        task_ids=tuple(f"{row:06d}" for row in range(n_prompts)),
        accuracy=np.where(is_tried, prompts.reward, np.nan),
        standard_error=np.where(is_tried, 0.1, np.nan),  # a graded reward, not a coin
        observed_prob=np.full(prompts.reward.shape, 1 / n_models),
        cost=np.where(is_tried, prompts.cost, np.nan),
        is_forced=np.zeros(n_prompts, dtype=bool),
    )


def ours(table: OutcomeTable, *, rng: np.random.Generator) -> Callable[[Prompts, float, np.random.Generator], Served]:
    """Train the value policy on a log; what comes back serves prompts in random order."""
    policy = ValuePolicy().fit(table, rng=rng)

    def serve(prompts: Prompts, budget: float, rng: np.random.Generator) -> Served:
        pacer = Pacer(Budget(per_task=AIM * budget, unit="usd"))
        prediction = policy.predict([Task(text) for text in prompts.texts])
        picked = np.empty(len(prompts.texts), dtype=np.intp)
        for row in rng.permutation(len(prompts.texts)).tolist():
            one = type(prediction)(*(cells[row : row + 1] for cells in prediction if cells is not None))
            action = int(rng.choice(len(policy.menu), p=policy.choose(one, pacer.target()).probabilities[0]))
            pacer.decided(str(row), float(prediction.cost[row, action]))
            pacer.settled(str(row), float(prompts.cost[row, action]))
            picked[row] = action
        return prompts.served(picked)

    return serve


def run(*, seeds: int, split: str) -> list[dict[str, Any]]:  # Any: JSON
    """One row per budget and policy."""
    models, known = load("val")
    _, unseen = load(split)
    reached: dict[tuple[float, str], list[Served]] = {(budget, name): [] for budget in PUBLISHED for name in POLICIES}
    for seed in track(range(seeds), description="logs", console=Console(stderr=True)):
        rng = np.random.default_rng(seed)
        half = rng.permutation(len(known.texts)) if split == "val" else None
        learned, tested = (known, unseen) if half is None else (known.rows(half[::2]), known.rows(half[1::2]))
        table = partial(models, learned, rng=rng)
        for name, learn in POLICIES.items():
            serve = learn(table, rng=rng)
            for budget in PUBLISHED:
                reached[budget, name].append(serve(tested, budget, rng))
    return [_row(*key, runs, unseen) for key, runs in reached.items()]


POLICIES = {"value": ours, "paretobandit": bandit.learned}


def _row(budget: float, name: str, runs: list[Served], unseen: Prompts) -> dict[str, Any]:  # Any: JSON
    reward, spend = np.array(runs).T
    draws = np.random.default_rng(0).choice(reward, (1000, len(runs))).mean(axis=1)
    return {
        "dataset": "paretobandit",
        "policy": name,
        "feedback": "partial",
        "budget": budget,
        "accuracy": float(reward.mean()),
        "accuracy_low": float(np.percentile(draws, 2.5)),
        "accuracy_high": float(np.percentile(draws, 97.5)),
        "spend": float(spend.mean()),
        "budget_error": float(spend.mean() / budget - 1),
        "mix_at_spend": mix_at_spend(unseen.reward, unseen.cost, float(spend.mean())),
        "published": PUBLISHED[budget],
        "seeds": len(runs),
    }


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument(
        "--split", choices=["val", "test_holdout"], default="test_holdout", help="val: halves of it, to develop on"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = run(seeds=options.seeds, split=options.split)
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table(
        title=f"paretobandit, {options.split}, one model tried per prompt, {options.seeds} seeds",
        box=None,
        title_justify="left",
        pad_edge=False,
    )
    table.add_column("policy")
    for column in ("USD per request", "spend / budget", "reward", "95 % interval", "mix at spend", "published"):
        table.add_column(column, justify="right")
    for row in rows:
        interval = f"[{row['accuracy_low']:.4f}, {row['accuracy_high']:.4f}]"
        shown = (f"{1 + row['budget_error']:.3f}", f"{row['accuracy']:.4f}", interval, f"{row['mix_at_spend']:.4f}")
        table.add_row(row["policy"], f"{row['budget']:.2g}", *shown, f"{row['published']:.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
