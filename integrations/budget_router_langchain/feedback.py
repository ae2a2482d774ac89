"""LangSmith's feedback as grades: what people and judges said of traced runs, told to the decisions that led to them."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from budget_router.errors import InvalidInput, UnknownDecision
from budget_router.records import LoggedDecision, Outcome
from budget_router.router import BudgetRouter


class Feedback(Protocol):
    """What is read of a `langsmith.schemas.Feedback`."""

    @property
    def id(self) -> UUID:
        """Its own id."""
        ...

    @property
    def key(self) -> str:
        """What it is about, such as `correctness`."""
        ...

    @property
    def score(self) -> float | bool | None:
        """What was given, if it is a number."""
        ...

    @property
    def run_id(self) -> UUID | None:
        """The run that it is on."""
        ...

    @property
    def trace_id(self) -> UUID | None:
        """The root of that run."""
        ...

    @property
    def modified_at(self) -> datetime:
        """When it was last changed."""
        ...


class FeedbackClient(Protocol):
    """What is asked of a `langsmith.Client`."""

    def list_feedback(self, *, feedback_key: Sequence[str]) -> Iterable[Feedback]:
        """All feedback under these keys."""
        ...


class LeftOut(NamedTuple):
    """A feedback that grades nothing, and why."""

    feedback: Feedback
    reason: str


class Graded(NamedTuple):
    """What came of feedback."""

    outcomes: tuple[Outcome, ...]
    left_out: tuple[LeftOut, ...]


def grade_from_langsmith(
    router: BudgetRouter,
    source: FeedbackClient | Iterable[Feedback],
    *,
    key: str,
    score_of: Callable[[Feedback], float | None] | None = None,
) -> Graded:
    """Grade decisions by LangSmith's feedback; what was graded by the same feedback before is not graded again.

    A feedback on a run that was invoked grades all its decisions, as `router.grade(run_id=...)` does. One on a model's run grades
    the decision that the call was made for, if it brought the answer. One on another step of a trace counts where the
    trace made one decision alone. A grade stands at the moment at which the feedback was last changed; the latest counts.

    Args:
        router: whose ledger holds the decisions.
        source: a `langsmith.Client`, which is asked for all feedback under the key; or feedback, as from
            `client.list_feedback(run_ids=...)`, of which other keys are passed over.
        key: that the feedback was given under, such as `correctness`.
        score_of: score in [0, 1] of a feedback, `None` to leave it out; its own `score` when not given.

    Raises:
        InvalidInput: a score lies outside [0, 1]; then nothing was graded.
    """
    given = source.list_feedback(feedback_key=[key]) if hasattr(source, "list_feedback") else source
    said = [(feedback, _score(feedback, score_of)) for feedback in given if feedback.key == key]
    outcomes: list[Outcome] = []
    left_out: list[LeftOut] = []
    for feedback, score in said:
        if score is None:
            left_out.append(LeftOut(feedback, "it has no score"))
            continue
        try:
            outcomes += _grade(router, feedback, score)
        except UnknownDecision as error:
            left_out.append(LeftOut(feedback, str(error)))
    return Graded(tuple(outcomes), tuple(left_out))


def _score(feedback: Feedback, score_of: Callable[[Feedback], float | None] | None) -> float | None:
    score = feedback.score if score_of is None else score_of(feedback)
    if score is None:
        return None
    if not 0 <= score <= 1:  # NaN too
        raise InvalidInput(
            f"feedback {feedback.id} under {feedback.key!r} scores {score:g}, and grades lie in [0, 1]: "
            "map it, score_of=lambda feedback: ..."
        )
    return float(score)


def _grade(router: BudgetRouter, feedback: Feedback, score: float) -> tuple[Outcome, ...]:
    """Grade what a feedback is about; raises UnknownDecision where nobody can tell."""
    ledger, run_id, trace_id = router.ledger, feedback.run_id, feedback.trace_id
    at = feedback.modified_at
    graded_at = at if at.tzinfo else at.replace(tzinfo=UTC)
    source = f"langsmith:{feedback.key}"
    if run_id is not None:
        if (logged := _called_for(router, str(run_id))) is not None:
            return (router.grade(logged.decision.id, score=score, source=source, graded_at=graded_at),)
        if ledger.of_run(str(run_id)):
            return router.grade(run_id=str(run_id), score=score, source=source, graded_at=graded_at)
    n_made = len(ledger.of_run(str(trace_id))) if trace_id is not None else 0
    if n_made == 1 or (n_made and run_id is None):
        return router.grade(run_id=str(trace_id), score=score, source=source, graded_at=graded_at)
    if n_made:
        raise UnknownDecision(
            f"run {run_id} is a step of a trace with {n_made} decisions, and none of them is known to be its own"
        )
    raise UnknownDecision(f"neither run {run_id} nor trace {trace_id} made a decision that stands in this ledger")


def _called_for(router: BudgetRouter, call_id: str) -> LoggedDecision | None:
    """The decision that a call was made for; raises UnknownDecision if the call brought a sample that was outvoted."""
    try:
        logged = router.ledger.of_call(call_id)
    except UnknownDecision:
        return None
    drawn = logged.settlement.samples if logged.settlement else ()
    answers = {sample.answer_key for sample in drawn if sample.call_id == call_id}
    if logged.settlement and answers and logged.settlement.answer_key not in answers:
        raise UnknownDecision(f"call {call_id} drew a sample that was outvoted, so it does not speak of the decision's answer")
    return logged
