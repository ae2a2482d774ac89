"""The budgets of one router: one for each group, all in one unit, none below what the cheapest strategy costs."""

from collections.abc import Sequence

from budget_router.budget import Budget
from budget_router.costs import expected_cost
from budget_router.errors import InfeasibleBudget, InvalidInput
from budget_router.menu import Menu
from budget_router.tariffs import Tariffs


def by_group(budgets: Sequence[Budget]) -> dict[str | None, Budget]:
    """Budgets by their group; raises InvalidInput where two are of one group, or of two units, or there is none."""
    by_group: dict[str | None, Budget] = {}
    for budget in budgets:
        if budget.group in by_group:
            raise InvalidInput(f"two budgets for group {budget.group!r}: give each group one")
        by_group[budget.group] = budget
    units = {budget.unit for budget in budgets}
    if len(units) != 1:
        raise InvalidInput(f"budgets in {', '.join(sorted(units)) or 'no unit'}: a router needs at least one, all in one unit")
    return by_group


def check_feasible(budgets: Sequence[Budget], menu: Menu, *, tariffs: Tariffs, model: str | None) -> None:
    """Raise InfeasibleBudget for a budget that not even the cheapest strategy on an empty prompt fits."""
    unit = budgets[0].unit
    costs = [expected_cost(strategy, prompt_tokens=0, unit=unit, tariffs=tariffs, model=model) for strategy in menu]
    cheapest = min(costs)
    for budget in budgets:
        if budget.per_task < cheapest:
            raise InfeasibleBudget(
                f"budget of {budget} is below the cheapest strategy, {menu.names[costs.index(cheapest)]!r} at "
                f"{cheapest:g} {budget.unit}: raise the budget, add a cheaper strategy, or tell its true length by "
                "typical_completion_tokens"
            )
