"""The door of LangChain's agents: `create_agent(model, tools, middleware=[BudgetMiddleware(router)])`."""

try:
    import langchain.agents  # noqa: F401  # only to say what is missing
except ImportError as error:
    raise ImportError("budget_router_agents needs langchain: pip install 'budget-router[agents]'") from error

from budget_router_agents.middleware import BudgetMiddleware
from budget_router_agents.vote_key import vote_key

__all__ = ["BudgetMiddleware", "vote_key"]
