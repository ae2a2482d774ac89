"""How often the gate promotes, on simulated logs: `python -m benchmarks.gate [--logs 500] [--json]`; 1 if a bar is missed.

Each log comes from a world of its own, of four strategies: four features, a difficulty that no feature shows, Bernoulli scores,
spends that scatter, three groups, tasks that come back. The incumbent wrote the log, with a floor of 0.1 under every propensity.
The candidate follows a policy that is better than the incumbent on one share of the tasks and one that is worse on the rest; the
share is set so that its gain is *exactly* 0, -1 or +3 points over all tasks of the world. It spends 98 % of its budget: the bars
on spend can be met, and can be missed by chance. Predictions are ridges, cross-fitted on the log alone; they know neither the
difficulty nor the bend of the truth. All goes through `Judgement.of` and `Gate.judge`, with every condition.

- One look: at 5,000 decisions.
- Peeking: a look every 250 decisions up to 5,000, and promotion at the first pass; the gate for one look beside the one for many.
- Coverage: of the gain's and the spend's nominal 95 % intervals at the one look.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple, Self

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation import Gate, Judgement, Revealed, Rivals, cross_fitted

N, LOOK_EVERY = 5000, 250
FLOOR = 0.1
SOFTNESS = 0.05
"""Of the logging policy: where strategies are this close in value, as dithered prices make it, both get a share."""
SPENT = 0.98
"""Share of its budget that the candidate spends."""
GAINS = (0.0, -0.01, 0.03)
BARS = {0.0: "≤ 6.8 %", -0.01: "≤ 1 %", 0.03: "≥ 80 %"}
"""Of 500 logs: 34, 5, and 400."""
MIN_COVERAGE = 0.93
GROUPS = ("support", "research", "coding")
N_FEATURES = 4
N_POPULATION = 10_000
"""Tasks of a world; a log draws from them with replacement, so what is true of them is exactly true of the log's origin."""
COST = np.array([1.0, 3.0, 5.0, 9.0])
COST_SCATTER = 0.4
"""Standard deviation of the logarithm of a spend, of one task and strategy to the next."""
NAMES = ("single_shot", "vote_3", "vote_5", "think")


