"""From logs to a table: what each strategy would have scored and cost, with how sure that is."""

from budget_router.outcomes.escalation import FirstVote, escalation_value
from budget_router.outcomes.recency import recent
from budget_router.outcomes.stopping import StoppedVote, certainty, early_stop_value, is_decided
from budget_router.outcomes.table import OutcomeTable
from budget_router.outcomes.vote_accuracy import vote_accuracy

__all__ = [
    "FirstVote",
    "OutcomeTable",
    "StoppedVote",
    "certainty",
    "early_stop_value",
    "escalation_value",
    "is_decided",
    "recent",
    "vote_accuracy",
]
