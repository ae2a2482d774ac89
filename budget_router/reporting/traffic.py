"""Pictures of what was served: spend over time, calibration, allocation, spenders; nothing here is estimated off-policy."""

from math import nan

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.evaluation import Estimate
from budget_router.evaluation.bounds import clustered_error
from budget_router.evaluation.estimate import Z_95
from budget_router.menu import Menu
from budget_router.placing import Judged
from budget_router.reporting.served import Served
from budget_router.reports import AllocationResult, CalibrationResult, Point, Spender, SpendingResult, StreamResult
from budget_router.reports.calibration import wilson_interval

N_BINS = 10
"""Bins of the calibration."""
MIN_BIN = 20
"""Decisions that a bin holds at least, where there are so many."""
HARDNESS = ("hardest fifth", "harder fifth", "middle fifth", "easier fifth", "easiest fifth")
"""Names of kinds of tasks, by how seldom the cheapest strategy is predicted to be right."""
MIN_OWN = 100
"""Decisions of a policy from which on its own are shown, and not those of all."""
_STRETCHES = 200
"""Parts of a stream, each of which is of the phase that most of its decisions are of."""


def graded(served: Served) -> Estimate:
    """Mean score of what was graded, with a normal interval that lets decisions on one task be alike."""
    return _mean(served.numbers("score"), served.tasks)


def _mean(score: FloatArray, tasks: IntArray) -> Estimate:
    """Mean of the known scores, of [0, 1]; without an interval where they are of one task."""
    known = ~np.isnan(score)
    if not known.any():
        return Estimate(nan, nan, nan)
    mean, cluster = float(score[known].mean()), np.unique(tasks[known], return_inverse=True)[1]
    if not cluster.max():
        return Estimate(mean, nan, nan)
    error = clustered_error(score[known], cluster)
    if error == 0:  # all alike, as by chance they may be
        return Estimate(mean, *wilson_interval(mean, int(cluster.max()) + 1))
    return Estimate(mean, max(mean - Z_95 * error, 0.0), min(mean + Z_95 * error, 1.0))


def as_served(served: Served) -> Point | None:
    """Where the whole log stands: its mean spend, and the accuracy of what was graded."""
    spend = served.numbers("spend")
    known = spend[~np.isnan(spend)]
    return Point("as served", float(known.mean()), graded(served)) if len(known) else None


def stream(served: Served, *, unit: str) -> StreamResult | None:
    """Spend and shadow price over time, by the policy that decided; `None` where no spend or no budget is known."""
    spend, budget = served.numbers("spend"), served.numbers("budget")
    known = np.flatnonzero(~np.isnan(spend) & ~np.isnan(budget))
    if not len(known):
        return None
    version = served.codes("version")[known]
    names = [policy_name(name) for name in served.names("version")]
    phase = np.empty(len(known), dtype=object)
    for part in np.array_split(np.arange(len(known)), min(_STRETCHES, len(known))):
        phase[part] = names[int(np.bincount(version[part]).argmax())]
    return StreamResult(
        unit=unit,
        budget=float(budget[known].mean()),
        phase=phase.tolist(),
        spend=spend[known],
        shadow_price=served.numbers("shadow_price")[known],
        decided_at=served.decided_at[known],
    )


def policy_name(version: str | None) -> str:
    """What a policy's decisions are called."""
    return "cold start" if version == "cold-start" else f"policy {version}"


def calibration(served: Served, *, unit: str) -> CalibrationResult:
    """What decisions promised against what came, in bins of equal count."""
    cost = _bins(served.numbers("expected_cost"), served.numbers("spend"))
    return CalibrationResult(unit, _bins(served.numbers("expected_accuracy"), served.numbers("score")), cost)


