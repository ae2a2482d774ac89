"""Whom a graph asks where a hard cap has too little left: the human in the loop, by an interrupt."""

from langgraph.types import interrupt

from budget_router.capping import Shortfall


def ask_by_interrupt(shortfall: Shortfall) -> str:
    """Interrupt the graph with what is short, and answer with what it is resumed with; for `BudgetRouter(..., ask=)`.

    `Command(resume="cheapest")`, `"wait"`, `"refuse"`, or the name of a strategy; anything else is asked again. The answer counts
    while the shortage lasts: where there is room again by then, the task gets the strategy that was drawn, whatever was answered.

    The graph needs a checkpointer, as for every interrupt.
    """
    answers = ["cheapest", "wait", "refuse", *shortfall.menu]
    question = {
        "question": str(shortfall),
        "task": shortfall.task.text,
        "group": shortfall.budget.group,
        "unit": shortfall.budget.unit,
        "wanted": shortfall.wanted,
        "needs": shortfall.needs,
        "left": shortfall.left,
        "fitting": list(shortfall.fitting),
        "free_at": shortfall.free_at and shortfall.free_at.isoformat(),
        "answers": answers,
    }
    while True:
        answer = interrupt(question)
        if isinstance(answer, str) and answer in answers:
            return answer
