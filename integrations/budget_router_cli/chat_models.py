"""Chat models by name, as LangChain's `init_chat_model` makes them.

A local server that speaks OpenAI's protocol is `openai:NAME` with `OPENAI_BASE_URL` set to its address.
"""

from langchain_core.language_models import BaseChatModel

from budget_router import Menu
from budget_router.errors import InvalidInput


def chat_model(name: str) -> BaseChatModel:
    """Make a chat model; raises InvalidInput where its name, its package or its key is missing."""
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise InvalidInput("models by name need langchain: pip install 'budget-router[agents]'") from error
    try:
        return init_chat_model(name)
    except Exception as error:  # each provider's package refuses in its own way, and nothing has been paid
        raise InvalidInput(f"model {name!r} cannot be made: {error}") from error


def named_models(menu: Menu) -> dict[str, BaseChatModel]:
    """The models that a menu's strategies name, by that name."""
    names = {stage.sampling.model for stage in menu.bundles() if stage.sampling.model is not None}
    return {name: chat_model(name) for name in sorted(names)}
