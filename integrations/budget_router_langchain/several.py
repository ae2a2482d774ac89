"""Several generations in one request, its prompt billed once, where the model's class offers them."""

from typing import Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig

from budget_router_langchain.tuned import as_messages

FIELD = "n"
"""Of a chat model: how many generations a request asks for."""
MAX_GENERATIONS = 128
"""That one request may ask for: the limit of OpenAI's chat completions."""
NOT_SERVED = frozenset({"ChatGroq", "ChatDeepSeek"})
"""Classes that have the field, and whose providers give one generation whatever it says."""
REFUSED = frozenset({400, 404, 422, 501})
"""HTTP status of a request that a provider does not serve as it is; none of them is billed."""


def offers_several(model: BaseChatModel) -> bool:
    """Tell whether a model may be asked for several generations at once; OpenAI's Responses API gives one."""
    is_served = FIELD in type(model).model_fields and not NOT_SERVED & {kind.__name__ for kind in type(model).__mro__}
    return is_served and not getattr(model, "use_responses_api", False)


def is_refusal(error: BaseException) -> bool:
    """Tell whether a provider refused a request as such, so that nothing was billed and another one may be served."""
    step: BaseException | None = error
    while step is not None:
        status = getattr(step, "status_code", None) or getattr(step, "code", None)
        if isinstance(status, int) and status in REFUSED:
            return True
        step = step.__cause__
    return False


class Several(Runnable[LanguageModelInput, list[AIMessage]]):
    """Stands where a chat model stood, and asks it for `n_samples` replies in one request; there may come fewer, never more."""

    def __init__(self, model: BaseChatModel, n_samples: int) -> None:
        self.model = asking(model, n_samples)
        self.n_samples = n_samples

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **bound: Any) -> list[AIMessage]:  # noqa: A002  # Runnable's own name
        """Ask; Any: whatever is bound to the model."""
        return self._replies(self.model.generate([as_messages(input)], **_told(config), **bound))

    async def ainvoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **bound: Any) -> list[AIMessage]:  # noqa: A002
        """Do as `invoke`, in a coroutine."""
        return self._replies(await self.model.agenerate([as_messages(input)], **_told(config), **bound))

    def _replies(self, result: LLMResult) -> list[AIMessage]:
        generations = result.generations[0] if result.generations else []
        messages = [generation.message for generation in generations if isinstance(generation, ChatGeneration)]
        return [message for message in messages if isinstance(message, AIMessage)][: self.n_samples]


def asking(model: BaseChatModel, n_samples: int) -> BaseChatModel:
    """Copy a model so that it asks for so many; a stream would mix them up."""
    fields = type(model).model_fields
    update: dict[str, Any] = {"disable_streaming": True} if n_samples > 1 else {}  # Any: values of the model's own fields
    if FIELD in fields and (n_samples > 1 or (getattr(model, FIELD) or 1) > 1):
        update[FIELD] = n_samples  # of one that was set by hand as well: what nobody reads need not be paid
    if n_samples > 1 and "streaming" in fields:
        update["streaming"] = False
    return model.model_copy(update=update) if update else model


def _told(config: RunnableConfig | None) -> dict[str, Any]:  # Any: what each setting of a run is
    names = ("callbacks", "tags", "metadata", "run_name", "run_id")
    return {name: config.get(name) for name in names} if config else {}
