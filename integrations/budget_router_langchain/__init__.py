"""LangChain's door: put a chain under a budget, meter what chat models bill, execute a decision, record whole menus."""

try:
    import langchain_core  # noqa: F401  # only to say what is missing
except ImportError as error:
    raise ImportError("budget_router_langchain needs langchain-core: pip install 'budget-router[langchain]'") from error

from budget_router_langchain.booking import Booking, busy_seconds
from budget_router_langchain.budgeted import Budgeted, budget
from budget_router_langchain.bundles import LabelledTask
from budget_router_langchain.decorator import BudgetedFunction, budgeted
from budget_router_langchain.executor import aexecute, execute
from budget_router_langchain.feedback import grade_from_langsmith
from budget_router_langchain.meter import Listener, SpendMeter, meter
from budget_router_langchain.purse import SpendLimit
from budget_router_langchain.receipt import Receipt
from budget_router_langchain.recorder import Recording, record
from budget_router_langchain.sent import Sent
from budget_router_langchain.tuned import tuned

__all__ = [
    "Booking",
    "Budgeted",
    "BudgetedFunction",
    "LabelledTask",
    "Listener",
    "Receipt",
    "Recording",
    "Sent",
    "SpendLimit",
    "SpendMeter",
    "aexecute",
    "budget",
    "budgeted",
    "busy_seconds",
    "execute",
    "grade_from_langsmith",
    "meter",
    "record",
    "tuned",
]