def _bins(predicted: FloatArray, observed: FloatArray) -> tuple[tuple[float, float, int], ...]:
    known = np.flatnonzero(~np.isnan(predicted) & ~np.isnan(observed))
    if not len(known):
        return ()
    order = known[np.argsort(predicted[known], kind="stable")]
    parts = np.array_split(order, max(min(N_BINS, len(order) // MIN_BIN), 1))
    return tuple((float(predicted[part].mean()), float(observed[part].mean()), len(part)) for part in parts)


def by_hardness(judged: Judged, served: Served, menu: Menu, version: str | None) -> tuple[AllocationResult, str] | None:
    """What tasks got by how often the cheapest strategy is predicted to be right on them, and a note that says so.

    Of the decisions of a policy where there are enough of them, else of all; `None` where there are too few of any.
    """
    prediction, names = judged.prediction, menu.names
    cheapest = int(prediction.cost.mean(axis=0).argmin())
    easy = dict(zip(judged.by_task.task_ids, np.asarray(prediction.accuracy)[:, cheapest].tolist(), strict=True))
    served_here = [act for act in served.judged if act.evidence.task_id in easy and act.evidence.strategy.name in names]
    own = [act for act in served_here if act.policy_version == version]
    shown, whose = (own, f"policy {version}'s") if len(own) >= MIN_OWN else (served_here, "all")
    if len(shown) < len(HARDNESS):
        return None
    predicted = np.array([easy[act.evidence.task_id] for act in shown])
    action = np.array([names.index(act.evidence.strategy.name) for act in shown])
    parts = np.array_split(np.argsort(predicted, kind="stable"), len(HARDNESS))
    counts = np.array([np.bincount(action[part], minlength=len(menu)) for part in parts], dtype=float)
    share = counts / counts.sum(axis=1, keepdims=True)
    ends = [100 * float(predicted[part].mean()) for part in (parts[0], parts[-1])]
    note = (
        f"Hard is where {names[cheapest]}, the cheapest, is predicted to be seldom right: {ends[0]:.0f} % in the hardest fifth, "
        f"{ends[1]:.0f} % in the easiest. Of {whose} decisions, {len(shown):,}."
    )
    sizes = tuple(len(part) for part in parts)
    return AllocationResult(HARDNESS, sizes, names, tuple(map(tuple, share.tolist())), is_ordered=True), note


def by_group(served: Served) -> AllocationResult | None:
    """Which strategies each group got; `None` where there is one group alone."""
    groups = served.names("group")
    if len(groups) < 2:
        return None
    strategies = served.names("strategy")
    counts = np.zeros((len(groups), len(strategies)))
    np.add.at(counts, (served.codes("group"), served.codes("strategy")), 1)
    spend = served.numbers("spend")
    mean = [np.nan_to_num(spend[served.codes("strategy") == place]).mean() for place in range(len(strategies))]
    order = np.argsort(mean, kind="stable")
    share = counts[:, order] / counts.sum(axis=1, keepdims=True)
    return AllocationResult(
        kinds=tuple("no group" if name is None else name for name in groups),
        n_tasks=tuple(int(n) for n in counts.sum(axis=1)),
        strategies=tuple(str(strategies[place]) for place in order),
        share=tuple(map(tuple, share.tolist())),
    )


def spending(served: Served, *, unit: str) -> SpendingResult | None:
    """Spend in all by group and strategy, or by strategy where there is one group alone; `None` where no spend is known."""
    spend = served.numbers("spend")
    if np.isnan(spend).all():
        return None
    groups, strategies = served.names("group"), served.names("strategy")
    has_groups = len(groups) > 1
    key = served.codes("group") * len(strategies) + served.codes("strategy")
    score, tasks = served.numbers("score"), served.tasks
    order = np.argsort(key, kind="stable")
    found, starts = np.unique(key[order], return_index=True)
    rows = []
    for one, members in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        group, strategy = groups[one // len(strategies)], strategies[one % len(strategies)]
        name = f"{'no group' if group is None else group} · {strategy}" if has_groups else str(strategy)
        rows.append(Spender(name, len(members), float(np.nansum(spend[members])), _mean(score[members], tasks[members])))
    by = "group and strategy" if has_groups else "strategy"
    return SpendingResult(by, unit, tuple(sorted(rows, key=lambda row: -row.spend)))


def budget_share(served: Served) -> float:
    """Spend over budget, of the decisions that both are known of; NaN where there are none."""
    spend, budget = served.numbers("spend"), served.numbers("budget")
    known = ~np.isnan(spend) & ~np.isnan(budget)
    total = float(budget[known].sum())
    return float(spend[known].sum()) / total if total > 0 else nan
