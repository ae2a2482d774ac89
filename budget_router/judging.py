"""What speaks for a candidate: what it would choose on decisions that did not train it, beside the policy that serves.

There are two ways to hold decisions out. Cross-fitted, each task is judged by a policy that was fitted on the others, at a price
that was solved on the others: all of the log trains what will serve, and all of it judges. Or the latest decisions are kept back
altogether: fewer train, but the figures tell how the policy fares when time has gone on, as it will.
"""

import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray, IntArray
from budget_router.budget import Budget, Unit
from budget_router.errors import ArtifactError, NotEnoughEvidence
from budget_router.evaluation import Judgement, Revealed, Rivals, static_mix
from budget_router.evaluation.judgement import HeldOut
from budget_router.features.ranges import UNKNOWN, OutOfRange
from budget_router.ledger import Registry
from budget_router.menu import Menu
from budget_router.outcomes import OutcomeTable
from budget_router.policies.artifact import policy_from
from budget_router.policies.contract import Prediction, part_of
from budget_router.policies.learned import N_FOLDS, LearnedPolicy, folds_of
from budget_router.policies.pricing import Folds, PriceCurve

MOST_LOOKED_AT = 20_000
"""Graded decisions that are looked at for what is out of range, evenly over time: a share of 5 % is known to 0.15 points."""
_log = logging.getLogger("budget_router")


class Trial(NamedTuple):
    """What a candidate would choose on decisions that did not train it."""

    table: OutcomeTable
    """The judged decisions, one row each."""
    prediction: Prediction
    """For the task of each row."""
    chosen: FloatArray
    """(n_rows, n_strategies) probabilities of the candidate."""
    out_of_range: OutOfRange
    """How many of the judged tasks lie outside the range that trained the candidate."""
    held_out: HeldOut

    @classmethod
    def cross_fitted(cls, policy: LearnedPolicy, table: OutcomeTable, budget: float, *, rng: np.random.Generator) -> "Trial":
        """Judge on what trained the policy, each task by a twin and a price that were fitted on the others.

        Those that trained are what is judged, so as many are out of range as chance puts there, each told beside the others.

        Args:
            policy: fitted on the table.
            table: one row per decision.
            budget: mean cost per task to be met.
            rng: of the folds in which prices are solved.
        """
        pooled, held_out, row = policy.table_, policy.held_out_, table.pool
        cluster = pooled.cluster
        fold = folds_of(cluster, rng)
        curves = PriceCurve.without_each(held_out, fold, N_FOLDS, billed=pooled.cost)
        out_of_range = trained_range(policy)
        return cls.priced(table, row, held_out, fold=fold, curves=curves, budget=budget, out_of_range=out_of_range)

    @classmethod
    def priced(
        cls,
        table: OutcomeTable,
        row: IntArray,
        held_out: Prediction,
        *,
        fold: Folds,
        curves: Sequence[PriceCurve],
        budget: float,
        out_of_range: OutOfRange,
    ) -> "Trial":
        """Judge each task by the curve of its fold, which was told by the others.

        Args:
            table: one row per decision.
            row: (n_rows,) of each decision's task among the tasks.
            held_out: predictions of these.
            fold: (n_tasks,) of each.
            curves: one for each fold.
            budget: mean cost per task to be met.
            out_of_range: of the judged tasks.
        """
        chosen = np.empty(held_out.cost.shape)
        for one, curve in enumerate(curves):
            inside = np.flatnonzero(fold == one)
            chosen[inside] = curve.choose(part_of(held_out, inside), budget, floor=0.0).probabilities
        return cls(table, part_of(held_out, row), chosen[row], out_of_range, "cross-fitted")

    @classmethod
    def later(cls, policy: LearnedPolicy, table: OutcomeTable, budget: float) -> "Trial":
        """Judge on decisions that came after all that trained the policy and its price.

        Args:
            policy: fitted on earlier decisions.
            table: one row per later decision.
            budget: mean cost per task to be met.
        """
        prediction = policy.predict_table(table)
        chosen = policy.choose(prediction, budget).probabilities
        return cls(table, prediction, chosen, policy.out_of_range(table, looked_at(graded_rows(table))), "later")


