"""What one decision's samples tell: of the strategy that was executed, and of whatever its samples would have sufficed for."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from budget_router.budget import Unit
from budget_router.evidence import Drawn, Evidence
from budget_router.menu import Escalate, SelfConsistency, Strategy
from budget_router.outcomes.escalation import FirstVote, escalation_value
from budget_router.outcomes.stopping import early_stop_value
from budget_router.outcomes.vote_accuracy import vote_accuracy
from budget_router.records import Spent

UNGRADED = -1.0
"""Score of an answer that nobody has graded."""


class Bill(NamedTuple):
    """What was billed for a bundle, in the budget's unit; NaN for what cannot be told apart."""

    spent: float
    """In all."""
    each: float
    """Of one guaranteed sample; in seconds, where samples of a round come together, of one round."""
    shared: float = 0.0
    """Of one request, however many samples it brings: of their prompt, where they have it in common."""


class Share(NamedTuple):
    """A cost as so many times each part of a bill: it hangs on the answers, and not on what was billed for them."""

    spent: float = 0.0
    each: float = 0.0
    shared: float = 0.0


WHOLE, UNKNOWN = Share(spent=1.0), Share(math.nan)


class Cell(NamedTuple):
    """What a bundle tells of a strategy; NaN for what it does not tell."""

    accuracy: float
    n_votes: float
    """Independent executions of the strategy that speak for the accuracy."""
    cost: Share

    @property
    def standard_error(self) -> float:
        """Of the accuracy."""
        return standard_error(self.accuracy, self.n_votes)


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
    unit: Unit

    @classmethod
    def of(cls, evidence: Evidence, unit: Unit) -> "Bundle":
        """Take what is guaranteed out of a settled decision."""
        answers = [sample.answer_key for sample in guaranteed(evidence)]
        is_graded = evidence.status == "ok" and evidence.score is not None
        is_complete = is_graded and all(answer is None or answer in evidence.answer_scores for answer in answers)
        return cls(
            executed=evidence.strategy,
            answers=answers,
            scores=evidence.answer_scores if is_complete else None,
            score=evidence.score if is_graded and evidence.score is not None else math.nan,
            is_ungraded=evidence.status == "ok" and evidence.score is None,
            has_no_answer=bool(evidence.samples) and not any(sample.answer_key for sample in evidence.samples),
            unit=unit,
        )

    def cell(self, strategy: Strategy) -> Cell:
        """Tell of a strategy that the bundle prices."""
        if strategy.settings_key == self.executed.settings_key and strategy.is_adaptive:
            return Cell(self.score, 1.0, WHOLE)
        if isinstance(strategy, SelfConsistency) and strategy.early_stop is not None:
            return self._stopped(strategy)
        n_samples = strategy.n_samples
        if n_samples == self.executed.n_samples == self.executed.n_guaranteed:
            return Cell(*self._voted(n_samples), WHOLE)
        return Cell(*self._voted(n_samples), self._drawn(n_samples, n_rounds=1))

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
            return Cell(math.nan, math.nan, UNKNOWN)
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
            self._drawn(value.mean_samples, n_rounds),
        )

    def _drawn(self, n_samples: float, n_rounds: float) -> Share:
        """So many samples, drawn in so many rounds, each in one request if they share requests."""
        return Share(each=n_rounds if self.unit == "seconds" else n_samples, shared=n_rounds)

    def _known_scores(self) -> Mapping[str, float]:
        """How many samples a rule draws hangs on the answers alone: it is known before they are graded."""
        answers = dict.fromkeys((answer for answer in self.answers if answer is not None), 0.0)
        return answers if self.scores is None else {answer: self.scores[answer] for answer in answers}


def standard_error(score: float, n_votes: float) -> float:
    """Binomial error of a mean of `n_votes` votes, half a vote of either kind added, so that one vote is never certain."""
    shrunk = (score * n_votes + 0.5) / (n_votes + 1)
    return math.sqrt(shrunk * (1 - shrunk) / n_votes)


def guaranteed(evidence: Evidence) -> list[Drawn]:
    """Samples that would have been drawn whatever the others said."""
    n_guaranteed = evidence.strategy.n_guaranteed
    return [sample for sample in evidence.samples if sample.place < n_guaranteed]


def pattern(evidence: Evidence) -> Hashable:
    """What decisions share whose bundles, of one strategy, tell the same: how many samples agree, and how good they are."""
    is_ok = evidence.status == "ok"
    scores = evidence.answer_scores if is_ok else {}
    if len(evidence.samples) == 1:  # as most have it: no votes to count
        answer = evidence.samples[0].answer_key
        if answer is None:
            return is_ok, evidence.score, 1, True
        return is_ok, evidence.score, 0, not answer, (1, scores.get(answer, UNGRADED))
    given = Counter([sample.answer_key for sample in guaranteed(evidence)])
    n_silent = given.pop(None, 0)
    votes = sorted((n_votes, scores.get(answer, UNGRADED)) for answer, n_votes in given.items() if answer is not None)
    has_no_answer = bool(evidence.samples) and not any(sample.answer_key for sample in evidence.samples)
    return is_ok, evidence.score, n_silent, has_no_answer, *votes


def bill(evidence: Evidence, unit: Unit) -> Bill:
    """What was billed, and which part of it for each guaranteed sample."""
    spent = evidence.spend.in_unit(unit)
    return Bill(spent, spent) if evidence.strategy.n_samples == 1 else _bill_of_several(evidence, unit, spent)


def _bill_of_several(evidence: Evidence, unit: Unit, spent: float) -> Bill:
    executed, spend, samples = evidence.strategy, evidence.spend, evidence.samples
    n_rounds, n_samples = 1, executed.n_samples
    if isinstance(executed, Escalate):
        samples = guaranteed(evidence)
        names = {sample.call_id for sample in samples}
        calls = [billed for name, billed in evidence.calls.items() if name in names]
        if not calls or len(calls) < len(names):
            return Bill(spent, math.nan)
        spend, n_samples = _side_by_side(calls), len(samples)
    elif executed.is_adaptive:
        if not samples:
            return Bill(spent, math.nan)
        # rounds are drawn whole: what failed after the last sample that arrived was billed as well
        n_rounds = max(sample.place for sample in samples) // executed.n_guaranteed + 1
        n_samples = min(n_rounds * executed.n_guaranteed, executed.n_samples)
    if unit == "seconds":
        return Bill(spent, spend.seconds / n_rounds)
    named = [sample.call_id for sample in samples if sample.call_id is not None]
    n_requests = len(set(named))
    if n_requests == len(named) or unit == "completion_tokens":
        return Bill(spent, spend.in_unit(unit) / n_samples)
    # several samples of one request: they have its prompt in common; of money nobody booked which part that was
    if unit == "usd":
        return Bill(spent, math.nan)
    return Bill(spent, spend.completion_tokens / n_samples, spend.prompt_tokens / n_requests)


def _side_by_side(calls: Sequence[Spent]) -> Spent:
    """What calls cost that were made at the same time."""
    prompt_tokens, completion_tokens, money, seconds = zip(*calls, strict=True)
    nano_usd = None if None in money else sum(money)
    return Spent(sum(prompt_tokens), sum(completion_tokens), nano_usd, max(seconds))
