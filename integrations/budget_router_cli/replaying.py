"""A chat model that serves recorded replies with their true usage, so that agent, meter and vote run as they would live."""

import threading
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from budget_router.errors import InvalidInput
from budget_router.menu import Sampling
from budget_router_cli.recording import Deck


class ReplayingModel(BaseChatModel):
    """Recognises a recorded task among its messages, and replies with the deck's next completion of what it is set to.

    Args:
        deck: of the recorded replies.
        plays: name of the model that it stands for, where strategies name one.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    thinking_budget: int | None = None
    plays: str | None = None

    _deck: Deck = PrivateAttr()
    _lock: Any = PrivateAttr(default_factory=threading.Lock)  # Any: a lock's class has no public name

    def __init__(self, deck: Deck, **settings: Any) -> None:  # Any: pydantic checks them
        super().__init__(**settings)
        self._deck = deck

    @property
    def _llm_type(self) -> str:
        return "replay"

    @property
    def _model_name(self) -> str:
        return self.plays or self._deck.recording.model

    @property
    def _identifying_params(self) -> dict[str, Any]:  # Any: LangChain's own signature
        return {"model_name": self._model_name}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:  # Any: LangChain's own signature
        return {**super()._get_ls_params(stop=stop, **kwargs), "ls_model_name": self._model_name}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002  # LangChain's own signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        with self._lock:
            reply = self._deck.draw(self._task(messages), self._sampling(messages))
        message = AIMessage(
            reply.text,
            usage_metadata={
                "input_tokens": reply.prompt_tokens,
                "output_tokens": reply.completion_tokens,
                "total_tokens": reply.prompt_tokens + reply.completion_tokens,
            },
            response_metadata={"model_name": self._model_name},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _sampling(self, messages: list[BaseMessage]) -> Sampling:
        """The recorded sampling that the model is set to, by its longest instruction that it was given."""
        said = "\n".join(str(message.text) for message in messages if message.type == "system")
        mine = (self.plays, self.temperature, self.max_tokens, self.reasoning_effort, self.thinking_budget)
        recorded = {one.sampling: None for one in self._deck.recording.menu}
        for sampling in sorted(recorded, key=lambda one: -len(one.instruction or "")):
            of = (sampling.model, sampling.temperature, sampling.max_tokens, sampling.effort, sampling.max_thinking_tokens)
            if of == mine and (sampling.instruction or "") in said:
                return sampling
        raise InvalidInput("no recorded prompt among the system messages: decide by the recording's menu")

    def _task(self, messages: list[BaseMessage]) -> str:
        for message in reversed(messages):
            if message.type == "human" and (task := self._deck.recording.by_text.get(str(message.text))):
                return str(task.id)
        raise InvalidInput("no recorded task among the human messages: ask one of the recording's")
