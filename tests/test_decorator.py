"""`@budgeted(router)` on chains, on factories that make them, and on functions that call chat models."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from budget_router import Budget, BudgetRouter, ExtendedCoT, Menu, SelfConsistency, SingleShot
from budget_router.errors import InvalidInput
from budget_router.menu import Stage, Strategy
from budget_router.records import LoggedDecision
from budget_router.strategies import last_number
from budget_router_langchain import Budgeted, BudgetedFunction, budgeted, meter
from tests.scripted import ScriptedModel, billed, booked

PROMPT = ChatPromptTemplate.from_template("{question}")
ASKED = {"question": "2 + 2?"}
VOTE = SelfConsistency(k=3)
THINK = ExtendedCoT(instruction="Think.", temperature=0.7)


@pytest.fixture(autouse=True)
def _memory_stays_flat() -> Iterator[None]:
    before = meter.n_live()
    yield
    assert meter.n_live() == before


def routed(*strategies: Strategy) -> BudgetRouter:
    return BudgetRouter(Menu(strategies), Budget(per_task=1e6), seed=0)


def only(router: BudgetRouter) -> LoggedDecision:
    (logged,) = router.ledger.read()
    return logged


def test_a_factory_becomes_a_chain_of_its_name_and_is_called_once_when_it_is_used() -> None:
    made: list[int] = []
    model = ScriptedModel(["so 4"])
    router = routed(VOTE)

    @budgeted(router, answer=last_number)
    def solve() -> Runnable[Any, str]:
        made.append(1)
        return PROMPT | model | StrOutputParser()

    assert made == []
    assert isinstance(solve, Budgeted)
    assert solve.batch([ASKED] * 4) == ["so 4"] * 4
    assert (made, solve.get_name()) == ([1], "solve")
    _, receipt = solve.with_receipt(ASKED)
    assert (receipt.answer, receipt.agreement) == ("4", 1.0)


def test_a_factory_that_takes_the_strategy_makes_a_chain_for_each_and_applies_its_settings_itself() -> None:
    made: list[str] = []
    model = ScriptedModel(["4"])
    router = routed(SingleShot(), VOTE, THINK)

    @budgeted(router)
    def solve(strategy: Stage) -> Runnable[Any, str]:
        made.append(strategy.name)
        heat = 1.0 if isinstance(strategy, SelfConsistency) else 0.1
        return PROMPT | model.model_copy(update={"temperature": heat}) | StrOutputParser()

    for name in [*router.menu.names, "self_consistency_3"]:
        solve.invoke(ASKED, {"configurable": {"budget_strategy": name}})

    assert made == ["single_shot", "self_consistency_3", "extended_cot"]
    assert [line["temperature"] for line in model.invoice] == [0.1, *[1.0] * 3, 0.1, *[1.0] * 3]


def test_a_chain_can_be_decorated_as_it_is() -> None:
    router = routed(VOTE)
    solve = budgeted(router)(PROMPT | ScriptedModel(["4"]) | StrOutputParser())
    assert solve.invoke(ASKED) == "4"
    assert len(only(router).calls) == 3


def test_a_function_is_called_as_often_as_decided_and_its_models_are_metered() -> None:
    model = ScriptedModel(["Answer: 4", "Answer: 5", "Answer: 4"])
    router = routed(VOTE)

    @budgeted(router, max_concurrency=1)
    def solve(question: str, context: str = "none") -> str:
        """Answer a question."""
        return str(model.invoke(f"{context}: {question}").text)

    assert isinstance(solve, BudgetedFunction)
    assert solve("2 + 2?") == "Answer: 4"
    assert (solve.__name__, solve.__doc__) == ("solve", "Answer a question.")
    assert (only(router).task_text, len(model.invoice)) == ("2 + 2?", 3)
    assert booked(only(router).calls) == billed(model)


async def test_a_coroutine_function_is_awaited_as_before() -> None:
    together = asyncio.Barrier(3)
    model = ScriptedModel(["Answer: 4"], adelay=together.wait)
    router = routed(VOTE)

    @budgeted(router)
    async def solve(question: str) -> str:
        return str((await model.ainvoke(question)).text)

    assert await asyncio.wait_for(solve("2 + 2?"), timeout=5) == "Answer: 4"
    answer, receipt = await solve.with_receipt("2 + 2?")
    assert (answer, receipt.answer) == ("Answer: 4", "4")


def test_a_function_with_a_parameter_strategy_is_given_it_and_may_set_what_it_says() -> None:
    model = ScriptedModel(["4"])
    router = routed(THINK)

    @budgeted(router)
    def solve(question: str, *parts: str, strategy: Stage, **more: str) -> str:
        assert (parts, more) == (("a", "b"), {"c": "d"})
        return str(model.model_copy(update={"temperature": strategy.temperature}).invoke(question).text)

    answer, receipt = solve.with_receipt("2 + 2?", "a", "b", c="d")  # type: ignore[call-arg]  # the strategy is ours to give
    assert (answer, receipt.strategy) == ("4", "extended_cot")
    assert model.invoice[0]["temperature"] == 0.7


def test_the_task_of_a_function_is_found_among_its_arguments_by_name() -> None:
    router = routed(SingleShot())

    @budgeted(router, task_from="what")
    def solve(question: str, what: str) -> str:
        return question + what

    solve("why", what="2 + 2?")
    assert only(router).task_text == "2 + 2?"


def test_methods_are_functions_too() -> None:
    router = routed(SingleShot())

    class Solver:
        @budgeted(router)
        def solve(self, question: str) -> str:
            return question.upper()

    assert Solver().solve("why?") == "WHY?"
    assert only(router).task_text == "why?"


def test_a_function_cannot_be_given_a_strategys_settings_unless_it_takes_the_strategy() -> None:
    with pytest.raises(InvalidInput, match=r"sets temperature, instruction.*strategy"):

        @budgeted(routed(SingleShot(), THINK))
        def solve(question: str) -> str:
            return question


def test_what_cannot_be_budgeted_is_refused_by_name() -> None:
    router = routed(SingleShot())

    def pieces(question: str) -> Iterator[str]:
        yield question

    async def aimless() -> str:
        return "4"

    def numberless() -> int:
        return 4

    def method_like(question: str) -> Runnable[Any, Any]:
        return PROMPT

    with pytest.raises(InvalidInput, match=r"pieces is a generator"):
        budgeted(router)(pieces)
    with pytest.raises(InvalidInput, match=r"aimless is a coroutine function without a task"):
        budgeted(router)(aimless)
    with pytest.raises(InvalidInput, match=r"numberless gave a int: as a factory it returns a chain"):
        budgeted(router)(numberless).invoke("2 + 2?")  # type: ignore[attr-defined]  # that is the point
    with pytest.raises(InvalidInput, match=r"method_like gave a ChatPromptTemplate: a factory takes no parameter"):
        budgeted(router)(method_like)("2 + 2?")
    with pytest.raises(InvalidInput, match=r"a int has no calls to budget"):
        budgeted(router)(4)  # type: ignore[call-overload]  # that is the point


def test_many_threads_share_one_chain_of_a_factory() -> None:
    made: list[int] = []
    together = threading.Barrier(8, timeout=5)

    @budgeted(routed(SingleShot()))
    def solve() -> Runnable[Any, str]:
        made.append(1)
        return PROMPT | ScriptedModel(["4"], delay=together.wait) | StrOutputParser()

    assert solve.batch([ASKED] * 8, {"max_concurrency": 8}) == ["4"] * 8
    assert made == [1]
