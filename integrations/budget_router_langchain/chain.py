"""A chain as a source of samples.

What stands before its first chat model is run once for a decision, the rest once for each sample. Where that model's class
offers several generations in one request, a vote is one request, and what follows the model is run on each of its replies.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableBinding, RunnableConfig, RunnableLambda
from langchain_core.runnables.configurable import DynamicRunnable

from budget_router.errors import InvalidInput
from budget_router.menu import Sampling, Stage, Strategy, stages
from budget_router_langchain.rewriting import Chain, asks, in_sequence, models_of, nodes_of, rewritten, steps_of
from budget_router_langchain.settings import model_name
from budget_router_langchain.several import MAX_GENERATIONS, Several, asking, offers_several
from budget_router_langchain.tuned import chosen, tuned

Models = Mapping[str, BaseChatModel]
NO_LIMITS: Mapping[Sampling, int] = MappingProxyType({})


class Body(NamedTuple):
    """What is run for each sample, tuned to a sampling."""

    whole: Chain
    asking: Chain | None
    """Its first step alone, where that asks a model that offers several generations."""
    rest: Chain | None
    """The steps after that."""
    model: str | None
    """Name of the model that the whole of it is, but for what is bound to it."""

    def at_once(self, n_samples: int) -> Chain:
        """Draws several samples in one request; gives a list of outputs, and errors where `rest` failed on a reply."""
        several = rewritten(self.asking or self.whole, lambda model: Several(model, n_samples))
        rest = self.rest
        if rest is None:
            return several

        def each(replies: list[AIMessage], config: RunnableConfig) -> list[Any]:
            return rest.batch(replies, config, return_exceptions=True)

        async def aeach(replies: list[AIMessage], config: RunnableConfig) -> list[Any]:
            return await rest.abatch(replies, config, return_exceptions=True)

        return several | RunnableLambda(each, aeach)


class BudgetedChain:
    """A chain made ready to be run as strategies say: split, and tuned once for each sampling.

    Args:
        chain: any runnable.
        models: for strategies that name one, by that name.
        is_tuned: whether the settings of strategies are in it already.
    """

    def __init__(self, chain: Chain, models: Models, *, is_tuned: bool = False) -> None:
        steps = steps_of(chain)
        place = next((place for place, step in enumerate(steps) if any(models_of(step))), 0)
        self.whole = chain
        self.head = in_sequence(steps[:place]) if place else None
        self.steps = steps[place:]
        self.models = models
        self.is_tuned = is_tuned
        self._bodies: dict[tuple[Sampling, bool, int | None], Body] = {}

    def body(self, sampling: Sampling, *, streams: bool, at_most: int | None = None) -> Body:
        """What is run for each sample, of `at_most` so many tokens.

        Raises:
            InvalidInput: the chain cannot be run as the sampling says.
        """
        key = sampling, streams, at_most
        if key not in self._bodies:
            self._bodies[key] = self._made(Sampling() if self.is_tuned else sampling, streams=streams, at_most=at_most)
        return self._bodies[key]

    def bound(self, settings: dict[str, Any]) -> "BudgetedChain":  # Any: whatever its first step takes
        """The chain with settings of one call, which go to its first step as a sequence's do."""
        first, *others = steps_of(self.whole)
        return self.changed(lambda _: in_sequence([first.bind(**settings), *others]))

    def changed(self, change: Callable[[Any], Chain]) -> "BudgetedChain":  # Any: the user's own chain
        """Another chain, made ready alike."""
        return BudgetedChain(change(self.whole), self.models, is_tuned=self.is_tuned)

    @property
    def shows_models(self) -> bool:
        """Whether its structure shows the chat models that it calls."""
        return any(models_of(self.whole))

    def _made(self, sampling: Sampling, *, streams: bool, at_most: int | None) -> Body:
        first, *others = self.steps
        shown = list(models_of(self.whole))
        if not shown and (asked := sampling.model_dump(exclude_none=True)):
            raise InvalidInput(
                f"a strategy sets {', '.join(asked)}, and the chain shows no chat model that could be set: write it as a "
                "factory, a function without parameters that returns the chain, or with the one parameter strategy to set it "
                "yourself"
            )
        if sampling.model is not None:
            _check_route(self.whole, chosen(sampling, shown[0], self.models))

        def change(model: BaseChatModel) -> BaseChatModel:
            return asking(tuned(chosen(sampling, model, self.models), sampling, streams=streams, at_most=at_most), 1)

        steps = [rewritten(step, change, sampling.instruction) for step in (first, *others)]
        is_fixed = not any(isinstance(node, DynamicRunnable) for node in nodes_of(first))
        offers = is_fixed and asks(first) and all(map(offers_several, models_of(steps[0])))
        whole = in_sequence(steps)
        return Body(whole, steps[0] if offers else None, in_sequence(steps[1:]) if others else None, _model_of(whole))


