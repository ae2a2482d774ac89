"""How often off-policy intervals cover the truth, on simulated logs: `python -m benchmarks.coverage [--logs 1000] [--json]`.

Each log comes from a world of its own: five strategies, four features, a difficulty that no feature shows, Bernoulli scores. The
log was written by an older policy with a floor under every propensity; the target is a nearly deterministic other policy, which
agrees with the older one on some tasks and not on others. Tasks come back, as tasks do. The reward model of the doubly robust
estimate is a cross-fitted ridge, which neither knows the difficulty nor the bend of the truth. Covered is the target's mean score
over all tasks that might have come, by a nominal 95 % interval, among the logs where the estimator concludes.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation import OffPolicyEstimate, Revealed, cross_fitted, dr, dr_terms, ips, snips
from budget_router.evaluation.bounds import clustered_error, student_half_width
from budget_router.evaluation.off_policy import CONFIDENCE

FLOORS = (0.02, 0.1)
SIZES = (500, 5000)
N_STRATEGIES, N_FEATURES = 5, 4
N_POPULATION = 40_000
"""Tasks that stand for all tasks; the standard error of the truth is some 0.001."""
TASKS_PER_DECISION = 0.8
TARGET_FLOOR = 0.002
COST = np.array([1.0, 3.0, 5.0, 9.0, 16.0])


class Tasks(NamedTuple):
    """Tasks of a world, and what each policy chooses on them."""

    features: FloatArray
    accuracy: FloatArray
    target: IntArray
    logging: IntArray


@dataclass(frozen=True)
class World:
    """Where tasks come from, and the two policies."""

    level: FloatArray
    slope: FloatArray
    believed: tuple[FloatArray, FloatArray]
    """Slopes as the target and the logging policy see them."""
    lam: tuple[float, float]
    """Shadow price of the target and of the logging policy."""
    hidden: float
    """Scatter of the difficulty that no feature shows."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        """A world at random."""
        slope = rng.normal(0, 0.5, (N_FEATURES, N_STRATEGIES))
        lam = rng.uniform(0.005, 0.05)
        return cls(
            level=np.linspace(-0.2, 1.4, N_STRATEGIES) + rng.normal(0, 0.3, N_STRATEGIES) + rng.uniform(0, 1.3),
            slope=slope,
            believed=(slope + rng.normal(0, 0.25, slope.shape), slope + rng.normal(0, 0.5, slope.shape)),
            lam=(lam, lam * rng.uniform(0.3, 3.0)),
            hidden=rng.uniform(0.3, 1.0),
        )

    def tasks(self, n_tasks: int, rng: np.random.Generator) -> Tasks:
        """Tasks at random."""
        features = rng.normal(0, 1, (n_tasks, N_FEATURES))
        bend = 0.4 * np.abs(features[:, :1]) + rng.normal(0, self.hidden, (n_tasks, 1))
        target, logging = (
            np.argmax(_sigmoid(self.level + features @ slope) - lam * COST, axis=1)
            for slope, lam in zip(self.believed, self.lam, strict=True)
        )
        return Tasks(features, _sigmoid(self.level + features @ self.slope + bend), target, logging)

    def worth(self, rng: np.random.Generator) -> float:
        """Mean score of the target policy over all tasks."""
        tasks = self.tasks(N_POPULATION, rng)
        return float((probabilities(tasks.target, TARGET_FLOOR) * tasks.accuracy).sum(axis=1).mean())


def _sigmoid(logit: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-logit)))


def probabilities(actions: IntArray, floor: float) -> FloatArray:
    """One action per row, and a floor under all others."""
    prob = np.full((len(actions), N_STRATEGIES), floor)
    prob[np.arange(len(actions)), actions] += 1 - floor * N_STRATEGIES
    return prob


def logged(world: World, n: int, floor: float, rng: np.random.Generator) -> tuple[Revealed, FloatArray, FloatArray]:
    """A log of n decisions, their features, and the target's probabilities on them."""
    tasks = world.tasks(int(n * TASKS_PER_DECISION), rng)
    which = rng.integers(0, len(tasks.target), n)
    prob = probabilities(tasks.logging[which], floor)
    rows = np.arange(n)
    actions = np.minimum((rng.random((n, 1)) > prob.cumsum(axis=1)).sum(axis=1), N_STRATEGIES - 1)
    value = np.full(prob.shape, np.nan)
    value[rows, actions] = rng.random(n) < tasks.accuracy[which, actions]
    names = tuple(f"strategy_{action}" for action in range(N_STRATEGIES))
    log = Revealed(value, prob, tuple(map(str, which)), names)
    return log, tasks.features[which], probabilities(tasks.target[which], TARGET_FLOOR)


