"""A node that grades: a verifier's verdict, found in the state, becomes the score of the decision that led to it."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from langchain_core.runnables import RunnableConfig

from budget_router.errors import InvalidInput
from budget_router.records import LoggedDecision, Outcome, hash_text
from budget_router.router import BudgetRouter
from budget_router_langchain.asked import field_of
from budget_router_langchain.budget_state import BudgetState, decided
from budget_router_langgraph.deciding import place_of
from budget_router_langgraph.nodes import Node
from budget_router_langgraph.reading import read_also
from budget_router_langgraph.state import budget_of

VerdictSource = str | Callable[[Any], Any]
"""A key of the state, or a function of it; Any: the user's own state, dict, dataclass or pydantic, and any form of verdict."""


class Verdict(NamedTuple):
    """What a verifier said."""

    score: float
    answer_scores: Mapping[str, float]


class GradeNode(Node):
    """Grades the decision in `state["budget"]` by a verdict that stands in the state, and writes the `score` there.

    A verdict is a number in [0, 1], a truth value, or a dict, dataclass or pydantic model that has either as `score`; its
    `answer_scores`, if it has any, are the scores of the distinct answers that were drawn, by the normalised answer.

    What an earlier turn of a thread left there counts as well: let the verifier write a verdict in each turn, or `None`.

    The grade stands at the moment at which the decision was settled: a retry, a resume or a replay that says the same adds
    nothing, and whoever graded the decision later has the last word.

    Args:
        router: that made the decision.
        score_from: key of the state that holds the verdict, or a function of the state, which is given the user's whole state;
            then a verdict on one decision of several needs `budget` in the graph's schema.
        of: what the verdict is on: the `decision`, or all decisions of the `run` in which it was made.
        source: who says so.
        needs_verdict: whether a state without a verdict raises InvalidInput; else nothing is graded there.
    """

    name = "grade"
    event = "budget_grade"

    def __init__(
        self,
        router: BudgetRouter,
        score_from: VerdictSource = "score",
        *,
        of: Literal["decision", "run"] = "decision",
        source: str = "verifier",
        needs_verdict: bool = False,
    ) -> None:
        if of not in {"decision", "run"}:
            raise InvalidInput(f"a verdict of {of!r}: it is on a 'decision' or on a 'run'")
        self.router = router
        self.score_from = score_from
        self.of = of
        self.source = source
        self.needs_verdict = needs_verdict
        read_also(self, score_from)

    def act(self, state: object, config: RunnableConfig) -> BudgetState | None:
        """Grade what the verdict of a state is on."""
        verdict = self._verdict(state)
        if verdict is None:
            return None
        budget = field_of(state, "budget") or self._hidden(state, config)
        if self.of == "decision" and budget.get("n_abreast", 1) > 1:
            raise InvalidInput(
                f"{budget['n_abreast']} decisions were made side by side, and the verdict is on one: "
                "give of='run' for a verdict on all, or grade in each branch"
            )
        logged = self.router.ledger.decision(budget["decision_id"])
        run_id = logged.decision.run_id if self.of == "run" else None
        judged = [logged] if run_id is None else self.router.answered_in(run_id)
        graded_at = _moment(logged, config)
        if not all(self._is_told(verdict, one.outcome, graded_at) for one in judged):
            said: dict[str, Any] = {**verdict._asdict(), "source": self.source, "graded_at": graded_at}  # Any: what `grade` takes
            if run_id is None:
                self.router.grade(logged.decision.id, **said)
            else:
                self.router.grade(run_id=run_id, **said)
        return {**budget, "score": verdict.score}

    def _verdict(self, state: object) -> Verdict | None:
        found = self.score_from(state) if callable(self.score_from) else field_of(state, self.score_from)
        score = _score_of(found)
        if score is None:
            if not self.needs_verdict:
                return None
            where = "what score_from= returns" if callable(self.score_from) else f"state[{self.score_from!r}]"
            raise InvalidInput(f"no verdict in {where}: let a verifier run before, or give needs_verdict=False")
        return Verdict(score, field_of(found, "answer_scores") or {})

    def _is_told(self, verdict: Verdict, standing: Outcome | None, graded_at: datetime) -> bool:
        """Whether a grade would add nothing to the one that stands: a later one, or one that said the same before.

        One of the same moment is the ledger's to tell.
        """
        if standing is None or standing.graded_at == graded_at:
            return False
        if standing.graded_at > graded_at:
            return True
        salt = self.router.ledger.salt
        scores = {hash_text(answer, salt=salt): score for answer, score in verdict.answer_scores.items()}
        return (standing.score, standing.source, standing.answer_scores) == (verdict.score, self.source, scores)

    def _hidden(self, state: object, config: RunnableConfig) -> BudgetState:
        """The decision of this run, where a function is given a schema without `budget`; of several any will do for the run."""
        run = place_of(config).run if callable(self.score_from) else None
        made = [] if run is None else self.router.ledger.of_run(run)
        if len(made) == 1 or (made and self.of == "run"):
            return decided(made[-1].decision)
        if made:
            raise InvalidInput(
                f"{len(made)} decisions in this run, and none in the state that score_from= is given: "
                "add `budget` to its schema, `Annotated[BudgetState, BudgetChannel]`, or name the verdict's key"
            )
        return budget_of(state)


def _score_of(verdict: Any) -> float | None:  # Any: whatever a verifier said
    if verdict is None or isinstance(verdict, int | float):
        return None if verdict is None else float(verdict)
    score = field_of(verdict, "score")
    if score is not None and not isinstance(score, int | float):
        raise InvalidInput(f"a verdict's score is {score!r}: give a number in [0, 1], or True or False")
    if score is None and not _has_score(verdict):
        raise InvalidInput(f"a verdict is a {type(verdict).__name__}: give a number, a truth value, or what has a `score`")
    return None if score is None else float(score)


def _has_score(verdict: Any) -> bool:  # Any: as above
    return "score" in verdict if isinstance(verdict, Mapping) else hasattr(verdict, "score")


def _moment(logged: LoggedDecision, config: RunnableConfig) -> datetime:
    """When a decision is graded by its graph: as it was settled; in a loop a later step has the last word."""
    settled_at = logged.settlement.settled_at if logged.settlement else logged.decision.decided_at
    return settled_at + timedelta(microseconds=int((config.get("metadata") or {}).get("langgraph_step") or 0))
