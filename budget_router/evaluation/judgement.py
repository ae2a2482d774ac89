"""What speaks for a candidate policy: estimates of all that a gate asks, on tasks that did not train it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from budget_router.allocation import FloatArray
from budget_router.errors import InvalidInput
from budget_router.evaluation.off_policy import OffPolicyEstimate
from budget_router.evaluation.revealed import Revealed
from budget_router.evaluation.rivals import Rivals, Weighings
from budget_router.features.ranges import WITHIN, OutOfRange

HeldOut = Literal["later", "cross-fitted", "seen"]
"""How the judged tasks were kept from the candidate: decided later than all that trained it and its price; each by a policy whose
training left its task out; or not at all."""

STATIC_MIX = "the best static mix"
"""The incumbent's name where no policy serves yet."""


@dataclass(frozen=True)
class Judgement:
    """Estimates for a candidate at a budget, doubly robust, each with the interval that `dr` gives."""

    accuracy: OffPolicyEstimate
    """Of the candidate."""
    gain: OffPolicyEstimate
    """In accuracy over the incumbent, paired on the same terms."""
    gain_over_mix: OffPolicyEstimate
    """In accuracy over the best static mix at the same expected spend, paired on the same terms."""
    spend: OffPolicyEstimate
    """Of the candidate per task, in the budget's unit: of all settled decisions, graded or not."""
    budget: float
    """Mean spend per task that was asked for."""
    unit: str
    """Of spend and budget."""
    held_out: HeldOut
    incumbent: str = STATIC_MIX
    """Version of the active policy."""
    groups: Mapping[str, OffPolicyEstimate] = field(default_factory=dict)
    """The gain on each group's tasks; empty where tasks have no groups."""
    out_of_range: OutOfRange = WITHIN
    """How many of the judged tasks lie outside the range that trained the candidate, and in what."""

    @classmethod
    def of(
        cls,
        scores: Revealed,
        spends: Revealed,
        rivals: Rivals,
        *,
        predicted_accuracy: FloatArray,
        predicted_cost: FloatArray,
        budget: float,
        unit: str,
        held_out: HeldOut,
        incumbent: str | None = None,
        groups: Sequence[str | None] | None = None,
        out_of_range: OutOfRange = WITHIN,
    ) -> "Judgement":
        """Estimate all that a gate asks.

        Args:
            scores: what was graded; its `rows` say which rows of the table.
            spends: what was settled; its `rows` likewise.
            rivals: what each policy chooses on every row of the table.
            predicted_accuracy: (n_rows, n_strategies), each row by a model that did not see its task.
            predicted_cost: (n_rows, n_strategies) in the budget's unit, likewise.
            budget: mean spend per task that was asked for.
            unit: of the budget.
            held_out: how the rows were kept from the candidate.
            incumbent: version of the active policy; none when not given.
            groups: (n_rows,) of each row's task.
            out_of_range: of the rows' tasks; all within when not given.

        Raises:
            InvalidInput: shapes differ, or `scores` and `spends` do not say from which rows they came.
        """
        _check(
            rivals.candidate.shape,
            {**rivals._asdict(), "predicted_accuracy": predicted_accuracy, "predicted_cost": predicted_cost},
            {"groups": groups},
            {"scores": scores, "spends": spends},
        )
        graded = scores.rows
        is_known = groups is not None and any(groups[row] is not None for row in graded)
        weighed = Weighings.of(
            scores,
            spends,
            rivals,
            predicted_accuracy=predicted_accuracy,
            predicted_cost=predicted_cost,
            groups=groups if is_known else None,
        )
        return cls.weighed(
            weighed,
            budget=budget,
            unit=unit,
            held_out=held_out,
            incumbent=incumbent,
            out_of_range=out_of_range,
        )

    @classmethod
    def weighed(
        cls,
        weighed: Weighings,
        *,
        budget: float,
        unit: str,
        held_out: HeldOut,
        incumbent: str | None = None,
        out_of_range: OutOfRange = WITHIN,
    ) -> "Judgement":
        """Estimate all that a gate asks from sums: see `of`."""
        gain = weighed.gain.estimate()
        return cls(
            accuracy=weighed.accuracy.estimate(),
            gain=gain,
            gain_over_mix=gain if weighed.gain_over_mix is weighed.gain else weighed.gain_over_mix.estimate(),
            spend=weighed.spend.estimate(),
            budget=budget,
            unit=unit,
            held_out=held_out,
            incumbent=STATIC_MIX if incumbent is None else incumbent,
            groups={name: one.estimate() for name, one in weighed.largest_first()},
            out_of_range=out_of_range,
        )

    @property
    def n_judged(self) -> int:
        """Graded decisions that the gain rests on."""
        return self.gain.n

    def facts(self) -> dict[str, object]:
        """The judgement for JSON: no NaN in it, each estimate with its interval, `null` where nothing is concluded."""
        return {
            "accuracy": _told(self.accuracy),
            "gain": _told(self.gain),
            "gain_over_mix": _told(self.gain_over_mix),
            "spend": _told(self.spend),
            "groups": {name: _told(gain) for name, gain in self.groups.items()},
            "budget": self.budget,
            "unit": self.unit,
            "incumbent": self.incumbent,
            "held_out": self.held_out,
            "out_of_range": self.out_of_range.share if math.isfinite(self.out_of_range.share) else None,
            "out_of_range_by_chance": self.out_of_range.chance,
            "out_of_range_by": dict(self.out_of_range.by),
            "n_judged": self.n_judged,
        }


def _check(
    shape: tuple[int, ...],
    arrays: Mapping[str, FloatArray],
    columns: Mapping[str, Sequence[str | None] | None],
    logs: Mapping[str, Revealed],
) -> None:
    for name, array in arrays.items():
        if array.shape != shape:
            raise InvalidInput(f"{name} has shape {array.shape}, the candidate's choices {shape}: one row per row of the table")
    for name, column in columns.items():
        if column is not None and len(column) != shape[0]:
            raise InvalidInput(f"{name} has {len(column)} rows, the candidate's choices {shape[0]}: one per row of the table")
    for name, log in logs.items():
        if len(log.rows) != len(log.task_ids):
            raise InvalidInput(f"{name} came from no table: give Revealed its rows")


def _told(estimate: OffPolicyEstimate) -> dict[str, object]:
    low, high = (number if math.isfinite(number) else None for number in (estimate.low, estimate.high))
    return {
        "value": estimate.value if math.isfinite(estimate.value) else None,
        "low": low,
        "high": high,
        "standard_error": estimate.standard_error if math.isfinite(estimate.standard_error) else None,
        "effective_sample_size": estimate.effective_sample_size,
        "n": estimate.n,
        "n_tasks": estimate.n_tasks,
        "reason": estimate.reason,
    }
