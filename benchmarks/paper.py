"""The protocol of Li et al. (2026, arXiv 2604.14853) on any log of many samples of one prompt, as the paper has it and honestly.

`python -m benchmarks.paper --dataset esc_last_letters|jhu_mcqa|crucible --data ROOT`: rungs b ∈ {1, 2, 4, 8, 16}, accuracy of the
majority of b (exact, over all subsets; ties to the answer given first), cost in completion tokens, a gradient-boosted classifier
of five classes on features that cost no call, and three baselines: uniform (two neighbouring rungs, mixed at random), random
(each task draws a rung of a ladder-wide mixture) and prompt length (longer prompts take the higher rungs of that same mixture).

- The paper's table: 80/20 splits, one per seed; the oracle knows the very samples it is scored on; improvement is over uniform at
  the method's realised spend. Regret stands beside its bound, imitation error × the widest Lagrangian gap of a task, and spend
  beside Theorem 3's, budget + imitation error × the widest span of one task's costs, which takes for granted that the oracle
  itself meets the budget on the tasks tested. `dominant` is the imitation accuracy of always naming the commonest
  label.
- The honest table: every task is tested once per seed, by cross-validation with groups whole; the oracle is solved on one half of
  the samples and scored on the other; gains are over the best static mix at the realised spend, by bootstrap over groups. Our
  `value` policy and votes that stop early stand beside the classifier.

The paper's entropy of one cheap call is left out: a log of answers holds no such call, so it could not be charged.

Any folder of `tasks.csv.gz` (task_id, task_text) and `outcomes.csv.gz` (task_id, action, sample, answer, correct,
completion_tokens; 16 samples or more a task) as `benchmarks.recorded` describes it is read the same way: for MATH or GSM8K by any
model, record each task's samples under one action into ROOT/NAME in that form, and say `--dataset NAME`; `NAME:ACTION` takes one
action of several. A column `category` of "level-1" to "level-5" is a feature, as in the paper. `crucible` is read from a
downloaded source archive: see `benchmarks.crucible`.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import quality
from benchmarks.ladder import RUNGS, features, halves, read, votes
from benchmarks.recorded import Recorded
from budget_router import EarlyStop
from budget_router.allocation import FloatArray, IntArray, frontier, oracle_actions, solve
from budget_router.evaluation import Estimate, ImitationRegret, imitation_regret, mixes_at_spend
from budget_router.outcomes import early_stop_value

EARLY_STOPS = (0.8, 0.9, 0.95)
"""Certainty of the leader at which a vote of at most the highest rung stops."""
BUDGET_RUNGS = (2, 4, 8)
"""Budgets are the mean costs of these rungs."""
TEST_SHARE = 0.2
N_DRAWS = 300
N_STAGES = 60
"""Of the paper's classifier."""

Chooser = Callable[[Recorded, Recorded, Sequence[float], int], list[FloatArray]]
"""Takes training tasks, test tasks, budgets and a seed; gives for each budget each rung's probability on each test task."""


def imitation(actions: IntArray, oracle: IntArray, tasks: Recorded, lam: float, budget: float) -> ImitationRegret:
    """Compare actions with the oracle's; the spend bound holds where `oracle_spend` ≤ `budget`."""
    return imitation_regret(actions, tasks.accuracy, tasks.cost, lam=lam, budget=budget, oracle=oracle)


def classify(train: Recorded, test: Recorded, budget: float, seed: int) -> FloatArray:
    """The paper's policy: the oracle's action at the training tasks' price, learned as a class."""
    from sklearn.ensemble import GradientBoostingClassifier  # its histogram twin is slower on so few tasks

    labels = solve(train.accuracy, train.cost, max(budget, _least(train))).actions
    classes = np.unique(labels)
    actions: IntArray = np.full(len(test.texts), classes[0])
    if len(classes) > 1:
        model = GradientBoostingClassifier(n_estimators=N_STAGES, min_samples_leaf=5, random_state=seed)
        actions = model.fit(features(train), labels).predict(features(test))
    return _one_hot(actions)


def uniform(train: Recorded, test: Recorded, budget: float) -> FloatArray:
    """One mixture of two neighbouring rungs for all tasks."""
    place = float(np.interp(budget, train.cost.mean(axis=0), np.arange(len(RUNGS))))
    low = min(int(place), len(RUNGS) - 2)
    mixture = np.zeros(len(RUNGS))
    mixture[low], mixture[low + 1] = low + 1 - place, place - low
    return np.tile(mixture, (len(test.texts), 1))


