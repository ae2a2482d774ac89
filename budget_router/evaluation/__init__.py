"""What a policy is worth: off-policy estimates from logs, and comparisons at matched spend where outcomes are known."""

from budget_router.evaluation.comparison import Comparison, Estimates, Worth, compare, static_mix
from budget_router.evaluation.confidence_sequence import (
    ConfidenceSequence,
    canary_gain,
    confidence_sequence,
    sequence_half_width,
)
from budget_router.evaluation.estimate import Estimate, clustered_mean, paired_bootstrap
from budget_router.evaluation.gate import Condition, Gate, Verdict
from budget_router.evaluation.judgement import Judgement
from budget_router.evaluation.live import Live, LiveComparison, compared
from budget_router.evaluation.matched import HonestOracle, honest_oracle, mix_at_spend, mixes_at_spend
from budget_router.evaluation.off_policy import OffPolicyEstimate, doubly_robust, dr, dr_terms, ips, snips
from budget_router.evaluation.overlap import graded_share_doubt
from budget_router.evaluation.regret import ImitationRegret, imitation_regret
from budget_router.evaluation.revealed import Revealed
from budget_router.evaluation.reward_model import cross_fitted
from budget_router.evaluation.rivals import Rivals
from budget_router.evaluation.routing_curve import RoutingCurve, aiq, routing_curve, threshold_curve

__all__ = [
    "Comparison",
    "Condition",
    "ConfidenceSequence",
    "Estimate",
    "Estimates",
    "Gate",
    "HonestOracle",
    "ImitationRegret",
    "Judgement",
    "Live",
    "LiveComparison",
    "OffPolicyEstimate",
    "Revealed",
    "Rivals",
    "RoutingCurve",
    "Verdict",
    "Worth",
    "aiq",
    "canary_gain",
    "clustered_mean",
    "compare",
    "compared",
    "confidence_sequence",
    "cross_fitted",
    "doubly_robust",
    "dr",
    "dr_terms",
    "graded_share_doubt",
    "honest_oracle",
    "imitation_regret",
    "ips",
    "mix_at_spend",
    "mixes_at_spend",
    "paired_bootstrap",
    "routing_curve",
    "sequence_half_width",
    "snips",
    "static_mix",
    "threshold_curve",
]