def estimates(log: Revealed, features: FloatArray, target_prob: FloatArray) -> dict[str, OffPolicyEstimate]:
    """Every estimator's on one log; `dr, plain t` is the gate's without its remedies against rare failures."""
    predicted = cross_fitted(features, log)
    gate = dr(log, target_prob=target_prob, predicted=predicted)
    error = clustered_error(dr_terms(log, target_prob=target_prob, predicted=predicted), log.task)
    half = student_half_width(error, degrees_of_freedom=log.n_tasks - 1, confidence=CONFIDENCE)
    return {
        "dr": gate,
        "dr, plain t": replace(gate, standard_error=error, low=gate.value - half, high=gate.value + half),
        "dr, bernstein": dr(log, target_prob=target_prob, predicted=predicted, bound="bernstein"),
        "ips": ips(log, target_prob=target_prob),
        "snips": snips(log, target_prob=target_prob),
    }


@dataclass(frozen=True)
class Coverage:
    """How one estimator fared at one setting."""

    floor: float
    n: int
    estimator: str
    coverage: float
    """Share of the concluding logs whose interval holds the truth."""
    declined: float
    """Share of all logs."""
    mean_width: float
    n_logs: int


def simulate(n_logs: int, *, floor: float, n: int, seed: int = 0, progress: Progress | None = None) -> list[Coverage]:
    """Coverage of every estimator over logs of one size and floor."""
    rng = np.random.default_rng(seed)
    step = progress.add_task(f"floor {floor:g}, {n} decisions", total=n_logs) if progress else None
    found: dict[str, list[tuple[bool, bool, float]]] = {}
    for _ in range(n_logs):
        world = World.drawn(rng)
        worth = world.worth(rng)
        for name, estimate in estimates(*logged(world, n, floor, rng)).items():
            is_covered = estimate.low <= worth <= estimate.high
            found.setdefault(name, []).append((estimate.is_conclusive, is_covered, estimate.high - estimate.low))
        if progress and step is not None:
            progress.advance(step)
    results = []
    for name, rows in found.items():
        is_conclusive, is_covered, width = np.array(rows).T
        told = is_conclusive == 1
        covered, wide = (float(part[told].mean()) if told.any() else float("nan") for part in (is_covered, width))
        results.append(Coverage(floor, n, name, covered, 1 - float(told.mean()), wide, n_logs))
    return results


def main() -> None:
    """Print coverage by floor, size and estimator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=1000, help="simulated logs per setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    started = time.perf_counter()
    talk = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=talk) as progress:
        rows = [
            row
            for floor in FLOORS
            for n in SIZES
            for row in simulate(options.logs, floor=floor, n=n, seed=options.seed, progress=progress)
        ]
    seconds = time.perf_counter() - started
    if options.json:
        print(json.dumps({"seed": options.seed, "seconds": round(seconds, 1), "rows": [asdict(row) for row in rows]}, indent=1))
        return
    table = Table("floor", "n", "estimator", "coverage", "declined", "mean width")
    for row in rows:
        share = f"{row.coverage:.1%}", f"{row.declined:.1%}", f"{row.mean_width:.3f}"
        table.add_row(f"{row.floor:g}", str(row.n), row.estimator, *share, end_section=row.estimator == "snips")
    Console().print(table)
    talk.print(f"{options.logs} logs per setting, seed {options.seed}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