def random_rungs(train: Recorded, test: Recorded, budget: float) -> FloatArray:
    """One mixture of all rungs for all tasks."""
    return np.tile(_mixture(train, budget), (len(test.texts), 1))


def by_length(train: Recorded, test: Recorded, budget: float) -> FloatArray:
    """The longest prompts take the highest rung, and so down, in the shares of the mixture."""
    edges = np.quantile([len(text) for text in train.texts], np.cumsum(_mixture(train, budget))[:-1].clip(0, 1))
    return _one_hot(np.searchsorted(edges, [len(text) for text in test.texts]))


def _mixture(train: Recorded, budget: float) -> FloatArray:
    """The mixture of all rungs with the most entropy whose mean cost is the budget: shares ∝ exp(-θ cost)."""
    cost = train.cost.mean(axis=0)
    scaled = (cost - cost[0]) / (cost[-1] - cost[0])
    low, high = -700.0, 700.0  # exp of more overflows
    shares = np.full(len(RUNGS), 1 / len(RUNGS))
    for _ in range(60):
        theta = (low + high) / 2
        shares = np.exp(-theta * scaled - max(-theta, 0.0))
        shares /= shares.sum()
        low, high = (theta, high) if shares @ cost > budget else (low, theta)
    return shares


def _one_hot(actions: IntArray) -> FloatArray:
    return np.asarray(np.eye(len(RUNGS))[actions])


def choosers(recorded: Recorded) -> dict[str, Chooser]:
    """The policies that a set can be given to; one without texts has no lengths and no words."""
    known: dict[str, Chooser] = {
        "uniform": lambda train, test, budgets, _: [uniform(train, test, budget) for budget in budgets],
        "random": lambda train, test, budgets, _: [random_rungs(train, test, budget) for budget in budgets],
        "classifier": lambda train, test, budgets, seed: [classify(train, test, budget, seed) for budget in budgets],
    }
    if len(set(recorded.texts)) > 1:
        known["prompt length"] = lambda train, test, budgets, _: [by_length(train, test, budget) for budget in budgets]
        known["value"] = _value
    return known


def _value(train: Recorded, test: Recorded, budgets: Sequence[float], seed: int) -> list[FloatArray]:
    """Our own policy, which is fitted once for all budgets."""
    chosen = quality.learned("value", train, test, budgets, feedback="full", seed=seed)
    return [chosen[budget] for budget in budgets]


def gain(accuracy: FloatArray, spend: FloatArray, tasks: Recorded, *, rng: np.random.Generator) -> Estimate:
    """Mean accuracy above the best static mix at the mean spend, with a paired bootstrap over groups.

    Args:
        accuracy: (n,) of what was done with each task.
        spend: (n,) its cost.
        tasks: gives the mix, which is drawn again on each resample, and the groups.
        rng: of the resamples.
    """
    groups, member = np.unique(np.array(tasks.groups), return_inverse=True)
    rows_of = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])

    drawn = [
        np.arange(len(accuracy)),
        *(np.concatenate([rows_of[one] for one in rng.integers(0, len(groups), len(groups))]) for _ in range(N_DRAWS)),
    ]
    reached, spent = (np.array([each[rows].mean() for rows in drawn]) for each in (accuracy, spend))
    accuracies, costs = (np.array([each[rows].mean(axis=0) for rows in drawn]) for each in (tasks.accuracy, tasks.cost))
    found = reached - mixes_at_spend(accuracies, costs, spent)
    low, high = np.percentile(found[1:], [2.5, 97.5])
    return Estimate(float(found[0]), float(low), float(high))


@dataclass(frozen=True)
class PaperRow:
    """A method at a budget, mean over seeds."""

    dataset: str
    method: str
    budget: float
    n_test: int
    accuracy: float
    accuracy_spread: float
    """Standard deviation over seeds."""
    spend: float
    uniform_at_spend: float
    relative_improvement: float
    imitation_accuracy: float | None = None
    dominant: float | None = None
    regret: float | None = None
    regret_bound: float | None = None
    spend_bound: float | None = None
    oracle_spend: float | None = None
    protocol: str = field(default="paper", init=False)


@dataclass(frozen=True)
class HonestRow:
    """A method at a budget, every task tested; a vote that stops early has no budget."""

    dataset: str
    method: str
    budget: float | None
    n_test: int
    accuracy: float
    spend: float
    mix_at_spend: float
    relative_improvement: float
    gain: float
    gain_low: float
    gain_high: float
    protocol: str = field(default="honest", init=False)


