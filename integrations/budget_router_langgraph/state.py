"""What the nodes read from a user's state, and what they write into it: plain JSON under the one key `budget`."""

from collections.abc import Sequence
from typing import Annotated, Any

from langgraph.channels import LastValue
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from budget_router.errors import InvalidInput
from budget_router.records import Spend
from budget_router_langchain.asked import field_of
from budget_router_langchain.budget_state import BudgetState

Update = dict[str, Any]  # Any: values of the user's state


class BudgetChannel(LastValue[BudgetState]):
    """Keeps the latest decision; of several in one step, by branches or `Send`, the last, with what all of them spent.

    Nodes bring it along. A graph whose own schema has `budget` says so there: `budget: Annotated[BudgetState, BudgetChannel]`.
    """

    __slots__ = ()

    def update(self, values: Sequence[BudgetState]) -> bool:
        """Take what the nodes of a step have written; a decision that is told again, as when it is graded, is no other one."""
        before: BudgetState = (self.get() if self.is_available() else None) or {}
        is_over = "spend" in before
        others = [value for value in values if not (is_over and value.get("decision_id") == before.get("decision_id"))]
        if len(others) < 2:
            return super().update((others or values)[-1:])
        last: BudgetState = {**others[-1], "n_abreast": len(others)}
        spends = [Spend.model_validate(value["spend"]) for value in others if "spend" in value]
        if not spends:
            return super().update([last])
        so_far = sum(spends, Spend.model_validate(before.get("so_far", {})))
        n_settled = before.get("n_settled", 0) + len(spends)
        return super().update([{**last, "so_far": so_far.model_dump(), "n_settled": n_settled}])


class BudgetIO(TypedDict, total=False):
    """What the nodes may read; LangGraph adds those keys to a graph as private ones where the user's schema has them not."""

    task: Any  # Any: checked when it is read
    question: Any
    input: Any
    messages: list[Any]
    budget: Annotated[BudgetState, BudgetChannel]


class Budgeted(TypedDict, total=False):
    """What a route reads."""

    budget: BudgetState


def budget_of(state: object) -> BudgetState:
    """The decision that stands in a state; raises InvalidInput when there is none."""
    budget: BudgetState | None = field_of(state, "budget")
    if not budget:
        raise InvalidInput("no decision in state['budget']: let a BudgetNode run before, in the same graph")
    return budget
