"""Learn more of what is recent: older decisions count for less, by a half-life."""

from datetime import timedelta

import numpy as np

from budget_router.allocation import FloatArray
from budget_router.errors import InvalidInput, NotEnoughEvidence
from budget_router.outcomes.table import OutcomeTable


def recent(table: OutcomeTable, half_life: timedelta, *, rng: np.random.Generator) -> OutcomeTable:
    """Keep each decision with probability `2^(-age / half_life)`, its age counted from the latest one.

    What is kept is a sample of traffic in which a decision of one half-life ago counts half, so all that is learned, solved and
    estimated from it is weighted so, with plain means and their plain errors. Weights in each of those would waste less: of a
    log much longer than the half-life they leave twice the effective sample.

    Args:
        table: one row per decision.
        half_life: age at which a decision counts half.
        rng: of the draw.

    Raises:
        InvalidInput: the half-life is not above zero.
        NotEnoughEvidence: the table does not tell when its decisions were made.

    Reference: Poisson sampling; Särndal, Swensson and Wretman (1992), Model Assisted Survey Sampling, section 3.5.
    """
    check_half_life(half_life)
    chance = chances(table, None, half_life)
    return table.rows(np.flatnonzero(rng.random(len(chance)) < chance))


def chances(table: OutcomeTable, latest: np.datetime64 | None, half_life: timedelta) -> FloatArray:
    """(n,) with which each decision is kept, by its age before the latest one, the table's own when not given."""
    if table.decided_at is None:
        raise NotEnoughEvidence("the table does not tell when its decisions were made: build it from evidence of a ledger")
    age = (table.decided_at.max() if latest is None else latest) - table.decided_at
    return np.asarray(np.exp2(-(age / np.timedelta64(half_life))))


def check_half_life(half_life: timedelta) -> None:
    """Raise InvalidInput for a half-life that is not above zero."""
    if half_life <= timedelta(0):
        raise InvalidInput(f"half_life is {half_life}: give a span above zero, such as timedelta(days=14)")
