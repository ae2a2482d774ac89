"""What a policy is worth: off-policy estimates from logs, and comparisons at matched spend where outcomes are known."""

from budget_router.evaluation.estimate import Estimate, clustered_mean, paired_bootstrap
from budget_router.evaluation.matched import honest_oracle, mix_at_spend
from budget_router.evaluation.off_policy import doubly_robust

__all__ = ["Estimate", "clustered_mean", "doubly_robust", "honest_oracle", "mix_at_spend", "paired_bootstrap"]
