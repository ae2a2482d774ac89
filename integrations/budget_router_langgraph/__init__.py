"""LangGraph's door: a node that decides, a route by strategy, nodes that settle and grade, and one that does all of it."""

try:
    import langgraph  # noqa: F401  # only to say what is missing
except ImportError as error:
    raise ImportError("budget_router_langgraph needs langgraph: pip install 'budget-router[langgraph]'") from error

from budget_router_langchain.asked import last_turn, task_from
from budget_router_langchain.budget_state import BudgetState
from budget_router_langgraph.asking import ask_by_interrupt
from budget_router_langgraph.facts import agent_facts
from budget_router_langgraph.grading import GradeNode
from budget_router_langgraph.nodes import BudgetNode, SettleNode, route_by_strategy
from budget_router_langgraph.reasoner import budgeted_reasoner
from budget_router_langgraph.state import BudgetChannel, BudgetIO
from budget_router_langgraph.wanting import BudgetOverride

__all__ = [
    "BudgetChannel",
    "BudgetIO",
    "BudgetNode",
    "BudgetOverride",
    "BudgetState",
    "GradeNode",
    "SettleNode",
    "agent_facts",
    "ask_by_interrupt",
    "budgeted_reasoner",
    "last_turn",
    "route_by_strategy",
    "task_from",
]
