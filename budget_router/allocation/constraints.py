"""Several budgets over one table: which costs they limit, on which tasks, and what a vector of prices makes of it.

A budget that is one number is an average over all tasks. One that maps groups to numbers is an average over each group's own
tasks. Each such number is a limit with its own dual variable; a task pays for a cost what the limits on it ask together.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from budget_router.allocation.passes import Total
from budget_router.allocation.table import CHUNK_CELLS, AnyArray, ArrayTable, Chunk, FloatArray, IntArray, check_chunk
from budget_router.errors import InvalidTable

Costs = ArrayLike | Mapping[str, ArrayLike]
"""(n_constraints, n_tasks, n_strategies), or tables by name."""
Budgets = Mapping[str, "float | Mapping[Hashable, float]"] | Sequence["float | Mapping[Hashable, float]"]
"""One for each table of costs: a number for all tasks, or numbers by group."""


class Limit(NamedTuple):
    """One average that may not be passed."""

    name: str
    """Of the cost it limits."""
    group: Hashable | None
    """Whose tasks it averages over; None: all."""
    budget: float
    """Mean cost per task of those."""

    def __str__(self) -> str:
        """As an error names it."""
        return self.name if self.group is None else f"{self.name} of {self.group!r}"


@dataclass(frozen=True)
class Constraints:
    """A table of accuracies, tables of costs, and their limits; values are checked."""

    accuracy: AnyArray
    """(n_tasks, n_strategies)."""
    costs: tuple[AnyArray, ...]
    """(n_tasks, n_strategies) each."""
    weights: FloatArray
    """(n_tasks,) tasks that each row stands for."""
    codes: IntArray
    """(n_tasks,) number of the group of each task."""
    limits: tuple[Limit, ...]
    table_of: IntArray
    """(n_limits,) place in `costs` of what each limits."""
    covers: NDArray[np.bool_]
    """(n_limits, n_groups) whether a limit averages over a group's tasks."""

    @property
    def n_tasks(self) -> int:
        """Rows."""
        return len(self.accuracy)

    @property
    def n_strategies(self) -> int:
        """Columns."""
        return int(self.accuracy.shape[1])

    @cached_property
    def weight(self) -> FloatArray:
        """(n_limits,) sum of the weights of the tasks that each limit averages over."""
        return np.asarray(self.covers @ np.bincount(self.codes, self.weights, self.covers.shape[1]))

    @cached_property
    def allowed(self) -> FloatArray:
        """(n_limits,) sum of costs that each limit allows."""
        return np.array([limit.budget for limit in self.limits]) * self.weight

    def rows(self) -> Iterator[slice]:
        """Neighbouring rows, few enough to be worked on at once."""
        step = max(CHUNK_CELLS // self.n_strategies, 1)
        return (slice(start, min(start + step, self.n_tasks)) for start in range(0, self.n_tasks, step))

    def prices(self, multipliers: FloatArray) -> FloatArray:
        """(n_tables, n_groups) what a unit of each cost is worth to the tasks of each group."""
        prices = np.zeros((len(self.costs), self.covers.shape[1]))
        np.add.at(prices, self.table_of, self.covers * multipliers[:, None])
        return prices

    def priced(self, multipliers: FloatArray, rows: slice | IntArray) -> FloatArray:
        """(n_rows, n_strategies) cost of every strategy at the multipliers."""
        prices = self.prices(multipliers)[:, self.codes[rows], None]
        cost = np.zeros((prices.shape[1], self.n_strategies))
        for price, table in zip(prices, self.costs, strict=True):
            cost += price * table[rows]
        return cost

    def used(self, actions: IntArray, rows: IntArray | None = None) -> FloatArray:
        """(n_limits,) sum of costs of the actions of all tasks, or of those of some rows alone."""
        sums = np.zeros((len(self.costs), self.covers.shape[1]), Total)
        places = np.arange(self.n_tasks) if rows is None else rows
        step = max(CHUNK_CELLS // self.n_strategies, 1)
        for start in range(0, len(places), step):
            part = places[start : start + step]
            for place, table in enumerate(self.costs):
                spent = self.weights[part] * table[part, actions[part]]
                sums[place] += (
                    np.bincount(self.codes[part], spent, self.covers.shape[1]) if self.covers.shape[1] > 1 else spent.sum()
                )
        return np.asarray((self.covers * sums[self.table_of]).sum(axis=1), np.float64)

    def scoped(self, limit: int, rows: IntArray) -> FloatArray:
        """(n_rows, n_strategies) what every strategy of some rows adds to one limit; 0 for tasks of other groups."""
        scope = self.weights[rows] * self.covers[limit, self.codes[rows]]
        return np.asarray(scope[:, None] * self.costs[self.table_of[limit]][rows])

    def apart(self) -> "list[tuple[IntArray, IntArray, Constraints]]":
        """Problems that share no task nor limit, each with its rows and limits: the groups, if no limit covers two of them."""
        if self.covers.shape[1] == 1 or (self.covers.sum(axis=1) > 1).any():
            return [(np.arange(self.n_tasks), np.arange(len(self.limits)), self)]
        order = np.argsort(self.codes, kind="stable")
        parts = []
        for group, rows in enumerate(np.split(order, np.cumsum(np.bincount(self.codes))[:-1])):
            limits = np.flatnonzero(self.covers[:, group])
            part = Constraints(
                self.accuracy[rows],
                tuple(cost[rows] for cost in self.costs),
                self.weights[rows],
                np.zeros(len(rows), np.intp),
                tuple(self.limits[limit] for limit in limits),
                self.table_of[limits],
                np.ones((len(limits), 1), np.bool_),
            )
            parts.append((rows, limits, part))
        return parts


def read(accuracy: ArrayLike, costs: Costs, budgets: Budgets, groups: ArrayLike | None, weights: ArrayLike | None) -> Constraints:
    """Check all that is given, as it came from the caller.

    Raises:
        InvalidTable: as `solve`; names, numbers of tables and budgets, or groups do not match.
    """
    tables, averages = _named(costs, budgets)
    checked = [ArrayTable(accuracy, table, weights) for table in tables.values()]
    for table in checked:
        for chunk in Chunk(0, table.accuracy, table.cost, table.weights).parts():
            check_chunk(chunk)
    n_tasks = checked[0].n_tasks
    weight = np.ones(n_tasks) if checked[0].weights is None else checked[0].weights.astype(np.float64)
    labels, codes = _groups(groups, n_tasks)
    if not (np.bincount(codes, weight) > 0).all():
        raise InvalidTable("weights are all 0: at least one task of each group must count")
    return Constraints(checked[0].accuracy, tuple(table.cost for table in checked), weight, codes, *_limits(averages, labels))


def _limits(
    averages: "dict[str, float | Mapping[Hashable, float]]", labels: tuple[Hashable, ...]
) -> tuple[tuple[Limit, ...], IntArray, NDArray[np.bool_]]:
    limits, table_of, covers = [], [], []
    for table, (name, average) in enumerate(averages.items()):
        for group, budget in _by_group(name, average, labels).items():
            limit = Limit(name, group, float(budget))
            if not np.isfinite(limit.budget):
                raise InvalidTable(f"budget of {limit} is {limit.budget}: give a finite mean cost per task")
            limits.append(limit)
            table_of.append(table)
            covers.append([group is None or label == group for label in labels])
    return tuple(limits), np.array(table_of), np.array(covers)


def _by_group(name: str, average: "float | Mapping[Hashable, float]", labels: tuple[Hashable, ...]) -> dict[Hashable, float]:
    if not isinstance(average, Mapping):
        return {None: average}
    if set(average) != set(labels):
        raise InvalidTable(
            f"budgets of {name} are for groups {sorted(map(str, average))}, "
            f"tasks are of groups {sorted(map(str, labels))}: give one for each"
        )
    return {label: average[label] for label in labels}


def _named(costs: Costs, budgets: Budgets) -> "tuple[dict[str, ArrayLike], dict[str, float | Mapping[Hashable, float]]]":
    if isinstance(costs, Mapping) and isinstance(budgets, Mapping):
        if set(costs) != set(budgets) or not costs:
            raise InvalidTable(f"costs are of {sorted(costs)}, budgets of {sorted(budgets)}: give a budget for each cost")
        return dict(costs), {name: budgets[name] for name in costs}
    if isinstance(costs, Mapping) or isinstance(budgets, Mapping):
        raise InvalidTable("of costs and budgets only one is by name: give two mappings, or two sequences")
    tables: list[ArrayLike] = list(costs)  # type: ignore[arg-type]  # of what numpy reads, a sequence is left
    averages = list(budgets)
    if len(tables) != len(averages) or not tables:
        raise InvalidTable(f"costs hold {len(tables)} tables, budgets {len(averages)} numbers: give a budget for each cost")
    names = [f"cost {number}" for number in range(len(tables))]
    return dict(zip(names, tables, strict=True)), dict(zip(names, averages, strict=True))


def _groups(groups: ArrayLike | None, n_tasks: int) -> tuple[tuple[Hashable, ...], IntArray]:
    if groups is None:
        return (None,), np.zeros(n_tasks, np.intp)
    labels = np.asarray(groups)
    if labels.shape != (n_tasks,):
        raise InvalidTable(f"groups has shape {labels.shape}: it must be ({n_tasks},), one label per task")
    names, codes = np.unique(labels, return_inverse=True)
    return tuple(names.tolist()), codes.astype(np.intp)
