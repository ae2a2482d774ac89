"""What speaks for a candidate: what it would choose on decisions that did not train it, beside the policy that serves.

There are two ways to hold decisions out. Cross-fitted, each task is judged by a policy that was fitted on the others, at a price
that was solved on the others: all of the log trains what will serve, and all of it judges. Or the latest decisions are kept back
altogether: fewer train, but the figures tell how the policy fares when time has gone on, as it will.
"""

import logging
import math
from typing import NamedTuple

import numpy as np

from budget_router.allocation import FloatArray
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
from budget_router.policies.learned import N_FOLDS, LearnedPolicy
from budget_router.policies.pricing import PriceCurve

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
        fold = rng.permutation(np.arange(cluster.max() + 1) % N_FOLDS)[cluster]
        chosen, trained = np.empty(held_out.cost.shape), policy.featuriser_.range_
        for one, curve in enumerate(PriceCurve.without_each(held_out, fold, N_FOLDS, billed=pooled.cost)):
            inside = np.flatnonzero(fold == one)
            chosen[inside] = curve.choose(part_of(held_out, inside), budget, floor=0.0).probabilities
        out_of_range = UNKNOWN if trained is None else trained.held_out_
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
        graded = np.flatnonzero(~np.isnan(table.graded).all(axis=1))
        looked_at = graded[:: max(1, math.ceil(len(graded) / MOST_LOOKED_AT))]
        return cls(table, prediction, chosen, policy.out_of_range(table, looked_at), "later")


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
    if not first or not is_new.any():
        raise NotEnoughEvidence(
            f"of {n_rows} settled decisions {n_rows - first} were to judge, {int(is_new.sum())} of them about new "
            "tasks: widen the window, or judge cross-fitted"
        )
    return table.rows(np.arange(first)), table.rows(first + np.flatnonzero(is_new))


def judged(trial: Trial, budget: Budget, *, incumbent: LearnedPolicy | None) -> Judgement:
    """Estimate what a candidate's trial comes to, and its gain over the policy that serves.

    An incumbent has often been trained on some of the judged decisions, which flatters it: the gain is told too low, if anything.

    Args:
        trial: of the candidate.
        budget: that both are priced for.
        incumbent: the policy that serves; `None`: the best static mix stands for it.
    """
    table, prediction = trial.table, trial.prediction
    mix = static_mix(prediction, trial.chosen)
    before = mix
    if incumbent is not None:
        before = incumbent.choose(incumbent.predict_table(table), budget.per_task).probabilities
    return Judgement.of(
        Revealed.scores(table),
        Revealed.spends(table),
        Rivals(trial.chosen, before, mix),
        predicted_accuracy=prediction.score if prediction.accuracy is None else prediction.accuracy,
        predicted_cost=prediction.cost,
        budget=budget.per_task,
        unit=budget.unit,
        held_out=trial.held_out,
        incumbent=None if incumbent is None else incumbent.version,
        groups=table.groups,
        out_of_range=trial.out_of_range,
    )


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