def as_the_paper(recorded: Recorded, *, n_seeds: int) -> list[PaperRow]:
    """The paper's table: one 80/20 split per seed."""
    budgets = _budgets(recorded)
    known = {name: choose for name, choose in choosers(recorded).items() if name != "value"}
    reached: dict[tuple[float, str], list[tuple[float, float, float]]] = defaultdict(list)
    compared: dict[float, list[tuple[ImitationRegret, float]]] = defaultdict(list)
    for seed in range(n_seeds):
        train, test = _split(recorded, seed)
        chosen = {name: choose(train, test, budgets, seed) for name, choose in known.items()}
        for place, budget in enumerate(budgets):
            for name, by_budget in chosen.items():
                accuracy, spend = (by_budget[place] * test.accuracy).sum(axis=1), (by_budget[place] * test.cost).sum(axis=1)
                reached[budget, name].append(_beside_uniform(float(accuracy.mean()), float(spend.mean()), test))
            best = frontier(test.accuracy, test.cost).at(max(budget, _least(test)))
            reached[budget, "oracle"].append(_beside_uniform(best.accuracy, best.spend, test))
            allocation = solve(train.accuracy, train.cost, max(budget, _least(train)))
            oracle = oracle_actions(test.accuracy, test.cost, allocation.lam)
            dominant = float((oracle == np.bincount(allocation.actions).argmax()).mean())
            actions = chosen["classifier"][place].argmax(axis=1)
            compared[budget].append((imitation(actions, oracle, test, allocation.lam, budget), dominant))
    rows = []
    for (budget, name), seeds in sorted(reached.items(), key=lambda one: one[0][0]):
        accuracy, spend, at_spend = np.mean(seeds, axis=0).tolist()
        rows.append(
            PaperRow(
                dataset=recorded.name,
                method=name,
                budget=budget,
                n_test=len(test.texts),
                accuracy=accuracy,
                accuracy_spread=float(np.std([one for one, *_ in seeds])),
                spend=spend,
                uniform_at_spend=at_spend,
                relative_improvement=accuracy / at_spend - 1,
                **(_mean(compared[budget]) if name == "classifier" else {}),
            )
        )
    return rows


def _split(recorded: Recorded, seed: int) -> tuple[Recorded, Recorded]:
    """Groups whole, a fifth of them tested."""
    groups, member = np.unique(np.array(recorded.groups), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(groups))
    is_test = np.isin(member, order[: max(round(TEST_SHARE * len(groups)), 1)])
    return recorded.rows(np.flatnonzero(~is_test)), recorded.rows(np.flatnonzero(is_test))


def _budgets(recorded: Recorded) -> list[float]:
    return [float(recorded.cost[:, RUNGS.index(rung)].mean()) for rung in BUDGET_RUNGS]


def _least(tasks: Recorded) -> float:
    return float(tasks.cost.min(axis=1).mean())


def _beside_uniform(accuracy: float, spend: float, test: Recorded) -> tuple[float, float, float]:
    return accuracy, spend, float(np.interp(spend, test.cost.mean(axis=0), test.accuracy.mean(axis=0)))


def _mean(compared: Sequence[tuple[ImitationRegret, float]]) -> dict[str, float]:
    names = ("imitation_accuracy", "regret", "regret_bound", "spend_bound", "oracle_spend", "dominant")
    means = np.mean(
        [
            (one.imitation_accuracy, one.regret, one.regret_bound, one.spend_bound, one.oracle_spend, dominant)
            for one, dominant in compared
        ],
        axis=0,
    )
    return dict(zip(names, means.tolist(), strict=True))


def honestly(recorded: Recorded, *, n_seeds: int) -> list[HonestRow]:
    """The honest table: cross-validated, the oracle split, intervals over groups."""
    budgets = _budgets(recorded)
    chosen: dict[str, FloatArray] = {}
    for name, choose in choosers(recorded).items():
        chosen[name] = np.zeros((len(budgets), *recorded.cost.shape))
        for seed in range(n_seeds):
            for outside, inside in quality.folds(recorded, seed=seed):
                by_budget = choose(recorded.rows(outside), recorded.rows(inside), budgets, seed)
                chosen[name][:, inside] += np.array(by_budget) / n_seeds
    split = halves(recorded, np.random.default_rng(0))
    rows = []
    for place, budget in enumerate(budgets):
        for name, by_place in chosen.items():
            accuracy, spend = (by_place[place] * recorded.accuracy).sum(axis=1), (by_place[place] * recorded.cost).sum(axis=1)
            rows.append(_honest_row(recorded, name, budget, accuracy, spend))
        rows.append(_honest_row(recorded, "split oracle", budget, *_split_oracle(split, budget)))
    return [*rows, *(_honest_row(recorded, f"stop at {certain}", None, *_stopped(recorded, certain)) for certain in EARLY_STOPS)]


