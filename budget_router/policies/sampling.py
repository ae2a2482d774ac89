"""Which tasks of a long log are learned from: of strategies that were seldom graded all that there are."""

import numpy as np
from numpy.typing import NDArray

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
    by_rarity = np.argsort(table.is_observed.sum(axis=0), kind="stable")
    return drawn_rows(rarest(table.is_observed, by_rarity), table.cluster, len(by_rarity), rng, most=most)


def rarest(is_observed: NDArray[np.bool_], by_rarity: IntArray) -> NDArray[np.int16]:
    """(n_tasks,) place of the rarest strategy that each task was graded with, from 0; the number of strategies for none.

    Args:
        is_observed: (n_tasks, n_strategies).
        by_rarity: (n_strategies,) columns, the strategy that was graded on the fewest tasks first.
    """
    n_strategies = len(by_rarity)
    place = np.where(is_observed[:, by_rarity], np.arange(n_strategies, dtype=np.int16), np.int16(n_strategies))
    return np.asarray(place.min(axis=1, initial=n_strategies))


def drawn_rows(
    rarest: NDArray[np.int16], cluster: IntArray, n_strategies: int, rng: np.random.Generator, *, most: int | None = None
) -> IntArray:
    """Draw rows by the rarest strategy of each, as `trained_rows` does.

    Args:
        rarest: (n_tasks,) as `rarest` tells.
        cluster: (n_tasks,) numbers from 0.
        n_strategies: of the menu.
        rng: of the draw.
        most: rows to draw.
    """
    most = MAX_TRAINED_TASKS if most is None else most
    n_rows = len(cluster)
    if n_rows <= most:
        return np.arange(n_rows)
    found = np.full(cluster.max() + 1, n_strategies)
    np.minimum.at(found, cluster, rarest)
    part = found[cluster]
    order = np.lexsort((rng.permutation(cluster.max() + 1)[cluster], part))
    size = np.bincount(part)
    rank = np.arange(n_rows) - (np.cumsum(size) - size)[part[order]]
    return np.sort(order[rank < _even_shares(size, most)[part[order]]])


def _even_shares(size: IntArray, total: int) -> IntArray:
    """(n_parts,) how much each part gives, so that they give `total` together, and none less than another but for want."""
    given, left = np.zeros_like(size), total
    for n_parts, part in zip(range(len(size), 0, -1), np.argsort(size, kind="stable").tolist(), strict=True):
        given[part] = min(int(size[part]), left // n_parts)
        left -= int(given[part])
    return given
