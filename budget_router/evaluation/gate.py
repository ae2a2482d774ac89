"""Whether a candidate may serve: conditions on what speaks for it, each named with what was found and what was asked."""

import math
from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from budget_router.evaluation.bounds import student_half_width
from budget_router.evaluation.confidence_sequence import sequence_half_width
from budget_router.evaluation.judgement import Judgement
from budget_router.evaluation.off_policy import OffPolicyEstimate
from budget_router.words import NonNegative, Positive, Probability, Word

MARGIN = 0.0
CONFIDENCE = 0.95
MAX_SPEND = 1.02
MAX_SPEND_BOUND = 1.10
MIN_EFFECTIVE_SAMPLE = 100.0
"""Decisions, by `(Σw)² / Σw²`: with fewer a score's standard error is 5 points at best."""
MAX_OUT_OF_RANGE = 0.05
_MOST_DIGITS = 9
_MOST_NAMED = 3
"""Ways to be out of range that a verdict names, the most frequent."""

ConditionName = Literal["gain", "spend", "spend_bound", "effective_sample", "range", "groups", "held_out"]


class Condition(Word):
    """One thing asked of a candidate."""

    name: ConditionName
    is_met: bool
    found: float | None
    """`None` where the log does not tell."""
    limit: float
    sentence: str
    """In plain words, with the figures; where the log does not tell, why."""

    def __str__(self) -> str:
        return self.sentence


class Verdict(Word):
    """What the gate says of a candidate."""

    conditions: tuple[Condition, ...]

    @property
    def is_passed(self) -> bool:
        """Whether every condition is met."""
        return not self.failed

    @property
    def failed(self) -> tuple[Condition, ...]:
        """The conditions that are not met."""
        return tuple(condition for condition in self.conditions if not condition.is_met)

    def facts(self) -> dict[str, object]:
        """The verdict for JSON, its summary included; no NaN in it. `model_dump_json` and `from_json` make the round trip."""
        return {"is_passed": self.is_passed, "summary": str(self), **self.model_dump(mode="json")}

    def __str__(self) -> str:
        told = " · ".join(condition.sentence for condition in self.failed or self.conditions)
        return f"{'promoted' if self.is_passed else 'kept'}: {told}"


