"""The value policy: what each strategy is worth on a task, and what it costs there."""

from budget_router.allocation import FloatArray
from budget_router.outcomes import OutcomeTable
from budget_router.policies.learned import LearnedPolicy


class ValuePolicy(LearnedPolicy):
    """Predicts accuracy and cost of every strategy, and prices them at decision time."""

    kind = "value"

    def _fit_score(self, features: FloatArray, table: OutcomeTable) -> None:
        """The predicted accuracy is the score."""

    def _score(self, features: FloatArray, cost: FloatArray, accuracy: FloatArray) -> FloatArray:  # noqa: ARG002  # the contract's
        return accuracy
