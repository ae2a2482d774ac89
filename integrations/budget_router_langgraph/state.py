"""What the nodes read from a user's state, and what they write into it: plain JSON under the one key `budget`."""

from typing import Any

from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from budget_router.errors import InvalidInput
from budget_router_langchain.asked import field_of
from budget_router_langchain.budget_state import BudgetState

Update = dict[str, Any]  # Any: values of the user's state


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


def budget_of(state: object) -> BudgetState:
    """The decision that stands in a state; raises InvalidInput when there is none."""
    budget: BudgetState | None = field_of(state, "budget")
    if not budget:
        raise InvalidInput("no decision in state['budget']: let a BudgetNode run before, in the same graph")
    return budget
