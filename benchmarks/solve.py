"""The solve: exact? fast? larger than memory? `python -m benchmarks.solve [--json] [--picture FILE] [--large]`.

Beside it, in the same run: rational arithmetic, one pass `argmax(A - λ C)` over the same table, bisection on λ, and HiGHS on the
linear relaxation and on the integer program. Times are medians; the solve's include the validation of its input. `--large` maps
tables of up to 20,000,000 tasks from files and needs 1.3 GB of disk for them.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import exactness, mapped
from benchmarks.linear_program import relaxed, whole
from benchmarks.solve_picture import picture
from benchmarks.world import drawn, drawn_costs
from budget_router.allocation import FloatArray, IntArray, solve, solve_many

N_HALVINGS = 50
SIZES = (10**3, 10**4, 10**5, 10**6)
MAPPED_SIZES = (10**5, 10**6, 5 * 10**6, 2 * 10**7)
BUDGET = 3.0
"""About three times what the cheapest strategy costs."""
BUDGETS = (3.0, 3.3, 1.9)
"""Of three costs, each of which binds."""
N_REPEATS = 9


T = TypeVar("T")


class Row(NamedTuple):
    """One method on one table."""

    method: str
    n_tasks: int
    seconds: float | None
    """None: left out or not ended, as `note` says."""
    gap: float | None
    """The dual bound minus the accuracy reached."""
    note: str = ""


def timed(*runs: Callable[[], T], n_repeats: int = N_REPEATS) -> tuple[list[float], list[T]]:
    """Median seconds and last result of each, run in turns, so that whatever else the machine does weighs on all alike."""
    taken: list[list[float]] = [[] for _ in runs]
    for _ in range(n_repeats):
        results = []
        for run, seconds in zip(runs, taken, strict=True):
            started = time.perf_counter()
            results.append(run())
            seconds.append(time.perf_counter() - started)
    return [median(seconds) for seconds in taken], results


def one_pass(accuracy: FloatArray, cost: FloatArray, lam: float) -> IntArray:
    """What a price is worth to each task, in one line."""
    return np.asarray((accuracy - lam * cost).argmax(axis=1))


def bisected(accuracy: FloatArray, cost: FloatArray, budget: float) -> float:
    """Accuracy of the dearest allocation within the budget that bisection on λ meets: what one would first write."""
    rows = np.arange(len(cost))
    low, high = 0.0, 1.0
    while cost[rows, one_pass(accuracy, cost, high)].mean() > budget:
        high *= 2
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if cost[rows, one_pass(accuracy, cost, middle)].mean() > budget else (low, middle)
    return float(accuracy[rows, one_pass(accuracy, cost, high)].mean())


def against_a_pass(n_tasks: int) -> dict[str, float]:
    """The solve of a (n_tasks, 8) float64 table, and one pass over it."""
    accuracy, cost = drawn(np.random.default_rng(0), n_tasks, 8)
    lam = solve(accuracy, cost, BUDGET).lam
    seconds, _ = timed(partial(solve, accuracy, cost, BUDGET), partial(one_pass, accuracy, cost, lam))
    ours, theirs = seconds
    return {"n_tasks": n_tasks, "seconds": ours, "pass_seconds": theirs, "ratio": ours / theirs}


def against_rivals(sizes: Sequence[int], *, limit: float) -> Iterator[Row]:
    """Every method on (n_tasks, 5) tables; HiGHS only where its last time, grown in proportion, stays below `limit` seconds."""
    grown = {"HiGHS LP": 0.0, "HiGHS MILP": 0.0}
    for n_tasks in sizes:
        accuracy, cost = drawn(np.random.default_rng(0), n_tasks, 5)
        allocation = solve(accuracy, cost, BUDGET)
        bound, budgets = allocation.dual_bound, np.array([BUDGET])
        (ours,), _ = timed(partial(solve, accuracy, cost, BUDGET))
        (bisection,), (reached,) = timed(partial(bisected, accuracy, cost, BUDGET), n_repeats=3)
        yield Row("solve", n_tasks, ours, allocation.duality_gap)
        yield Row("bisection", n_tasks, bisection, bound - reached)
        for method, run in (
            ("HiGHS LP", partial(relaxed, accuracy, cost[None], budgets)),
            ("HiGHS MILP", partial(whole, accuracy, cost[None], budgets, time_limit=limit)),
        ):
            if grown[method] > limit:
                yield Row(method, n_tasks, None, None, f"would take over {limit:g} s")
                grown[method] = np.inf
                continue
            n_repeats = 3 if grown[method] < limit / 10 else 1
            (seconds,), (optimum,) = timed(run, n_repeats=n_repeats)
            if optimum is None:
                yield Row(method, n_tasks, None, None, f"no proof within {limit:g} s")
            else:
                yield Row(method, n_tasks, seconds, bound - optimum)
            grown[method] = seconds * 10


def several(n_tasks: int) -> dict[str, float | int]:
    """Three budgets on a (n_tasks, 6) table, and HiGHS on all of its linear program."""
    accuracy, costs = drawn_costs(np.random.default_rng(0), n_tasks, 6)
    (seconds,), (found,) = timed(partial(solve_many, accuracy, costs, BUDGETS), n_repeats=3)
    (highs_seconds,), (optimum,) = timed(partial(relaxed, accuracy, costs, np.array(BUDGETS)), n_repeats=1)
    return {
        "n_tasks": n_tasks,
        "n_binding": int((found.multipliers > 0).sum()),
        "seconds": seconds,
        "highs_seconds": highs_seconds,
        "from_highs": abs(found.mixed.accuracy - optimum) if optimum is not None else float("nan"),
        "gap": found.duality_gap,
        "n_split": len(found.mixed.splits),
        "n_over_budget": int((found.spend > BUDGETS).sum()),
    }


def measure(*, n_problems: int, sizes: Sequence[int], limit: float, is_large: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """All that is measured; values are JSON's own."""
    say("exactness")
    found: dict[str, Any] = {
        "load_average": os.getloadavg()[0],
        "exact": exactness.against_fractions(n_problems),
        "highs": exactness.against_highs(max(n_problems // 5, 1)),
    }
    say("beside one pass")
    found["one_pass"] = [against_a_pass(n_tasks) for n_tasks in (10 * sizes[0], sizes[-1])]
    say("beside HiGHS and bisection")
    rows = list(against_rivals(sizes, limit=limit))
    found["rivals"] = [row._asdict() for row in rows]
    say("several budgets")
    found["several"] = several(sizes[-1] // 10)
    if is_large:
        say("mapped from files")
        found["mapped"] = [mapped.measured(n_tasks) for n_tasks in MAPPED_SIZES]
    return found


def show(found: dict[str, Any], console: Console) -> None:
    """Print what was measured."""
    exact, highs = found["exact"], found["highs"]
    console.print(
        f"load average {found['load_average']:.1f}\n"
        f"exact by rational arithmetic: {exact['n_exact']:,} of {exact['n_problems']:,} whole problems, "
        f"reported bounds within {exact['farthest_reported_bound']:.1g}\n"
        f"beside HiGHS: {highs['n_problems']:,} real problems within {highs['farthest']:.1g}, "
        f"{highs['n_over_budget']} over budget"
    )
    passes = _table("tasks × 8", "solve, ms", "one pass, ms", "ratio", title="beside one pass argmax(A - λ C)")
    for row in found["one_pass"]:
        milliseconds = (f"{1e3 * row[name]:,.1f}" for name in ("seconds", "pass_seconds"))
        passes.add_row(f"{row['n_tasks']:,}", *milliseconds, f"{row['ratio']:.1f}")
    console.print(passes)
    rivals = _table("tasks × 5", "method", "seconds", "times ours", "below the bound", title="beside bisection and HiGHS")
    ours = {row["n_tasks"]: row["seconds"] for row in found["rivals"] if row["method"] == "solve"}
    for row in found["rivals"]:
        seconds, gap = row["seconds"], row["gap"]
        cells = [row["note"], "–", "–"]
        if seconds is not None:
            cells = [f"{seconds:.4f}", f"{seconds / ours[row['n_tasks']]:,.0f}", f"{max(gap, 0.0):.1e}"]
        rivals.add_row(f"{row['n_tasks']:,}", row["method"], *cells, style="bold" if row["method"] == "solve" else "")
    console.print(rivals)
    many = found["several"]
    console.print(
        f"\nthree budgets, {many['n_binding']} of them binding, on {many['n_tasks']:,} tasks × 6: {many['seconds']:.2f} s "
        f"(HiGHS {many['highs_seconds']:.1f} s), mixture within {many['from_highs']:.1g} of HiGHS,\n"
        f"{many['n_split']} tasks split; one strategy per task within {many['gap']:.1g}, {many['n_over_budget']} over budget"
    )
    if "mapped" in found:
        large = _table("tasks × 8", "seconds", "ns per task", "RssAnon, MB", title="mapped from float32 files")
        for row in found["mapped"]:
            per_task = f"{1e9 * row['seconds'] / row['n_tasks']:.0f}"
            large.add_row(f"{row['n_tasks']:,}", f"{row['seconds']:.2f}", per_task, f"{row['peak_anonymous_mb']:.0f}")
        console.print(large)


def _table(*columns: str, title: str) -> Table:
    table = Table(title=f"\n{title}", box=None, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right")
    return table


def main() -> None:
    """Print tables, or JSON, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=1000, help="whole problems to be solved exactly")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds beyond which HiGHS is left out")
    parser.add_argument("--large", action="store_true", help="map tables of up to 20,000,000 tasks from files")
    parser.add_argument("--picture", type=Path, help="SVG to draw the times into")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    talk = Console(stderr=True)
    found = measure(n_problems=options.problems, sizes=SIZES, limit=options.limit, is_large=options.large, say=talk.print)
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_text(picture([Row(**row) for row in found["rivals"]]), encoding="utf-8")
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        show(found, Console(width=100))


if __name__ == "__main__":
    main()
