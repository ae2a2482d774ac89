"""One step of an agent as a source of samples: what its handler makes of the request, tuned to the strategy."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from langchain.agents.middleware import ModelRequest, ModelResponse
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda

from budget_router.costs import limits
from budget_router.menu import Sampling, stages
from budget_router.records import Decision
from budget_router_langchain import tuned
from budget_router_langchain.tuned import chosen, instructed

Asked = ModelRequest[Any]  # Any: the user's own context
Replied = ModelResponse[Any]  # Any: the user's own structured response
Handler = Callable[[Asked], Replied] | Callable[[Asked], Awaitable[Replied]]


class Step:
    """Draws the samples of one model call of an agent.

    Raises:
        InvalidInput: the strategy asks for what the model does not offer.
    """

    def __init__(self, handler: Handler, asked: Asked, decision: Decision, models: Mapping[str, BaseChatModel]) -> None:
        strategy = decision.strategy
        at_most = limits(strategy, decision.budget)
        streams = strategy.n_samples == 1
        self._ask: RunnableLambda[Asked, Replied] = RunnableLambda(handler)
        self._requests: dict[Sampling, Asked] = {
            sampling: asked.override(
                model=tuned(chosen(sampling, asked.model, models), sampling, streams=streams, at_most=at_most.get(sampling)),
                system_message=_instructed(asked.system_message, sampling.instruction),
            )
            for sampling in (stage.sampling for stage in stages(strategy))
        }

    def asks(self, sampling: Sampling) -> str | None:  # noqa: ARG002  # as below
        """Not known: a handler may do anything."""
        return None

    def width(self, sampling: Sampling) -> int:  # noqa: ARG002  # a handler makes one reply
        """One sample a run."""
        return 1

    def ready(self, sampling: Sampling) -> None:
        """Samples have nothing in common but the request."""

    async def aready(self, sampling: Sampling) -> None:
        """Do as `ready`."""

    def draw(self, sampling: Sampling, n_samples: int, config: RunnableConfig) -> Sequence[Replied]:  # noqa: ARG002
        """Ask once."""
        return [self._ask.invoke(self._requests[sampling], config)]

    async def adraw(self, sampling: Sampling, n_samples: int, config: RunnableConfig) -> Sequence[Replied]:  # noqa: ARG002
        """Ask once, in a coroutine."""
        return [await self._ask.ainvoke(self._requests[sampling], config)]


def _instructed(system_message: SystemMessage | None, instruction: str | None) -> SystemMessage | None:
    leading = instructed([system_message] if system_message else [], instruction)
    return leading[0] if leading and isinstance(leading[0], SystemMessage) else None
