"""`@budgeted(router)`: a budget on a chain, on a factory that makes one, or on any function that calls chat models."""

import functools
import inspect
import threading
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar, overload

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableLambda

from budget_router.errors import InvalidInput
from budget_router.menu import Stage
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule
from budget_router_langchain.asked import TaskSource
from budget_router_langchain.budgeted import Budgeted, budget
from budget_router_langchain.chain import BudgetedChain
from budget_router_langchain.receipt import output_answer
from budget_router_langchain.rewriting import Chain

Given = ParamSpec("Given")
Answered = TypeVar("Answered")

STRATEGY = "strategy"
"""Parameter of a function that is given the strategy it is run under: a stage of it, where that is an escalation."""


class BudgetedFunction(Generic[Given, Answered]):
    """A function under a budget, called as before; `await` it where it is a coroutine function.

    `with_receipt` takes the same arguments, and gives the receipt beside what the function gave.
    """

    def __init__(self, function: Callable[Given, Answered], runnable: Budgeted[dict[str, Any], Answered]) -> None:
        functools.update_wrapper(self, function)
        self.runnable = runnable
        """The same as a runnable, which takes the arguments by name."""
        self._is_async = inspect.iscoroutinefunction(function)
        self._signature = _without_strategy(inspect.signature(function))

    def __call__(self, *given: Given.args, **named: Given.kwargs) -> Answered:
        """Decide, call, vote, settle."""
        arguments = self._arguments(given, named)
        answered: Any = (
            self.runnable.ainvoke(arguments) if self._is_async else self.runnable.invoke(arguments)
        )  # Any: or its coroutine
        return answered  # type: ignore[no-any-return]  # what the function itself gives, or a coroutine of it

    def with_receipt(self, *given: Given.args, **named: Given.kwargs) -> Any:  # a pair, or a coroutine of one
        """Do as a call, and give the receipt too."""
        arguments = self._arguments(given, named)
        return self.runnable.awith_receipt(arguments) if self._is_async else self.runnable.with_receipt(arguments)

    def __get__(self, instance: object, owner: type | None = None) -> Any:  # a bound method, as of any function
        return self if instance is None else MethodType(self, instance)

    def _arguments(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        bound = self._signature.bind(*given, **named)
        bound.apply_defaults()
        return bound.arguments


Decorated = Callable[..., Any]  # any function, and what a decorator makes of it


class Decorator:
    """What `budgeted` gives: it puts a budget on a chain, a factory or a function."""

    def __init__(
        self, router: BudgetRouter, models: Mapping[str, BaseChatModel], settings: dict[str, Any]
    ) -> None:  # Any: `budgeted`'s
        self.router = router
        self.models = models
        self.settings = settings

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a factory is a function as well, told by its parameters
        self, thing: Runnable[Any, Answered] | Callable[[], Runnable[Any, Answered]]
    ) -> Budgeted[Any, Answered]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # likewise
        self, thing: Callable[[Stage], Runnable[Any, Answered]]
    ) -> Budgeted[Any, Answered]: ...
    @overload
    def __call__(self, thing: Callable[Given, Answered]) -> BudgetedFunction[Given, Answered]: ...
    def __call__(self, thing: Any) -> Any:  # told apart just above
        """Put a budget on it."""
        if isinstance(thing, Runnable):
            return budget(thing, router=self.router, models=self.models, **self.settings)
        if not callable(thing):
            raise InvalidInput(f"a {type(thing).__name__} has no calls to budget: decorate a function, or pass a chain")
        if inspect.isgeneratorfunction(thing) or inspect.isasyncgenfunction(thing):
            raise InvalidInput(
                f"{_name(thing)} is a generator: write a factory that returns a chain, whose stream is budgeted too"
            )
        parameters = list(inspect.signature(thing).parameters)
        if parameters in ([], [STRATEGY]):
            return self._from_factory(thing, takes_strategy=bool(parameters))
        return self._from_function(thing, takes_strategy=STRATEGY in parameters)

    def _from_factory(self, factory: Callable[..., Chain], *, takes_strategy: bool) -> Budgeted[Any, Any]:
        if inspect.iscoroutinefunction(factory):
            raise InvalidInput(
                f"{_name(factory)} is a coroutine function without a task: let it take one, or return a chain without async"
            )

        def chain_of(stage: Stage) -> BudgetedChain:
            made = factory(stage) if takes_strategy else factory()
            if not isinstance(made, Runnable):
                raise InvalidInput(
                    f"{_name(factory)} gave a {type(made).__name__}: as a factory it returns a chain; as a function it takes its "
                    "task as a parameter"
                )
            return BudgetedChain(made, self.models, is_tuned=takes_strategy)

        return self._budgeted(_kept(chain_of, by_stage=takes_strategy), factory)

    def _from_function(self, function: Callable[..., Any], *, takes_strategy: bool) -> BudgetedFunction[Any, Any]:
        signature = _without_strategy(inspect.signature(function))

        def chain_of(stage: Stage) -> BudgetedChain:
            def called(arguments: dict[str, Any]) -> Any:
                bound = inspect.BoundArguments(signature, arguments)
                chosen = {STRATEGY: stage} if takes_strategy else {}
                return _checked(function(*bound.args, **bound.kwargs, **chosen), function)

            async def acalled(arguments: dict[str, Any]) -> Any:
                return _checked(await called(arguments), function)

            step = RunnableLambda(acalled if inspect.iscoroutinefunction(function) else called, name=_name(function))
            return BudgetedChain(step, self.models, is_tuned=takes_strategy)

        budgeted = self._budgeted(_kept(chain_of, by_stage=takes_strategy), function)
        budgeted.check()
        return BudgetedFunction(function, budgeted)

    def _budgeted(self, chain_of: Callable[[Stage], BudgetedChain], made_by: Callable[..., Any]) -> Budgeted[Any, Any]:
        return Budgeted(chain_of, self.router, name=_name(made_by), **self.settings)