def graded_rows(table: OutcomeTable) -> IntArray:
    """Rows of a table that were graded."""
    return np.flatnonzero(~np.isnan(table.graded).all(axis=1))


def looked_at(graded: IntArray) -> IntArray:
    """Which graded decisions, given oldest first, are looked at for what is out of range."""
    return graded[:: max(1, math.ceil(len(graded) / MOST_LOOKED_AT))]


def trained_range(policy: LearnedPolicy) -> OutOfRange:
    """How many of the tasks that trained are out of the range of the others."""
    trained = policy.featuriser_.range_
    return UNKNOWN if trained is None else trained.held_out_


def parted(table: OutcomeTable, later_share: float) -> tuple[OutcomeTable, OutcomeTable]:
    """Part a table, oldest decision first, into what trains and what judges: later decisions on tasks and threads that are new.

    Args:
        table: one row per decision.
        later_share: of the decisions that may judge, in (0, 1).

    Raises:
        NotEnoughEvidence: nothing is left on one of the two sides.
    """
    n_rows, cluster = len(table.task_ids), table.cluster
    first = n_rows - math.ceil(later_share * n_rows)
    is_new = ~np.isin(cluster[first:], cluster[:first])
    check_parted(n_rows, first, int(is_new.sum()))
    return table.rows(np.arange(first)), table.rows(first + np.flatnonzero(is_new))


def check_parted(n_decisions: int, first: int, n_new: int) -> None:
    """Raise NotEnoughEvidence where nothing trains or nothing judges.

    Args:
        n_decisions: in all.
        first: of those that may judge.
        n_new: of these, about tasks that did not train.
    """
    if not first or not n_new:
        raise NotEnoughEvidence(
            f"of {n_decisions} settled decisions {n_decisions - first} were to judge, {n_new} of them about new tasks: widen the "
            "window, or judge cross-fitted"
        )


def judged(trial: Trial, budget: Budget, *, incumbent: LearnedPolicy | None) -> Judgement:
    """Estimate what a candidate's trial comes to, and its gain over the policy that serves.

    An incumbent has often been trained on some of the judged decisions, which flatters it: the gain is told too low, if anything.

    Args:
        trial: of the candidate.
        budget: that both are priced for.
        incumbent: the policy that serves; `None`: the best static mix stands for it.
    """
    table, prediction = trial.table, trial.prediction
    return Judgement.of(
        Revealed.scores(table),
        Revealed.spends(table),
        rivals(trial, static_mix(prediction, trial.chosen), budget, incumbent=incumbent),
        predicted_accuracy=prediction.expected,
        predicted_cost=prediction.cost,
        budget=budget.per_task,
        unit=budget.unit,
        held_out=trial.held_out,
        incumbent=None if incumbent is None else incumbent.version,
        groups=table.groups,
        out_of_range=trial.out_of_range,
    )


def rivals(trial: Trial, mix: FloatArray, budget: Budget, *, incumbent: LearnedPolicy | None) -> Rivals:
    """What the candidate is compared with.

    Args:
        trial: of the candidate.
        mix: (n_rows, n_strategies) the best static mix at its spend.
        budget: that both are priced for.
        incumbent: the policy that serves; `None`: the mix stands for it.
    """
    if incumbent is None:
        return Rivals(trial.chosen, mix, mix)
    prediction = incumbent.predict_table(trial.table)
    return Rivals(trial.chosen, incumbent.choose(prediction, budget.per_task).probabilities, mix)


def serving(registry: Registry, menu: Menu, *, unit: Unit) -> LearnedPolicy | None:
    """The policy that serves a menu; `None` where none was promoted, or where it must not serve, which is logged."""
    version = registry.active_version(menu.hash)
    if version is None:
        return None
    try:
        return policy_from(registry.load(version), menu, unit=unit)
    except ArtifactError as error:
        _log.warning("the candidate is compared with the best static mix, for the active policy cannot serve: %s", error)
        return None
