"""A decision as plain JSON: what a message's metadata and events tell of it, and what a graph keeps in its state."""

from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from budget_router.records import Decision, Spend

METADATA_KEY = "budget_router"
"""Of a message's `response_metadata`: where its decision stands."""


class BudgetState(TypedDict, total=False):
    """One decision; what came of it stands there once it is settled."""

    decision_id: str
    strategy: str
    group: str | None
    expected_cost: float
    shadow_price: float
    propensity: float
    policy_version: str
    spend: dict[str, float | None]
    answer: str | None
    agreement: float | None
    score: float
    """Once a `GradeNode` has graded it."""


def decided(decision: Decision) -> BudgetState:
    """A decision as plain JSON, such as every checkpointer keeps."""
    return {
        "decision_id": decision.id,
        "strategy": decision.strategy.name,
        "group": decision.group,
        "expected_cost": float(decision.expected_cost),  # a numpy float crashes the checkpointer
        "shadow_price": float(decision.shadow_price),
        "propensity": float(decision.propensity),
        "policy_version": decision.policy_version,
    }


def settled(budget: BudgetState, spend: Spend, answer: str | None, agreement: float | None) -> BudgetState:
    """The same decision with what came of it."""
    return {**budget, "spend": spend.model_dump(), "answer": answer, "agreement": agreement}
