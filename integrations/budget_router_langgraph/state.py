"""What the nodes read from a user's state, and what they write into it: plain JSON under the one key `budget`."""

from collections.abc import Sequence
from typing import Annotated, Any

from langgraph.channels import LastValue
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from budget_router.errors import InvalidInput
from budget_router_langchain.asked import field_of
from budget_router_langchain.budget_state import BudgetState

Update = dict[str, Any]  # Any: values of the user's state


class OneDecision(LastValue[BudgetState]):
    """Where the decision of a graph stands; of several that were made and settled in one step none does.

    Decisions that are yet to be settled cannot be made side by side: nobody could tell whose calls are whose.
    """

    def update(self, values: Sequence[BudgetState]) -> bool:
        """Take what a step has written."""
        are_over = len(values) > 1 and all("spend" in value for value in values)
        return super().update([BudgetState()] if are_over else values)


TheDecision = Annotated[BudgetState, OneDecision]
"""Holds unless the user's own schema declares `budget`."""


class BudgetIO(TypedDict, total=False):
    """What the nodes may read; LangGraph adds those keys to a graph as private ones where the user's schema has them not."""

    task: Any  # Any: checked when it is read
    question: Any
    input: Any
    messages: list[Any]
    budget: TheDecision


class Budgeted(TypedDict, total=False):
    """What a route reads."""

    budget: TheDecision


def budget_of(state: object) -> BudgetState:
    """The decision that stands in a state; raises InvalidInput when there is none."""
    budget: BudgetState | None = field_of(state, "budget")
    if not budget:
        raise InvalidInput(
            "no decision in state['budget'], or several of one step: let a BudgetNode run before, in the same graph"
        )
    return budget
