"""What the nodes read from a user's state, and what they write into it: plain JSON under the one key `budget`."""

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from budget_router.errors import InvalidInput
from budget_router.records import Decision, Spend

Update = dict[str, Any]  # Any: values of the user's state


class BudgetState(TypedDict, total=False):
    """One decision in a graph's state; what came of it stands there once it is settled."""

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


class BudgetIO(TypedDict, total=False):
    """What the nodes may read; LangGraph adds those keys to a graph as private ones where the user's schema has them not."""

    task: Any  # Any: checked when it is read
    question: Any
    input: Any
    messages: list[Any]
    budget: BudgetState


class Budgeted(TypedDict, total=False):
    """What a route reads."""

    budget: BudgetState


def field_of(state: object, key: str) -> Any:  # Any: the user's own value
    """Value of a key in a dict, dataclass or pydantic state; `None` when there is none."""
    return state.get(key) if isinstance(state, Mapping) else getattr(state, key, None)


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


def budget_of(state: object) -> BudgetState:
    """The decision that stands in a state; raises InvalidInput when there is none."""
    budget: BudgetState | None = field_of(state, "budget")
    if not budget:
        raise InvalidInput("no decision in state['budget']: let a BudgetNode run before, in the same graph")
    return budget