def budgeted(
    router: BudgetRouter,
    *,
    answer: AnswerRule = output_answer,
    task_from: TaskSource | None = None,
    group: str | None = None,
    models: Mapping[str, BaseChatModel] | None = None,
    max_concurrency: int | None = None,
    timeout_seconds: float | None = None,
) -> Decorator:
    """Put a budget on what a function makes or does.

    A function without parameters is a factory: the chain that it returns is budgeted as by `budget`. It is called once, when the
    chain is first used. One with the single parameter `strategy` makes a chain for each strategy and applies its settings itself.

    Any other function is budgeted as it is: called as often as decided, the chat models that it calls metered, what it returns
    voted on. Settings of strategies do not reach those models, so it has to take a parameter `strategy` if there are any on the
    menu. Its arguments are the input that `task_from` reads, by name.

    Args:
        router: as of `budget`, like all that follow.
        answer: finds the answer in an output.
        task_from: where the task stands in the input.
        group: budget that the tasks draw on.
        models: for strategies that name one.
        max_concurrency: most runs at once of one call.
        timeout_seconds: after which a run counts as failed.

    Raises:
        InvalidInput: where it is used: the function cannot be budgeted, or a strategy cannot be run on it.
    """
    settings = {
        "answer": answer,
        "task_from": task_from,
        "group": group,
        "max_concurrency": max_concurrency,
        "timeout_seconds": timeout_seconds,
    }
    return Decorator(router, models or {}, settings)


def _kept(chain_of: Callable[[Stage], BudgetedChain], *, by_stage: bool) -> Callable[[Stage], BudgetedChain]:
    """Make each chain once, however many threads ask for it."""
    made: dict[str, BudgetedChain] = {}
    lock = threading.Lock()

    def kept(stage: Stage) -> BudgetedChain:
        key = stage.settings_key if by_stage else ""
        with lock:
            if key not in made:
                made[key] = chain_of(stage)
        return made[key]

    return kept


def _without_strategy(signature: inspect.Signature) -> inspect.Signature:
    return signature.replace(parameters=[one for name, one in signature.parameters.items() if name != STRATEGY])


def _checked(answered: Any, function: Callable[..., Any]) -> Any:  # Any: the user's own output
    if isinstance(answered, Runnable):
        raise InvalidInput(
            f"{_name(function)} gave a {type(answered).__name__}: a factory takes no parameter, or the single one strategy"
        )
    return answered


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
