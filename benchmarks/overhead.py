"""What a budget costs in time on a chain: `python -m benchmarks.overhead --json`.

The chain `prompt | model | parser` on a model that answers at once is called bare and under a budget, as one sample and as a vote
of eight, sync and async. What the budget adds is split into a part for the decision and a part for each call of the model. And a
vote of eight samples that take 200 ms each is timed, which side by side is little more.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from budget_router import Budget, BudgetRouter, MemoryLedger, Menu, SelfConsistency, SingleShot, Tariff, Tariffs
from budget_router.ledger import Ledger
from budget_router_langchain import budget
from budget_router_sql import SqlLedger

N_SAMPLES = 8
SLOW_SECONDS = 0.2
GIVEN = {"question": "A farmer has 17 sheep. All but 9 run away. How many are left?"}

Call = Callable[[], Any]  # Any: an answer, or a coroutine of one


class InstantModel(BaseChatModel):
    """Answers at once, or after `seconds`."""

    seconds: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _reply(self) -> ChatResult:
        usage: Any = {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}  # Any: LangChain's typed dict
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Answer: 9", usage_metadata=usage))])

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:  # noqa: ARG002
        time.sleep(self.seconds)
        return self._reply()

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:  # noqa: ARG002
        await asyncio.sleep(self.seconds)
        return self._reply()


def chain_of(seconds: float = 0.0) -> Runnable[Any, str]:
    """The chain as it is without a budget."""
    return ChatPromptTemplate.from_template("{question}") | InstantModel(seconds=seconds) | StrOutputParser()


def budgeted(strategy: SingleShot | SelfConsistency, ledger: Ledger, seconds: float = 0.0) -> Runnable[Any, str]:
    """The same under a budget that has one strategy."""
    tariffs = Tariffs({"InstantModel": Tariff(prompt="1", completion="1")})
    return budget(chain_of(seconds), router=BudgetRouter(Menu([strategy]), Budget(per_task=1e6), ledger=ledger, tariffs=tariffs))


def median_ms(call: Call, n_calls: int) -> float:
    """Median of the milliseconds that a call takes; the first tenth warms up."""
    seconds = []
    for _ in range(n_calls):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds[n_calls // 10 :])


async def amedian_ms(call: Call, n_calls: int) -> float:
    """Do as `median_ms`, in one event loop."""
    seconds = []
    for _ in range(n_calls):
        started = time.perf_counter()
        await call()
        seconds.append(time.perf_counter() - started)
    return 1e3 * statistics.median(seconds[n_calls // 10 :])


def split(bare: float, one: float, several: float) -> dict[str, float]:
    """What a budget adds to one call and to `N_SAMPLES` of them, as a part for the decision and a part for each call."""
    per_call = ((several - N_SAMPLES * bare) - (one - bare)) / (N_SAMPLES - 1)
    return {
        "bare_ms": round(bare, 3),
        "single_shot_ms": round(one, 3),
        f"self_consistency_{N_SAMPLES}_ms": round(several, 3),
        "per_decision_ms": round(one - bare - max(per_call, 0.0), 3),
        "per_call_ms": round(per_call, 3),
    }


def measured(n_calls: int, ledger: Callable[[], Ledger]) -> dict[str, dict[str, float]]:
    """Time the bare and the budgeted chains; each pair with a fresh ledger."""
    plain = chain_of()
    one, several = budgeted(SingleShot(), ledger()), budgeted(SelfConsistency(k=N_SAMPLES), ledger())
    sync = [median_ms(lambda chain=chain: chain.invoke(GIVEN), n_calls) for chain in (plain, one, several)]  # type: ignore[misc]

    async def timed() -> list[float]:
        return [await amedian_ms(lambda chain=chain: chain.ainvoke(GIVEN), n_calls) for chain in (plain, one, several)]  # type: ignore[misc]

    return {"sync": split(*sync), "async": split(*asyncio.run(timed()))}


def side_by_side(n_calls: int) -> dict[str, float]:
    """Time a vote of slow samples."""
    vote = budgeted(SelfConsistency(k=N_SAMPLES), MemoryLedger(), SLOW_SECONDS)

    async def timed() -> float:
        return await amedian_ms(lambda: vote.ainvoke(GIVEN), n_calls)

    return {"sync_ms": round(median_ms(lambda: vote.invoke(GIVEN), n_calls), 1), "async_ms": round(asyncio.run(timed()), 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="of each chain")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        paths = (Path(folder) / f"{number}.db" for number in range(10))
        facts = {
            "in memory": measured(given.calls, MemoryLedger),
            "in SQLite": measured(max(given.calls // 5, 20), lambda: SqlLedger(f"sqlite:///{next(paths)}")),
        }
    slow = side_by_side(10)
    if given.json:
        print(json.dumps({"overhead": facts, f"{N_SAMPLES} samples of {SLOW_SECONDS * 1e3:.0f} ms": slow}, indent=1))
        return
    heads = ("bare ms", "one ms", f"{N_SAMPLES} samples ms", "per decision ms", "per call ms")
    print(f"{'ledger':<11}{'door':<7}" + "".join(f"{head:>17}" for head in heads))
    for ledger, doors in facts.items():
        for door, row in doors.items():
            print(f"{ledger:<11}{door:<7}" + "".join(f"{value:>17.3f}" for value in row.values()))
    print(f"{N_SAMPLES} samples of {SLOW_SECONDS * 1e3:.0f} ms: sync {slow['sync_ms']} ms, async {slow['async_ms']} ms")


if __name__ == "__main__":
    main()