class Samples:
    """Draws the samples of one call of a chain.

    Args:
        chain_of: the chain of a stage of the strategy; for all stages the same one, unless a factory makes them.
        strategy: decided on.
        given: the call's input.
        config: of the call's own run.
        streams: whether tokens may go to whoever listens; those of one sample of several are no answer yet.
        limits: most tokens of an answer where a hard cap alone limits it.

    Raises:
        InvalidInput: the chain cannot be run as the strategy says.
    """

    def __init__(
        self,
        chain_of: Callable[[Stage], BudgetedChain],
        strategy: Strategy,
        given: Any,  # the user's own input
        config: RunnableConfig,
        *,
        streams: bool,
        limits: Mapping[Sampling, int] = NO_LIMITS,
    ) -> None:
        self.given = given
        self.config = config
        self.chains = {stage.sampling: chain_of(stage) for stage in stages(strategy)}
        self._bodies = {
            sampling: chain.body(sampling, streams=streams, at_most=limits.get(sampling))
            for sampling, chain in self.chains.items()
        }
        self._prompts: dict[int, Any] = {}

    def asks(self, sampling: Sampling) -> str | None:
        """Name of the model that the chain is, but for what is bound to it."""
        return self._bodies[sampling].model

    def width(self, sampling: Sampling) -> int:
        """As many as one request gives, where the chain's model offers several."""
        return MAX_GENERATIONS if self._bodies[sampling].asking is not None else 1

    def ready(self, sampling: Sampling) -> None:
        """Run what stands before the first chat model."""
        chain = self.chains[sampling]
        if id(chain) not in self._prompts:
            self._prompts[id(chain)] = self.given if chain.head is None else chain.head.invoke(self.given, self.config)

    async def aready(self, sampling: Sampling) -> None:
        """Do as `ready`, in a coroutine."""
        chain = self.chains[sampling]
        if id(chain) not in self._prompts:
            self._prompts[id(chain)] = self.given if chain.head is None else await chain.head.ainvoke(self.given, self.config)

    def draw(self, sampling: Sampling, n_samples: int, config: RunnableConfig) -> Sequence[Any]:
        """Run the chain once, or what follows its model on each of several replies."""
        body, prompt = self._bodies[sampling], self._prompt(sampling)
        if n_samples == 1 or body.asking is None:
            return [body.whole.invoke(prompt, config)]
        drawn: list[Any] = body.at_once(n_samples).invoke(prompt, config)
        return drawn

    async def adraw(self, sampling: Sampling, n_samples: int, config: RunnableConfig) -> Sequence[Any]:
        """Do as `draw`, in a coroutine."""
        body, prompt = self._bodies[sampling], self._prompt(sampling)
        if n_samples == 1 or body.asking is None:
            return [await body.whole.ainvoke(prompt, config)]
        drawn: list[Any] = await body.at_once(n_samples).ainvoke(prompt, config)
        return drawn

    def stream(self, sampling: Sampling, config: RunnableConfig) -> Generator[Any, None, None]:
        """Run the chain once, piece by piece."""
        stream = self._bodies[sampling].whole.stream(self._prompt(sampling), config)
        return cast("Generator[Any, None, None]", stream)  # that is what every runnable's is, though LangChain promises less

    def astream(self, sampling: Sampling, config: RunnableConfig) -> AsyncGenerator[Any, None]:
        """Do as `stream`, in a coroutine."""
        stream = self._bodies[sampling].whole.astream(self._prompt(sampling), config)
        return cast("AsyncGenerator[Any, None]", stream)  # likewise

    def _prompt(self, sampling: Sampling) -> Any:
        return self._prompts[id(self.chains[sampling])]


def _model_of(step: Chain) -> str | None:
    while type(step) is RunnableBinding:  # those that inherit from it have runs of their own
        step = step.bound
    return (model_name(step) or type(step).__name__) if isinstance(step, BaseChatModel) else None


def _check_route(chain: Chain, other: BaseChatModel) -> None:
    """Refuse to hand one provider's own settings, such as tools in its format, to another one."""
    for node in nodes_of(chain):
        if isinstance(node, RunnableBinding) and node.kwargs and (first := next(models_of(node), None)):
            theirs, ours = type(first).__name__, type(other).__name__
            if theirs != ours:
                raise InvalidInput(
                    f"a strategy runs on a {ours}, and the chain has bound {', '.join(node.kwargs)} to a {theirs}, in its "
                    "format: write it as a factory with the one parameter strategy, which binds them to the model that this names"
                )
