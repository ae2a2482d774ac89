"""Grades: how good answers were, whenever that is known, by decision, thread or run."""

from collections.abc import Mapping
from datetime import datetime
from typing import overload

from budget_router.errors import InvalidInput, UnknownDecision
from budget_router.ledger import Ledger
from budget_router.records import LoggedDecision, Outcome, hash_text, now

AGAIN = ".again"
"""What the id of a reconsidered decision has behind that of the first one."""


class Grading:
    """Records grades in a ledger."""

    ledger: Ledger

    @overload
    def grade(
        self,
        decision_id: str | None = None,
        *,
        score: float,
        thread_id: str | None = None,
        run_id: None = None,
        answer_scores: Mapping[str, float] | None = None,
        source: str = "user",
        graded_at: datetime | None = None,
    ) -> Outcome: ...

    @overload
    def grade(
        self,
        *,
        score: float,
        run_id: str,
        answer_scores: Mapping[str, float] | None = None,
        source: str = "user",
        graded_at: datetime | None = None,
    ) -> tuple[Outcome, ...]: ...

    def grade(
        self,
        decision_id: str | None = None,
        *,
        score: float,
        thread_id: str | None = None,
        run_id: str | None = None,
        answer_scores: Mapping[str, float] | None = None,
        source: str = "user",
        graded_at: datetime | None = None,
    ) -> Outcome | tuple[Outcome, ...]:
        """Record how good an answer was, whenever that is known; a later grade corrects an earlier one.

        A verdict on a run is one on each of its decisions, for all of its steps led to what it came to. Left out are decisions
        that failed, and votes that were reconsidered: their answers led nowhere.

        Args:
            decision_id: of the graded decision.
            score: quality in [0, 1].
            thread_id: grade the latest decision of this thread instead.
            run_id: grade the decisions of this run instead, such as those of one invocation of a graph.
            answer_scores: quality of each distinct answer that was drawn, by the normalised answer; with it one vote of k samples
                tells what every smaller vote would have scored. Not for a run of several decisions, whose tasks differ.
            source: who says so.
            graded_at: when it was said, now unless told; all else equal, a grade of the same moment is the same grade.

        Returns:
            The grade that was recorded; of a run all of them, oldest decision first.

        Raises:
            UnknownDecision: no such decision stands in the ledger.
        """
        if (decision_id, thread_id, run_id).count(None) != 2:
            raise InvalidInput("grade needs a decision_id, a thread_id or a run_id, and only one of them")
        if run_id is not None:
            decision_ids = [logged.decision.id for logged in self.answered_in(run_id)]
            if answer_scores and len(decision_ids) > 1:
                raise InvalidInput(
                    f"answer_scores are of one task, and run {run_id!r} made {len(decision_ids)} decisions: grade them by id"
                )
        elif decision_id is not None:
            decision_ids = [decision_id]
        else:
            decision_ids = [self.ledger.latest(thread_id=thread_id).decision.id]
        salt = self.ledger.salt
        scores = {hash_text(answer, salt=salt): value for answer, value in (answer_scores or {}).items()}
        at = now() if graded_at is None else graded_at
        outcomes = tuple(
            Outcome(decision_id=one, score=score, source=source, answer_scores=scores, graded_at=at) for one in decision_ids
        )
        for outcome in outcomes:
            self.ledger.record_outcome(outcome)
        return outcomes[0] if run_id is None else outcomes

    def answered_in(self, run_id: str) -> list[LoggedDecision]:
        """The decisions of a run whose answers led to what it came to, oldest first: those that a verdict on the run grades.

        Raises:
            UnknownDecision: there is none.
        """
        made = self.ledger.of_run(run_id)
        stand = [logged for logged in made if not (logged.settlement and logged.settlement.status == "failed")]
        if not stand:
            found = "no decision" if not made else f"none but failed decisions, {len(made)} of them,"
            raise UnknownDecision(f"{found} of run {run_id!r} to grade: give a `run_id` as decisions bear it")
        decisions = [logged.decision for logged in stand]
        reconsidered = {decision.id.removesuffix(AGAIN) for decision in decisions if decision.reason == "reconsidered"}
        return [logged for logged in stand if logged.decision.id not in reconsidered]
