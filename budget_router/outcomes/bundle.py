"""What one decision's samples tell: of the strategy that was executed, and of whatever its samples would have sufficed for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from budget_router.budget import Unit
from budget_router.menu import Escalate, SelfConsistency, Strategy
from budget_router.outcomes.escalation import FirstVote, escalation_value
from budget_router.outcomes.stopping import early_stop_value
from budget_router.outcomes.vote_accuracy import vote_accuracy
from budget_router.records import LoggedDecision, Sample, Settlement, Spend


class Cell(NamedTuple):
    """What a bundle tells of a strategy; NaN for what it does not tell."""

    accuracy: float
    n_votes: float
    """Independent executions of the strategy that speak for the accuracy."""
    cost: float

    @property
    def standard_error(self) -> float:
        """Of the accuracy."""
        return standard_error(self.accuracy, self.n_votes)


class Price(NamedTuple):
    """What samples cost, apart from how many there are."""

    each: float
    """Of one sample; in seconds, where samples of a round come together, of one round."""
    shared: float = 0.0
    """Of one request, however many samples it brings: of their prompt, where they have it in common."""

    def of(self, n_samples: float, n_requests: float = 1.0) -> float:
        """Cost of so many samples, drawn in so many requests if they share them."""
        return self.each * n_samples + self.shared * n_requests


@dataclass(frozen=True)
class Bundle:
    """A settled decision as evidence: its guaranteed samples are exchangeable, the others were drawn because of them."""

    executed: Strategy
    answers: Sequence[str | None]
    """Of the guaranteed samples that arrived."""
    scores: Mapping[str, float] | None
    """Of each of the answers; `None` when one of them was not graded."""
    score: float
    """Of the answer that was given; NaN when it was not graded."""
    is_ungraded: bool
    """Whether it went well, and nobody has said yet how well."""
    has_no_answer: bool
    """Whether no sample gave an answer to vote on: then the first reply stands, whatever the number of samples."""
    spent: float
    price: Price
    """Of guaranteed samples."""
    unit: Unit

    @classmethod
    def of(cls, entry: LoggedDecision, settlement: Settlement, unit: Unit) -> "Bundle":
        """Take what is guaranteed out of a settled decision."""
        executed = entry.decision.strategy
        guaranteed = [sample for sample in settlement.samples if sample.index < executed.n_guaranteed]
        answers = [sample.answer_key for sample in guaranteed]
        graded = entry.outcome if settlement.status == "ok" else None
        is_complete = graded is not None and all(answer is None or answer in graded.answer_scores for answer in answers)
        return cls(
            executed=executed,
            answers=answers,
            scores=graded.answer_scores if graded is not None and is_complete else None,
            score=math.nan if graded is None else graded.score,
            is_ungraded=settlement.status == "ok" and entry.outcome is None,
            has_no_answer=bool(settlement.samples) and not any(sample.answer_key for sample in settlement.samples),
            spent=settlement.spend.in_unit(unit),
            price=_price(entry, settlement, guaranteed, unit),
            unit=unit,
        )

    def cell(self, strategy: Strategy) -> Cell:
        """Tell of a strategy that the bundle prices."""
        if strategy.settings_key == self.executed.settings_key and strategy.is_adaptive:
            return Cell(self.score, 1.0, self.spent)
        if isinstance(strategy, SelfConsistency) and strategy.early_stop is not None:
            return self._stopped(strategy)
        n_samples = strategy.n_samples
        if n_samples == self.executed.n_samples == self.executed.n_guaranteed:
            return Cell(*self._voted(n_samples), self.spent)
        return Cell(*self._voted(n_samples), self.price.of(1 if self.unit == "seconds" else n_samples))

    def first_vote(self, escalation: Escalate) -> FirstVote:
        """Tell of the first stage of an escalation; NaN where the bundle does not suffice, or was not graded."""
        first = escalation.first
        if self.executed.sampling != first.sampling or not first.k <= len(self.answers):
            return FirstVote(math.nan, math.nan)
        value = escalation_value(self.answers, self._known_scores(), first.k, escalation.agreement)
        return value if self.scores is not None else value._replace(accepted_right=math.nan)

    def _voted(self, n_samples: int) -> tuple[float, float]:
        """Score of a vote of `n_samples`, and how many independent votes speak for it."""
        if self.has_no_answer and not isinstance(self.executed, Escalate):
            return self.score, 1.0
        if self.answers and self.scores is not None and n_samples <= len(self.answers):
            return vote_accuracy(self.answers, self.scores, n_samples), len(self.answers) / n_samples
        is_executed = n_samples == self.executed.n_samples == self.executed.n_guaranteed
        return (self.score, 1.0) if is_executed else (math.nan, math.nan)

    def _stopped(self, strategy: SelfConsistency) -> Cell:
        if strategy.early_stop is None or strategy.k > len(self.answers):
            return Cell(math.nan, math.nan, math.nan)
        value = early_stop_value(self.answers, self._known_scores(), strategy.early_stop, strategy.k)
        n_rounds = value.mean_samples / strategy.n_guaranteed
        if self.has_no_answer:
            accuracy, n_votes = self._voted(strategy.k)
        else:
            accuracy, n_votes = value.accuracy, len(self.answers) / value.mean_samples
        is_known = self.scores is not None or self.has_no_answer
        return Cell(
            accuracy if is_known else math.nan,
            n_votes,
            self.price.of(n_rounds if self.unit == "seconds" else value.mean_samples, n_rounds),
        )

    def _known_scores(self) -> Mapping[str, float]:
        """How many samples a rule draws hangs on the answers alone: it is known before they are graded."""
        answers = dict.fromkeys((answer for answer in self.answers if answer is not None), 0.0)
        return answers if self.scores is None else {answer: self.scores[answer] for answer in answers}


def standard_error(score: float, n_votes: float) -> float:
    """Binomial error of a mean of `n_votes` votes, half a vote of either kind added, so that one vote is never certain."""
    shrunk = (score * n_votes + 0.5) / (n_votes + 1)
    return math.sqrt(shrunk * (1 - shrunk) / n_votes)


def _price(entry: LoggedDecision, settlement: Settlement, guaranteed: Sequence[Sample], unit: Unit) -> Price:
    """Price of guaranteed samples; NaN when the bill cannot be told apart."""
    executed, spend, samples = entry.decision.strategy, settlement.spend, settlement.samples
    n_rounds, n_samples = 1, executed.n_samples
    if isinstance(executed, Escalate):
        names = {sample.call_id for sample in guaranteed}
        calls = [call for call in entry.calls if call.id in names]
        if not calls or len(calls) < len(names):
            return Price(math.nan)
        spend, samples = Spend.of(calls, seconds=max(call.seconds for call in calls)), tuple(guaranteed)
        n_samples = len(guaranteed)
    elif executed.is_adaptive:
        if not samples:
            return Price(math.nan)
        # rounds are drawn whole: what failed after the last sample that arrived was billed as well
        n_rounds = max(sample.index for sample in samples) // executed.n_guaranteed + 1
        n_samples = min(n_rounds * executed.n_guaranteed, executed.n_samples)
    if unit == "seconds":
        return Price(spend.seconds / n_rounds)
    named = [sample.call_id for sample in samples if sample.call_id is not None]
    n_requests = len(set(named))
    if n_requests == len(named) or unit == "completion_tokens":
        return Price(spend.in_unit(unit) / n_samples)
    # several samples of one request: they have its prompt in common; of money nobody booked which part that was
    return Price(math.nan) if unit == "usd" else Price(spend.completion_tokens / n_samples, spend.prompt_tokens / n_requests)
