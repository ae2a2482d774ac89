"""From logs to a table: what each strategy would have scored and cost, with how sure that is."""

from budget_router.outcomes.table import OutcomeTable
from budget_router.outcomes.vote_accuracy import vote_accuracy

__all__ = ["OutcomeTable", "vote_accuracy"]
