"""Early stopping beside its peers on recorded samples: `python -m benchmarks.stopping --train ROOT`.

AdaptiveConsistency (arXiv 2305.11860; `pip install --no-deps AdaptiveConsistency`) asks its own package after every sample, ESC
(arXiv 2401.10480) stops at a window of equal answers. Both replay the recorded pool in shuffled orders; fixed votes and this
project's early stopping are averaged over all orders, without simulation. A menu is the upper hull of its strategies: what the
best mixture of them reaches at a mean number of samples.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.recorded import Recorded, load, votes
from budget_router import EarlyStop
from budget_router.evaluation import mix_at_spend
from budget_router.outcomes import early_stop_value, vote_accuracy

FIXED = (1, 2, 4, 8, 16, 40)
THRESHOLDS = (0.8, 0.9, 0.95, 0.99)
WINDOWS = (1, 2, 4)
CAPS = (5, 10, 40)
ESC_WINDOWS = (4, 5, 8)
FAMILIES = {"fixed": ("fixed",), "early stopping": ("early stopping",), "both": ("fixed", "early stopping")}
"""Menus by the methods they hold."""

Rule = Callable[[Sequence[str | None]], bool]


class Row(NamedTuple):
    """A way to sample."""

    method: str
    setting: str
    accuracy: float
    mean_samples: float


def replayed(recorded: Recorded, rule: Rule, *, cap: int, n_shuffles: int) -> tuple[float, float]:
    """Accuracy and mean samples of a rule that is asked after each sample, over shuffled orders that all rules share."""
    rng = np.random.default_rng(0)
    right = drawn = 0.0
    for held in recorded.samples.values():
        answers, scores = votes(held)
        for _ in range(n_shuffles):
            order = rng.permutation(len(answers))
            seen: list[str | None] = []
            for one in order[:cap].tolist():
                seen.append(answers[one])
                if rule(seen):
                    break
            given = [answer for answer in seen if answer is not None]
            right += scores[max(given, key=given.count)] if given else 0.0
            drawn += len(seen)
    n_runs = n_shuffles * len(recorded.samples)
    return right / n_runs, drawn / n_runs


def adaptive_consistency(threshold: float) -> Rule:
    """The peer's own stopping criterion, asked through its package."""
    try:
        from adaptive_consistency import AC, BetaStoppingCriteria
    except ImportError:
        raise SystemExit("AdaptiveConsistency is not installed: pip install --no-deps AdaptiveConsistency") from None
    peer = AC(stop_criteria=BetaStoppingCriteria(threshold))

    @cache  # its integrals see the two largest counts alone
    def stops(leader: int, runner_up: int) -> bool:
        return bool(peer.should_stop(["a"] * leader + ["b"] * runner_up))

    def rule(seen: Sequence[str | None]) -> bool:
        counts = sorted((seen.count(answer) for answer in set(seen)), reverse=True)
        return stops(counts[0], counts[1] if len(counts) > 1 else 0)

    return rule


def esc(window: int) -> Rule:
    """Stop at a window of answers that are all one."""
    return lambda seen: len(seen) % window == 0 and len(set(seen[-window:])) == 1


def run(recorded: Recorded, *, n_shuffles: int) -> list[Row]:
    """Every way to sample; where there are fewer samples than a setting asks for, it is left out."""
    pools = [votes(held) for held in recorded.samples.values()]
    most = recorded.n_least
    rows = [Row("fixed", f"k = {k}", float(np.mean([vote_accuracy(*pool, k) for pool in pools])), k) for k in FIXED if k <= most]
    rules = [("AdaptiveConsistency", f"threshold {one:g}", adaptive_consistency(one)) for one in THRESHOLDS]
    rules += [("ESC", f"window {one}", esc(one)) for one in ESC_WINDOWS if one <= most]
    for method, setting, rule in track(rules, description="peers", console=Console(stderr=True)):
        rows.append(Row(method, setting, *replayed(recorded, rule, cap=min(most, CAPS[-1]), n_shuffles=n_shuffles)))
    settings = [one for one in product(THRESHOLDS, WINDOWS, sorted({min(cap, most) for cap in CAPS})) if one[1] <= one[2]]
    for threshold, window, cap in track(settings, description="early stopping", console=Console(stderr=True)):
        early_stop = EarlyStop(threshold=threshold, window=window)
        values = np.array([early_stop_value(*pool, early_stop, cap) for pool in pools]).mean(axis=0)
        rows.append(Row("early stopping", f"threshold {threshold:g}, window {window}, at most {cap}", *map(float, values)))
    return rows


def menus(rows: Sequence[Row], mean_samples: float) -> dict[str, float | None]:
    """Accuracy of each menu's best mixture at a mean number of samples; `None` where the menu cannot spend so little."""
    reached: dict[str, float | None] = {}
    for name, methods in FAMILIES.items():
        accuracy, cost = np.array([row[2:] for row in rows if row.method in methods]).T
        reached[name] = mix_at_spend(accuracy[None], cost[None], mean_samples) if cost.min() <= mean_samples else None
    return reached


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="esc_last_letters", help="a set with one prompt and many samples of it")
    parser.add_argument("--train", type=Path, required=True, help="folder of recorded sets")
    parser.add_argument("--shuffles", type=int, default=20, help="orders in which the peers see each pool")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    recorded = load(options.dataset, options.train, is_adaptive=False)
    if len(recorded.samples) > len(recorded.texts):
        raise SystemExit(f"{options.dataset} holds several prompts: one with many samples is needed, e.g. esc_last_letters")
    rows = run(recorded, n_shuffles=options.shuffles)
    reached = {f"{one:g}": menus(rows, one) for one in (1.5, 2.0, 2.6, 4.0, 8.0)}
    if options.json:
        print(json.dumps({"rows": [row._asdict() for row in rows], "menus": reached}, indent=1))
        return
    console = Console(width=100)
    table = Table("method", "setting", title=options.dataset, box=None, title_justify="left", pad_edge=False)
    for column in ("samples", "accuracy"):
        table.add_column(column, justify="right")
    for row in sorted(
        rows, key=lambda row: (list(dict.fromkeys(one.method for one in rows)).index(row.method), row.mean_samples)
    ):
        table.add_row(row.method, row.setting, f"{row.mean_samples:.2f}", f"{row.accuracy:.4f}")
    console.print(table)
    table = Table(
        "samples", title="\nmenus: the best mixture at a mean number of samples", box=None, title_justify="left", pad_edge=False
    )
    for name in FAMILIES:
        table.add_column(name, justify="right")
    for samples, by_menu in reached.items():
        table.add_row(samples, *("–" if accuracy is None else f"{accuracy:.4f}" for accuracy in by_menu.values()))
    console.print(table)


if __name__ == "__main__":
    main()
