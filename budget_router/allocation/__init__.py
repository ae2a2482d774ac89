"""Numbers: the best allocation of strategies to tasks under an average budget (Li et al. 2026, arXiv 2604.14853).

Maximise mean accuracy subject to mean cost ≤ budget, one strategy per task. Lagrangian relaxation decomposes the problem: at a
shadow price λ each task takes `argmax_k accuracy[i, k] - λ cost[i, k]`, and mean cost never rises with λ. The λ at which the
allocation changes are the slopes of each task's upper concave hull, so the whole accuracy-budget curve comes from one sort.

>>> import numpy as np
>>> accuracy = np.array([[0.5, 0.9], [0.8, 0.9]])
>>> cost = np.array([[1.0, 5.0], [1.0, 5.0]])
>>> allocation = solve(accuracy, cost, budget=3.0)
>>> allocation.actions.tolist(), allocation.spend
([1, 0], 3.0)
"""

from budget_router.allocation.constraints import Limit
from budget_router.allocation.core import Mix
from budget_router.allocation.frontier import Frontier, FrontierPoint, Price, frontier, trace
from budget_router.allocation.lagrangian import Allocation, Split, solve, solve_table
from budget_router.allocation.many import ManyAllocation, MixedAllocation, solve_many
from budget_router.allocation.oracle import cheapest_argmax, oracle_actions
from budget_router.allocation.shrinkage import shrink
from budget_router.allocation.table import ArrayTable, Chunk, FloatArray, IntArray, Table

__all__ = [
    "Allocation",
    "ArrayTable",
    "Chunk",
    "FloatArray",
    "Frontier",
    "FrontierPoint",
    "IntArray",
    "Limit",
    "ManyAllocation",
    "Mix",
    "MixedAllocation",
    "Price",
    "Split",
    "Table",
    "cheapest_argmax",
    "frontier",
    "oracle_actions",
    "shrink",
    "solve",
    "solve_many",
    "solve_table",
    "trace",
]