class World(NamedTuple):
    """All tasks of a world, and what each policy chooses on them."""

    features: FloatArray
    accuracy: FloatArray
    cost: FloatArray
    group: IntArray
    better: IntArray
    """Actions of a policy that gains over the incumbent."""
    worse: IntArray
    incumbent: IntArray
    logging: FloatArray
    """Propensities of the incumbent as it serves."""
    lot: FloatArray
    """Uniform per task, and independent of all else."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        """A world at random, in which a gain of each of `GAINS` can be had."""
        while True:
            world = cls._any(rng)
            worst, best = (world.gain(actions) for actions in (world.worse, world.better))
            if worst < min(GAINS) and best > max(GAINS):
                return world

    @classmethod
    def _any(cls, rng: np.random.Generator) -> Self:
        slope = rng.normal(0, 0.6, (N_FEATURES, len(COST)))
        level = np.linspace(-0.4, 1.0, len(COST)) + rng.normal(0, 0.3, len(COST)) + rng.uniform(0, 1)
        features = rng.normal(0, 1, (N_POPULATION, N_FEATURES))
        bend = 0.4 * np.abs(features[:, :1]) + rng.normal(0, rng.uniform(0.3, 1.0), (N_POPULATION, 1))
        length = np.exp(0.3 * features[:, 1:2] - 0.045)
        price = rng.uniform(0.005, 0.04)
        better, worse, incumbent = (
            _sigmoid(level + features @ (slope + rng.normal(0, blur, slope.shape))) - price * COST * length
            for blur in (0.1, 0.7, 0.4)
        )
        soft = np.exp((incumbent - incumbent.max(axis=1, keepdims=True)) / SOFTNESS)
        logging = FLOOR + (1 - FLOOR * len(COST)) * soft / soft.sum(axis=1, keepdims=True)
        group = rng.integers(0, len(GROUPS), N_POPULATION)
        accuracy = _sigmoid(level + features @ slope + bend)
        lot = rng.random(N_POPULATION)
        chosen = [value.argmax(axis=1) for value in (better, worse, incumbent)]
        return cls(features, accuracy, COST * length, group, chosen[0], chosen[1], chosen[2], logging, lot)

    def gain(self, actions: IntArray) -> float:
        """In mean accuracy over the incumbent."""
        rows = np.arange(N_POPULATION)
        return float((self.accuracy[rows, actions] - self.accuracy[rows, self.incumbent]).mean())

    def candidate(self, gain: float) -> FloatArray:
        """(n_population, n_strategies) choices of a policy that gains just so much: better where the lot falls below a threshold.

        The last task to cross it is split, so that the gain is exact.
        """
        rows = np.arange(N_POPULATION)
        order = np.argsort(self.lot)
        step = (self.accuracy[rows, self.better] - self.accuracy[rows, self.worse])[order]
        reached = self.gain(self.worse) + np.cumsum(step) / N_POPULATION
        last = int(np.argmax(reached >= gain))
        share = np.zeros(N_POPULATION)
        share[order[:last]] = 1.0
        share[order[last]] = 1 - (reached[last] - gain) * N_POPULATION / step[last]
        return share[:, None] * _one_hot(self.better) + (1 - share[:, None]) * _one_hot(self.worse)


@dataclass(frozen=True)
class Log:
    """What was logged, in order of arrival."""

    world: World
    which: IntArray
    """(n,) the task of each decision."""
    score: FloatArray
    spend: FloatArray
    prob: FloatArray

    @classmethod
    def drawn(cls, world: World, n: int, rng: np.random.Generator) -> Self:
        """A log of n decisions."""
        which = rng.integers(0, N_POPULATION, n)
        prob = world.logging[which]
        actions = np.minimum((rng.random((n, 1)) > prob.cumsum(axis=1)).sum(axis=1), len(COST) - 1)
        seen = _one_hot(actions) > 0
        score = rng.random(n) < world.accuracy[which, actions]
        spend = world.cost[which, actions] * rng.lognormal(-(COST_SCATTER**2) / 2, COST_SCATTER, n)
        return cls(world, which, np.where(seen, score[:, None], np.nan), np.where(seen, spend[:, None], np.nan), prob)

    def judgements(self, candidates: list[FloatArray], n: int) -> Iterator[Judgement]:
        """One for each candidate, on the first n decisions, by predictions that know nothing else."""
        which = self.which[:n]
        ids, rows = tuple(map(str, which)), np.arange(n)
        scores, spends = (Revealed(value[:n], self.prob[:n], ids, NAMES, rows=rows) for value in (self.score, self.spend))
        features = self.world.features[which]
        accuracy, cost = cross_fitted(features, scores), cross_fitted(features, spends)
        incumbent = _one_hot(self.world.incumbent[which])
        groups = [GROUPS[one] for one in self.world.group[which]]
        for candidate in candidates:
            mix = np.tile(candidate[which].mean(axis=0), (n, 1))
            yield Judgement.of(
                scores,
                spends,
                Rivals(candidate[which], incumbent, mix),
                predicted_accuracy=accuracy,
                predicted_cost=cost,
                budget=float((candidate * self.world.cost).sum(axis=1).mean()) / SPENT,
                unit="units",
                held_out="later",
                incumbent="v1",
                groups=groups,
            )


def _sigmoid(logit: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-logit)))


def _one_hot(actions: IntArray) -> FloatArray:
    return np.eye(len(COST))[actions]


@dataclass(frozen=True)
class Row:
    """How one gate fared with candidates of one gain."""

    gain: float
    looks: str
    """`once` at the end; `once, peeked at` every so often; `often`, by the confidence sequence, as often."""
    promoted: int
    n_logs: int
    decisions: float
    """Median decisions at which those that were promoted were."""
    kept_by: dict[str, int]
    """Logs whose last look failed each condition."""
    error: float
    """Mean standard error of the gain at the last look."""
    gain_coverage: float
    spend_coverage: float
    """Share of the last looks whose 95 % interval holds the truth; no interval is a miss."""

    @property
    def bar(self) -> str:
        """What is asked of one look, and of many by the gate that is made for them."""
        return BARS[self.gain] if self.looks == "once" or (self.looks == "often" and self.gain <= 0) else ""

    @property
    def is_met(self) -> bool:
        """Whether promotions and coverage are as asked for."""
        share = self.promoted / self.n_logs
        if not self.bar:
            return True
        limit = float(self.bar.split()[1]) / 100
        is_right = share >= limit if self.gain > 0 else share <= limit
        return is_right and (self.looks != "once" or min(self.gain_coverage, self.spend_coverage) >= MIN_COVERAGE)


class _Look(NamedTuple):
    is_passed: tuple[bool, bool]
    """By the gate for one look, and by the one for many."""
    failed: tuple[tuple[str, ...], tuple[str, ...]]
    error: float
    is_gain_covered: bool
    is_spend_covered: bool


GATES = Gate(), Gate(looks="often")


def looked(log: Log, candidates: list[FloatArray], n: int) -> list[_Look]:
    """Judge a candidate of each gain on the first n decisions."""
    found = []
    judged = log.judgements(candidates, n)
    for gain, judgement in zip(GAINS, judged, strict=True):
        verdicts = [gate.judge(judgement) for gate in GATES]
        once, often = (tuple(condition.name for condition in verdict.failed) for verdict in verdicts)
        spend = judgement.spend
        found.append(
            _Look(
                (verdicts[0].is_passed, verdicts[1].is_passed),
                (once, often),
                judgement.gain.standard_error,
                judgement.gain.low <= gain <= judgement.gain.high,
                spend.low <= judgement.budget * SPENT <= spend.high,
            )
        )
    return found


def simulate(
    n_logs: int,
    n_peeked: int,
    *,
    n: int = N,
    look_every: int = LOOK_EVERY,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Row]:
    """Promotions by gain and by how often one looks: once at all logs, again and again at the first `n_peeked` of them."""
    rng = np.random.default_rng(seed)
    step = progress.add_task(f"{n} decisions", total=n_logs) if progress else None
    sizes = range(look_every, n + 1, look_every)
    logs = []  # n_logs × n_looks × n_gains
    for number in range(n_logs):
        log = Log.drawn(World.drawn(rng), n, rng)
        candidates = [log.world.candidate(gain) for gain in GAINS]
        logs.append([looked(log, candidates, size) for size in (sizes if number < n_peeked else sizes[-1:])])
        if progress and step is not None:
            progress.advance(step)
    return [
        _row(gain, looks, [[look[number] for look in log] for log in (logs if looks == "once" else logs[:n_peeked])], sizes)
        for number, gain in enumerate(GAINS)
        for looks in ("once", "once, peeked at", "often")
        if looks == "once" or n_peeked
    ]


def _row(gain: float, looks: str, logs: list[list[_Look]], sizes: range) -> Row:
    gate = int(looks == "often")
    looked_at = sizes[-1:] if looks == "once" else sizes
    passed = np.array([[look.is_passed[gate] for look in log[-len(looked_at) :]] for log in logs])
    first = np.asarray(looked_at)[passed.argmax(axis=1)][passed.any(axis=1)]
    last = [log[-1] for log in logs]
    failed = [name for look in last for name in look.failed[gate]]
    return Row(
        gain=gain,
        looks=looks,
        promoted=int(passed.any(axis=1).sum()),
        n_logs=len(logs),
        decisions=float(np.median(first)) if len(first) else math.nan,
        kept_by={name: failed.count(name) for name in dict.fromkeys(failed)},
        error=float(np.mean([look.error for look in last])),
        gain_coverage=float(np.mean([look.is_gain_covered for look in last])),
        spend_coverage=float(np.mean([look.is_spend_covered for look in last])),
    )


def _table(rows: list[Row]) -> Table:
    table = Table("gain", "looks", box=None)
    for column in ("promoted", "at decision", "± gain", "covered", "spend covered", "asked", "bar"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            f"{100 * row.gain:+.0f}",
            row.looks,
            f"{row.promoted} of {row.n_logs}",
            "" if math.isnan(row.decisions) else f"{row.decisions:,.0f}",
            f"{100 * row.error:.2f}",
            f"{row.gain_coverage:.1%}",
            f"{row.spend_coverage:.1%}",
            row.bar,
            ("met" if row.is_met else "missed") if row.bar else "",
        )
    return table


def main() -> None:
    """Print promotions by gain and looks; exits 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=500, help="simulated logs, each looked at once")
    parser.add_argument("--peeked", type=int, default=100, help="logs of these that are looked at again and again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    started = time.perf_counter()
    talk = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=talk) as progress:
        rows = simulate(options.logs, min(options.peeked, options.logs), seed=options.seed, progress=progress)
    seconds = round(time.perf_counter() - started, 1)
    if options.json:
        told = [{**asdict(row), "decisions": None if math.isnan(row.decisions) else row.decisions} for row in rows]
        print(json.dumps({"seed": options.seed, "seconds": seconds, "rows": told}, indent=1))
    else:
        Console(width=130).print(_table(rows))
        talk.print(f"{options.logs} logs of {N} decisions, seed {options.seed}, {seconds:.0f} s")
    if not all(row.is_met for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
