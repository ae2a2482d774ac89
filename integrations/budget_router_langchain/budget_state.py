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
    so_far: dict[str, float | None]
    """What all settled decisions of the thread came to, as `spend` tells it of one."""
    n_settled: int
    """How many those are."""
    n_abreast: int
    """Where several were made in one step: how many; this is the last of them."""
    score: float
    """Once a `GradeNode` has graded it."""


def decided(decision: Decision, before: BudgetState | None = None) -> BudgetState:
    """A decision as plain JSON, such as every checkpointer keeps; it goes on from what was spent before."""
    past: BudgetState = {"so_far": before["so_far"], "n_settled": before["n_settled"]} if before and "so_far" in before else {}
    return {
        **past,
        "decision_id": decision.id,
        "strategy": decision.strategy.name,
        "group": decision.group,
        "expected_cost": float(decision.expected_cost),  # a numpy float crashes the checkpointer
        "shadow_price": float(decision.shadow_price),
        "propensity": float(decision.propensity),
        "policy_version": decision.policy_version,
    }


def settled(budget: BudgetState, spend: Spend, answer: str | None, agreement: float | None) -> BudgetState:
    """The same decision with what came of it; what is settled again is not added again."""
    if "spend" in budget:
        return {**budget, "answer": answer, "agreement": agreement}
    so_far = Spend.model_validate(budget["so_far"]) + spend if "so_far" in budget else spend
    return {
        **budget,
        "spend": {**vars(spend)},  # what `model_dump` gives of flat fields
        "answer": answer,
        "agreement": agreement,
        "so_far": {**vars(so_far)},
        "n_settled": budget.get("n_settled", 0) + 1,
    }
