"""Where a policy stands among its baselines, on logged decisions that it did not learn from."""

from budget_router.placing.judging import Fold, Judged, fitted, judge, on_later
from budget_router.placing.placed import Placed, frontier_of

__all__ = ["Fold", "Judged", "Placed", "fitted", "frontier_of", "judge", "on_later"]
