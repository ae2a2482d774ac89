"""Features of a task that are known before any answer; versioned, and the same for one task as for many."""

from budget_router.features.columns import Columns, Facts
from budget_router.features.featuriser import Featuriser
from budget_router.features.projection import NgramCounts, TextProjection, ngram_counts
from budget_router.features.ranges import OutOfRange, TrainedRange
from budget_router.features.structure import STRUCTURE_NAMES, STRUCTURE_VERSION, structural_features
from budget_router.features.tasks import Tasks

__all__ = [
    "STRUCTURE_NAMES",
    "STRUCTURE_VERSION",
    "Columns",
    "Facts",
    "Featuriser",
    "NgramCounts",
    "OutOfRange",
    "Tasks",
    "TextProjection",
    "TrainedRange",
    "ngram_counts",
    "structural_features",
]
