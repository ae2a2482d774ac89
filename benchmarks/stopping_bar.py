"""The early stop's bar: `python -m benchmarks.stopping_bar --train ROOT`.

On recorded pools of samples, in the same shuffled orders as AdaptiveConsistency's own package (arXiv 2305.11860;
`pip install --no-deps AdaptiveConsistency`) at the same threshold: accuracy within .1 point of it, at most 1.05 times its
samples, and at most 5 µs for a look at a vote. Replies without an answer are drawn and do not vote, for either.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.recorded import Recorded, Sample, load, votes
from budget_router.outcomes import is_decided

THRESHOLD = 0.95
MAX_POINTS_BEHIND = 0.1
MAX_SAMPLES_RATIO = 1.05
MAX_MICROSECONDS = 5.0
N_TIMED = 200
"""Pools over whose votes a look is timed."""

POOLS: Mapping[str, tuple[str, str]] = {
    "esc_last_letters": ("esc_last_letters", "gpt-3.5-turbo/cot"),
    "jhu_mcqa CoT x40": ("jhu_mcqa:gpt-3.5-turbo-2024", "cot@T="),
    "qwen_demo": ("qwen_demo", "cot"),
}
"""Set, and how the prompts begin whose samples make a pool: the same prompt at several temperatures counts as one."""

Look = Callable[[Sequence[int], int], bool]
"""Takes the votes of each answer, in order of first sight, and the samples left; tells whether to stop."""
Pool = tuple[list[str | None], dict[str, float]]


class Row(NamedTuple):
    """A pool's figures, ours beside the peer's."""

    pool: str
    n_tasks: int
    cap: int
    accuracy: float
    peer_accuracy: float
    points_error: float
    """Standard error of the difference of the two accuracies, in points, over tasks."""
    samples: float
    peer_samples: float
    microseconds: float
    peer_microseconds: float

    @property
    def is_met(self) -> bool:
        """Whether all three bars are."""
        return (
            100 * (self.peer_accuracy - self.accuracy) <= MAX_POINTS_BEHIND
            and self.samples <= MAX_SAMPLES_RATIO * self.peer_samples
            and self.microseconds <= MAX_MICROSECONDS
        )


def pools_of(recorded: Recorded, prompt: str) -> list[Pool]:
    """Each task's pool: its samples of all prompts that begin so."""
    held: dict[int, list[Sample]] = {}
    for (row, name), samples in recorded.samples.items():
        if name.startswith(prompt):
            held.setdefault(row, []).extend(samples)
    return [votes(samples) for samples in held.values()]


def peer_rule() -> Look:
    """AdaptiveConsistency's own criterion, asked through its package."""
    try:
        from adaptive_consistency import AC, BetaStoppingCriteria
    except ImportError:
        raise SystemExit("AdaptiveConsistency is not installed: pip install --no-deps AdaptiveConsistency") from None
    peer = AC(stop_criteria=BetaStoppingCriteria(THRESHOLD))

    def look(given: Sequence[int], n_left: int) -> bool:
        return not n_left or bool(peer.should_stop([str(answer) for answer, count in enumerate(given) for _ in range(count)]))

    return look


def our_rule(given: Sequence[int], n_left: int) -> bool:
    """The rule that the executor asks."""
    return is_decided(given, n_left, THRESHOLD)


def replayed(pool: Pool, look: Look, orders: NDArray[np.int64], cap: int) -> tuple[float, float]:
    """Mean score and mean samples of a rule on one task, asked after each sample that votes."""
    answers, scores = pool
    right = drawn = 0.0
    for order in orders.tolist():
        counts: dict[str, int] = {}
        for n_drawn, one in enumerate(order[:cap], start=1):
            answer = answers[one]
            if answer is not None:
                counts[answer] = counts.get(answer, 0) + 1
            if counts and look(tuple(counts.values()), cap - n_drawn):
                break
        drawn += n_drawn
        right += scores[max(counts, key=counts.__getitem__)] if counts else 0.0
    return right / len(orders), drawn / len(orders)


def microseconds(look: Look, pools: Sequence[Pool]) -> float:
    """Mean time of a look at votes as they stand after each sample of the pools' first halves, in one process as in service."""
    standing = [
        (tuple(map(seen.count, dict.fromkeys(seen))), len(answers) - n_seen)
        for answers, _ in pools[:N_TIMED]
        for n_seen in range(1, len(answers) // 2 + 1)
        if (seen := [answer for answer in answers[:n_seen] if answer is not None])
    ]
    began = time.perf_counter()
    for counts, n_left in standing:
        look(counts, n_left)
    return (time.perf_counter() - began) / len(standing) * 1e6


def measured(name: str, pools: Sequence[Pool], *, n_shuffles: int) -> Row:
    """Replay both rules in the same orders."""
    cap = max(len(answers) for answers, _ in pools)
    peer = peer_rule()
    kept = cache(peer)  # what it says depends on the votes alone
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for pool in track(pools, description=name, console=Console(stderr=True)):
        orders = rng.permuted(np.tile(np.arange(len(pool[0])), (n_shuffles, 1)), axis=1)
        ours.append(replayed(pool, our_rule, orders, len(pool[0])))
        theirs.append(replayed(pool, kept, orders, len(pool[0])))
    (accuracy, samples), (peer_accuracy, peer_samples) = np.mean(ours, axis=0), np.mean(theirs, axis=0)
    apart = 100 * (np.array(ours) - np.array(theirs))[:, 0]
    return Row(
        pool=name,
        n_tasks=len(pools),
        cap=cap,
        accuracy=float(accuracy),
        peer_accuracy=float(peer_accuracy),
        points_error=float(apart.std(ddof=1) / len(pools) ** 0.5) if len(pools) > 1 else 0.0,
        samples=float(samples),
        peer_samples=float(peer_samples),
        microseconds=microseconds(our_rule, pools),
        peer_microseconds=microseconds(peer, pools),
    )


def main() -> None:
    """Print a table, or JSON; exits 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="folder of recorded sets")
    parser.add_argument("--pools", nargs="*", default=list(POOLS), choices=list(POOLS), metavar="POOL", help=", ".join(POOLS))
    parser.add_argument("--shuffles", type=int, default=1000, help="orders in which both see each pool")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = []
    for name in options.pools:
        folder, prompt = POOLS[name]
        pools = pools_of(load(folder, options.train, is_adaptive=False), prompt)
        rows.append(measured(name, pools, n_shuffles=options.shuffles))
    if options.json:
        print(json.dumps([{**row._asdict(), "is_met": row.is_met} for row in rows], indent=1))
    else:
        table = Table("pool", title=f"threshold {THRESHOLD:g}, ours / AdaptiveConsistency's", box=None, title_justify="left")
        for column in ("tasks", "cap", "accuracy", "samples", "µs a look", "bar"):
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(
                row.pool,
                str(row.n_tasks),
                str(row.cap),
                f"{row.accuracy:.4f} / {row.peer_accuracy:.4f}",
                f"{row.samples:.3f} / {row.peer_samples:.3f}",
                f"{row.microseconds:.1f} / {row.peer_microseconds:.1f}",
                "met" if row.is_met else "missed",
            )
        Console(width=120).print(table)
    if not all(row.is_met for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