class Gate(Word):
    """What is asked of a candidate before it may serve.

    Bounds are one-sided: with the defaults, a candidate that gains nothing passes in at most one log out of twenty. That holds
    for one look. Who looks at a candidate again and again as its log grows, and promotes it when it first passes, sets
    `looks="often"`: the bounds then hold at every look at once, and are wider. The risk is each candidate's own: of twenty that
    gain nothing, one may pass.

    >>> Gate(margin=0.01).margin
    0.01
    """

    margin: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)] = MARGIN
    """The gain's lower bound must not be below it; negative where a cheaper policy may be a little worse."""
    confidence: Annotated[float, Field(gt=0.5, lt=1, allow_inf_nan=False)] = CONFIDENCE
    """Of each bound, one-sided."""
    max_spend: Positive = MAX_SPEND
    """In budgets; of the estimate."""
    max_spend_bound: Positive = MAX_SPEND_BOUND
    """In budgets; of the estimate's upper bound."""
    min_effective_sample: NonNegative = MIN_EFFECTIVE_SAMPLE
    """Decisions that tell about the candidate's accuracy, counted as if they weighed alike."""
    max_out_of_range: Probability = MAX_OUT_OF_RANGE
    """Share of judged tasks outside the range that trained the candidate, by structure, words or metadata; of tasks like those
    that trained chance puts there 1.5 % at most. Of few tasks more may be there by chance: where in one log of a hundred that is
    more, it is the limit. See `budget_router.features.ranges`."""
    looks: Literal["once", "often"] = "once"

    @model_validator(mode="after")
    def _bound_lies_above(self) -> Self:
        if self.max_spend_bound < self.max_spend:
            raise ValueError(
                f"max_spend_bound is {self.max_spend_bound:g}, below max_spend of {self.max_spend:g}: an upper bound lies above"
            )
        return self

    def judge(self, judgement: Judgement) -> Verdict:
        """Hold a candidate's estimates against every condition; what the log does not tell fails its condition."""
        return Verdict(
            conditions=(
                self._gain(judgement.gain),
                *self._spend(judgement),
                self._effective_sample(judgement.accuracy),
                self._groups(judgement),
                self._range(judgement),
                _held_out(judgement),
            )
        )

    def half_width(self, estimate: OffPolicyEstimate, *, n_tests: int = 1) -> float:
        """How far an estimate's one-sided bound lies from its value; NaN where nothing is concluded.

        Args:
            estimate: with a standard error.
            n_tests: tests among which the risk is split.
        """
        if not estimate.is_conclusive:
            return math.nan
        confidence = 1 - 2 * (1 - self.confidence) / n_tests  # of both sides
        error, degrees = estimate.standard_error, estimate.degrees_of_freedom
        if self.looks == "once":
            return student_half_width(error, degrees_of_freedom=degrees, confidence=confidence)
        return sequence_half_width(error, n_clusters=float(estimate.n_tasks), degrees_of_freedom=degrees, confidence=confidence)

    def _gain(self, gain: OffPolicyEstimate) -> Condition:
        found = gain.value - self.half_width(gain)
        return _compared(
            "gain",
            "gain's lower bound",
            found=found,
            sign="≥",
            limit=self.margin,
            shown=_points,
            unit=" points",
            reason=gain.reason,
        )

    def _spend(self, judgement: Judgement) -> tuple[Condition, Condition]:
        spend, unit = judgement.spend, f" {judgement.unit.replace('_', ' ')}"
        limit, bound_limit = judgement.budget * self.max_spend, judgement.budget * self.max_spend_bound
        bound = spend.value + self.half_width(spend)
        return (
            _compared("spend", "spend", found=spend.value, sign="≤", limit=limit, shown=_amount, unit=unit),
            _compared(
                "spend_bound",
                "spend's upper bound",
                found=bound,
                sign="≤",
                limit=bound_limit,
                shown=_amount,
                unit=unit,
                reason=spend.reason,
            ),
        )

    def _effective_sample(self, accuracy: OffPolicyEstimate) -> Condition:
        found = accuracy.effective_sample_size
        return _compared(
            "effective_sample", "effective sample", found=found, sign="≥", limit=self.min_effective_sample, shown=_count
        )

    def _range(self, judgement: Judgement) -> Condition:
        found = judgement.out_of_range
        condition = _compared(
            "range",
            "out of range",
            found=found.share,
            sign="≤",
            limit=max(self.max_out_of_range, found.chance),
            shown=_percent,
            reason="nothing was judged, or the candidate does not tell what trained it",
        )
        named = [f"{label} {_percent(share, 0)}" for label, share in list(found.by.items())[:_MOST_NAMED]]
        if len(found.by) > len(named):
            named.append(f"{len(found.by) - len(named)} more")
        told = f" ({', '.join(named)})" if named else ""
        mend = ": let it learn from such tasks first" if named and not condition.is_met else ""
        return condition.model_copy(update={"sentence": f"{condition.sentence}{told}{mend}"})

    def _groups(self, judgement: Judgement) -> Condition:
        tested = {name: gain for name, gain in judgement.groups.items() if gain.is_conclusive}
        untested = [name for name in judgement.groups if name not in tested]
        hurt = self._hurt(tested)
        if hurt:
            named = ", ".join(f"{name} by {100 * -tested[name].value:.1f} points" for name in hurt)
            sentence = f"{len(hurt)} of {len(judgement.groups)} groups hurt ({named})"
        elif tested:
            sentence = f"{len(tested)} of {len(judgement.groups)} groups unharmed"
        else:
            sentence = "no group tested" if untested else "no groups to compare"
        if untested:
            sentence += f", too little known of {', '.join(untested)}"
        return Condition(name="groups", is_met=not hurt, found=float(len(hurt)), limit=0.0, sentence=sentence)

    def _hurt(self, tested: dict[str, OffPolicyEstimate]) -> list[str]:
        """Groups whose gain is clearly below zero, the worst first.

        Holm's step-down: the risk of calling any unharmed group hurt is that of one bound, however many there are. Reference:
        Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2).
        """
        hurt: list[str] = []
        left = dict(tested)
        while left:
            found = [name for name, gain in left.items() if gain.value + self.half_width(gain, n_tests=len(left)) < 0]
            if not found:
                break
            hurt += found
            for name in found:
                del left[name]
        return sorted(hurt, key=lambda name: tested[name].value)


def _held_out(judgement: Judgement) -> Condition:
    sentence = {
        "later": "judged on later tasks than trained it",
        "cross-fitted": "each task judged by a policy that had not seen it",
        "seen": "judged on tasks that trained it: judge on later ones, or cross-fit the whole policy",
    }[judgement.held_out]
    is_met = judgement.held_out != "seen"
    return Condition(name="held_out", is_met=is_met, found=float(is_met), limit=1.0, sentence=sentence)


def _compared(
    name: ConditionName,
    subject: str,
    *,
    found: float,
    sign: Literal["≥", "≤"],
    limit: float,
    shown: Callable[[float, int], str],
    unit: str = "",
    reason: str = "",
) -> Condition:
    """A condition on one figure; one that is not known is not met."""
    if not math.isfinite(found):
        sentence = f"{subject} not known: {reason or 'nothing was judged'}"
        return Condition(name=name, is_met=False, found=None, limit=limit, sentence=sentence)
    is_met = found >= limit if sign == "≥" else found <= limit
    relation = sign if is_met else {"≥": "<", "≤": ">"}[sign]
    found_text, limit_text = _apart(found, limit, shown)
    return Condition(
        name=name, is_met=is_met, found=found, limit=limit, sentence=f"{subject} {found_text}{unit} {relation} {limit_text}"
    )


def _apart(found: float, limit: float, shown: Callable[[float, int], str]) -> tuple[str, str]:
    """Both figures, with as many digits more as it takes to tell them apart."""
    texts = shown(found, 0), shown(limit, 0)
    for n_more in range(1, _MOST_DIGITS):
        if texts[0] != texts[1] or found == limit:
            break
        texts = shown(found, n_more), shown(limit, n_more)
    return texts


def _points(share: float, n_more: int) -> str:
    return f"{100 * share:+.{1 + n_more}f}" if share else "0"


def _percent(share: float, n_more: int) -> str:
    return f"{100 * share:.{1 + n_more}f} %"


def _count(number: float, n_more: int) -> str:
    return f"{number:,.{n_more}f}"


def _amount(number: float, n_more: int) -> str:
    return _count(number, n_more) if abs(number) >= 100 else f"{number:.{3 + n_more}g}"
