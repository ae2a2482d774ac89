"""Model choice under a dollar budget, on the table that `paretobandit` publishes: `python -m benchmarks.pareto`.

Trained on its validation prompts with one randomly drawn model tried per prompt, served on its holdout in random order, one
request after the other, the price paced by what each request really cost. Reward and cost are those of the table; the mean over
seeds (each draws its own log, order and choices) and a bootstrap interval over seeds are shown beside the published figures.
Needs `pip install --no-deps paretobandit`, whose table is read as JSON and whose code is not run.
"""

import argparse
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from budget_router import Budget, Menu, SingleShot, Task
from budget_router.allocation import FloatArray
from budget_router.evaluation import mix_at_spend
from budget_router.features import structural_features
from budget_router.outcomes import OutcomeTable
from budget_router.pacing import Pacer
from budget_router.policies import ValuePolicy

PUBLISHED = {8.3e-5: 0.813, 2.3e-4: 0.859, 6.6e-4: 0.898, 1.9e-3: 0.917}
"""Reward that ParetoBandit (arXiv 2604.00136) publishes at its budgets, USD per request."""

AIM = 0.993
"""Share of the budget that the pacing aims at: on halves of the validation prompts it ended up to one per cent above its aim."""


@dataclass(frozen=True)
class Prompts:
    """One split of the table."""

    texts: tuple[str, ...]
    reward: FloatArray
    """(n_prompts, n_models) in [0, 1]."""
    cost: FloatArray
    """(n_prompts, n_models), USD."""


def load(split: str) -> tuple[tuple[str, ...], Prompts]:
    """Names of the models, and a split of the table, `val` or `test_holdout`."""
    found = importlib.util.find_spec("pareto_bandit")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the table comes with the package paretobandit: pip install --no-deps paretobandit")
    file = Path(found.submodule_search_locations[0]) / "data" / "examples" / f"{split}.jsonl"
    rows = [
        json.loads(line) for line in file.read_text(encoding="utf-8").strip().split("\n")
    ]  # splitlines would split at other signs
    models = tuple(rows[0]["arms"])
    cells = np.array([[[row["arms"][model]["reward"], row["arms"][model]["cost"]] for model in models] for row in rows])
    return models, Prompts(tuple(row["prompt"] for row in rows), cells[..., 0], cells[..., 1])


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


def serve(policy: ValuePolicy, prompts: Prompts, budget: float, *, rng: np.random.Generator) -> tuple[float, float]:
    """Mean reward and mean spend over the prompts in random order."""
    pacer = Pacer(Budget(per_task=AIM * budget, unit="usd"))
    prediction = policy.predict([Task(text) for text in prompts.texts])
    reward = spend = 0.0
    for row in rng.permutation(len(prompts.texts)).tolist():
        one = type(prediction)(*(cells[row : row + 1] for cells in prediction if cells is not None))
        action = int(rng.choice(len(policy.menu), p=policy.choose(one, pacer.target()).probabilities[0]))
        pacer.decided(str(row), float(prediction.cost[row, action]))
        pacer.settled(str(row), float(prompts.cost[row, action]))
        reward, spend = reward + float(prompts.reward[row, action]), spend + float(prompts.cost[row, action])
    return reward / len(prompts.texts), spend / len(prompts.texts)


def run(*, seeds: int, split: str) -> list[dict[str, Any]]:  # Any: JSON
    """One row per budget."""
    models, known = load("val")
    _, unseen = load(split)
    reached: dict[float, list[tuple[float, float]]] = {budget: [] for budget in PUBLISHED}
    for seed in track(range(seeds), description="logs", console=Console(stderr=True)):
        rng = np.random.default_rng(seed)
        half = rng.permutation(len(known.texts)) if split == "val" else None
        learned, tested = (known, unseen) if half is None else (_rows(known, half[::2]), _rows(known, half[1::2]))
        policy = ValuePolicy().fit(partial(models, learned, rng=rng), rng=rng)
        for budget, runs in reached.items():
            runs.append(serve(policy, tested, budget, rng=rng))
    rows = []
    for budget, runs in reached.items():
        reward, spend = np.array(runs).T
        draws = np.random.default_rng(0).choice(reward, (1000, seeds)).mean(axis=1)
        rows.append(
            {
                "dataset": "paretobandit",
                "policy": "value",
                "feedback": "partial",
                "budget": budget,
                "accuracy": float(reward.mean()),
                "accuracy_low": float(np.percentile(draws, 2.5)),
                "accuracy_high": float(np.percentile(draws, 97.5)),
                "spend": float(spend.mean()),
                "budget_error": float(spend.mean() / budget - 1),
                "mix_at_spend": mix_at_spend(unseen.reward, unseen.cost, float(spend.mean())),
                "published": PUBLISHED[budget],
                "seeds": seeds,
            }
        )
    return rows


def _rows(prompts: Prompts, chosen: np.ndarray[Any, Any]) -> Prompts:  # Any: of row numbers
    return Prompts(tuple(prompts.texts[row] for row in chosen), prompts.reward[chosen], prompts.cost[chosen])


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
        title=f"paretobandit, {options.split}, one model tried per prompt", box=None, title_justify="left", pad_edge=False
    )
    for column in ("USD per request", "spend / budget", "reward", "95 % over seeds", "mix at spend", "published"):
        table.add_column(column, justify="right")
    for row in rows:
        interval = f"[{row['accuracy_low']:.4f}, {row['accuracy_high']:.4f}]"
        shown = (f"{1 + row['budget_error']:.3f}", f"{row['accuracy']:.4f}", interval, f"{row['mix_at_spend']:.4f}")
        table.add_row(f"{row['budget']:.2g}", *shown, f"{row['published']:.3f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