def _stopped(recorded: Recorded, threshold: float) -> tuple[FloatArray, FloatArray]:
    """Accuracy and spend per task of votes that stop when they are certain; a sample costs what the task's mean one does."""
    values = [early_stop_value(*votes(held), EarlyStop(threshold=threshold), RUNGS[-1]) for held in recorded.samples.values()]
    accuracy, n_samples = np.array(values).T
    return accuracy, n_samples * recorded.cost[:, 0]


def _split_oracle(split: Sequence[tuple[FloatArray, FloatArray]], budget: float) -> tuple[FloatArray, FloatArray]:
    """Accuracy and spend per task, solved on either half and scored on the other."""
    scored = []
    for (solved, solved_cost), (other, other_cost) in (split, split[::-1]):
        actions = solve(solved, solved_cost, max(budget, float(solved_cost.min(axis=1).mean()))).actions
        rows = np.arange(len(actions))
        scored.append((other[rows, actions], other_cost[rows, actions]))
    accuracy, spend = np.mean(scored, axis=0)
    return accuracy, spend


def _honest_row(recorded: Recorded, method: str, budget: float | None, accuracy: FloatArray, spend: FloatArray) -> HonestRow:
    estimate = gain(accuracy, spend, recorded, rng=np.random.default_rng(0))
    reached = float(accuracy.mean())
    mix = reached - estimate.value
    return HonestRow(
        dataset=recorded.name,
        method=method,
        budget=budget,
        n_test=len(accuracy),
        accuracy=reached,
        spend=float(spend.mean()),
        mix_at_spend=mix,
        relative_improvement=reached / mix - 1,
        gain=estimate.value,
        gain_low=estimate.low,
        gain_high=estimate.high,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--dataset", required=True, help="esc_last_letters, jhu_mcqa, crucible, or any folder: NAME or NAME:ACTION"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the set")
    parser.add_argument("--seeds", type=int, default=3, help="splits")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    recorded = read(options.dataset, options.data)
    paper, honest = as_the_paper(recorded, n_seeds=options.seeds), honestly(recorded, n_seeds=options.seeds)
    if options.json:
        print(json.dumps([*map(asdict, paper), *map(asdict, honest)], indent=1))
        return
    console = Console(width=118)
    console.print(_paper_table(paper, options.seeds))
    console.print()
    console.print(_honest_table(honest, options.seeds))


def _paper_table(rows: Sequence[PaperRow], n_seeds: int) -> Table:
    title = f"{rows[0].dataset}, as the paper: {n_seeds} splits, {rows[0].n_test} test tasks each, oracle in sample"
    table = _table(
        title, "method", "budget", "spend", "≤ bound", "accuracy", "vs uniform", "imitation", "dominant", "regret ≤ bound"
    )
    for row in rows:
        shown = ["", "", "", ""]
        if row.regret is not None:
            shown = [
                f"{row.spend_bound:.0f}",
                f"{row.imitation_accuracy:.3f}",
                f"{row.dominant:.3f}",
                f"{row.regret:.4f} ≤ {row.regret_bound:.3f}",
            ]
        reached = f"{row.accuracy:.4f} ±{row.accuracy_spread:.3f}"
        improvement = f"{row.relative_improvement:+.1%}"
        table.add_row(row.method, f"{row.budget:.0f}", f"{row.spend:.0f}", shown[0], reached, improvement, *shown[1:])
    return table


def _honest_table(rows: Sequence[HonestRow], n_seeds: int) -> Table:
    title = f"{rows[0].dataset}, honestly: {rows[0].n_test} tasks, cross-validated {n_seeds} times, beside the best static mix"
    table = _table(title, "method", "budget", "spend", "accuracy", "mix at spend", "gain", "95 % interval", "relative")
    for row in rows:
        table.add_row(
            row.method,
            "" if row.budget is None else f"{row.budget:.0f}",
            f"{row.spend:.0f}",
            f"{row.accuracy:.4f}",
            f"{row.mix_at_spend:.4f}",
            f"{row.gain:+.4f}",
            f"[{row.gain_low:+.3f}, {row.gain_high:+.3f}]",
            f"{row.relative_improvement:+.1%}",
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, min_width=len(title), box=None, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    return table


if __name__ == "__main__":
    main()
