"""Which tasks of a long log are learned from: of strategies that were seldom graded all that there are."""

import numpy as np

from budget_router.allocation import IntArray
from budget_router.outcomes import OutcomeTable

MAX_TRAINED_TASKS = 50_000
"""Tasks that are learned from: a line of a few dozen slopes and trees of bounded size learn no more from a million."""


def trained_rows(table: OutcomeTable, rng: np.random.Generator, *, most: int | None = None) -> IntArray:
    """Draw the rows of a table that train a policy, rising; all of them where they are not too many.

    Clusters are parted by the strategy, graded on the fewest tasks of all, that was graded in them, or by none having been. Each
    part gives as many tasks as the others, or all that it has: so of a strategy that exploration tries once in a thousand
    decisions all grades are learned from. Within a part clusters are drawn at random, the last one in part.

    Args:
        table: one row per task.
        rng: of the draw; not asked where all rows are taken.
        most: rows to draw; `MAX_TRAINED_TASKS` when not given.
    """
    most = MAX_TRAINED_TASKS if most is None else most
    n_rows = len(table.structure)
    if n_rows <= most:
        return np.arange(n_rows)
    cluster = table.cluster
    part = _part(table)[cluster]
    order = np.lexsort((rng.permutation(cluster.max() + 1)[cluster], part))
    size = np.bincount(part)
    rank = np.arange(n_rows) - (np.cumsum(size) - size)[part[order]]
    return np.sort(order[rank < _even_shares(size, most)[part[order]]])


def _part(table: OutcomeTable) -> IntArray:
    """(n_clusters,) column of the rarest strategy that was graded in each cluster; one more for none."""
    n_graded = table.is_observed.sum(axis=0)
    by_rarity = np.argsort(n_graded, kind="stable")
    place = np.where(table.is_observed[:, by_rarity], np.arange(len(by_rarity)), len(by_rarity)).min(axis=1)
    found = np.full(table.cluster.max() + 1, len(by_rarity))
    np.minimum.at(found, table.cluster, place)
    return found


def _even_shares(size: IntArray, total: int) -> IntArray:
    """(n_parts,) how much each part gives, so that they give `total` together, and none less than another but for want."""
    given, left = np.zeros_like(size), total
    for n_parts, part in zip(range(len(size), 0, -1), np.argsort(size, kind="stable").tolist(), strict=True):
        given[part] = min(int(size[part]), left // n_parts)
        left -= int(given[part])
    return given
