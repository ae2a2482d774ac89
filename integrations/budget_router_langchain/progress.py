"""What an execution tells while it runs: each sample as it arrives, then the vote. The text of a reply stands in neither."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import isawaitable
from typing import Any

from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from budget_router.answers import AnswerRule, GroupingRule, groups
from budget_router.menu import stages
from budget_router.records import Decision, Spend
from budget_router.strategies import Failure, Reply, Result
from budget_router.strategies.plans import answer_in
from budget_router_langchain.booking import busy_seconds
from budget_router_langchain.drawing import Drawing

_log = logging.getLogger("budget_router")

SAMPLE, VOTE = "budget_sample", "budget_vote"
"""Names of the events."""


class SampleEvent(TypedDict):
    """One sample that arrived, or failed."""

    decision_id: str
    strategy: str
    sample: int
    """Its number; samples that are drawn side by side arrive in any order."""
    stage: int
    """1; of an escalation's second stage 2."""
    answer: str | None
    """As it was found in the reply; what means the same to a rule that groups answers is one answer in the vote alone."""
    call_id: str | None
    """`None` when there were several calls, or none."""
    spend: dict[str, float | None] | None
    """Of its calls; `None` where they are those of a sample told before, for one request brought both."""
    error: str | None
    """Its class, when the sample failed."""


class VoteEvent(TypedDict):
    """What the samples came to."""

    decision_id: str
    strategy: str
    answer: str | None
    agreement: float | None
    winner: int | None
    """The sample whose reply stands."""
    n_samples: int
    """That arrived, of all stages."""
    n_failed: int
    n_spared: int
    """That the strategy might have drawn too: the vote was decided before, or a second stage was not needed."""


Event = SampleEvent | VoteEvent
OnEvent = Callable[[str, Event], None]
"""Told the name of an event and the event, in whichever thread it happens; what it raises is logged."""
AsyncOnEvent = Callable[[str, Event], Awaitable[None] | None]
"""The same for a coroutine, which awaits what it gives."""


@contextmanager
def unharmed(name: str) -> Iterator[None]:
    """Log what a listener to an event raises: who only watches harms neither the answer nor the books."""
    try:
        yield
    except Exception:  # noqa: BLE001  # a user's own listener, which may raise anything
        _log.exception("a listener failed at the event %s", name)


def is_heard(config: RunnableConfig) -> bool:
    """Whether anybody listens to a run's events; telling nobody takes its time too."""
    handlers = getattr(config.get("callbacks"), "handlers", ())
    return any(not handler.ignore_custom_event for handler in handlers)


class Progress:
    """Tells of one decision's samples and its vote.

    Args:
        decision: that is executed.
        answer: finds the answer in a reply's text.
        on_event: whom it tells.
        passes: errors that are no failure of a sample, and no event.
    """

    def __init__(
        self, decision: Decision, answer: AnswerRule, on_event: AsyncOnEvent, passes: tuple[type[Exception], ...]
    ) -> None:
        self.decision = decision
        self.answer = answer
        self.on_event = on_event
        self.passes = passes

    def arrived(self, drawing: Drawing[Any]) -> None:  # Any: of what the samples are
        """Tell what a run brought."""
        for event in self._samples(drawing):
            self._tell(SAMPLE, event)

    async def aarrived(self, drawing: Drawing[Any], *, is_quick: bool) -> None:
        """Do as `arrived`, in a coroutine; the answers are read in a thread, as for the vote, unless that `is_quick`."""
        read: Callable[[], list[SampleEvent]] = partial(list, self._samples(drawing))
        for event in read() if is_quick else await asyncio.to_thread(read):
            await self._atell(SAMPLE, event)

    def voted(self, result: Result, n_failed: int) -> None:
        """Tell of the vote."""
        self._tell(VOTE, self._vote(result, n_failed))

    async def avoted(self, result: Result, n_failed: int) -> None:
        """Do as `voted`, in a coroutine."""
        await self._atell(VOTE, self._vote(result, n_failed))

    def _tell(self, name: str, event: Event) -> None:
        with unharmed(name):
            self.on_event(name, event)

    async def _atell(self, name: str, event: Event) -> None:
        with unharmed(name):
            told = self.on_event(name, event)
            if isawaitable(told):
                await told

    def _samples(self, drawing: Drawing[Any]) -> Iterator[SampleEvent]:
        calls = list(drawing.booking.calls.values())
        spend: Spend | None = Spend.of(calls, seconds=busy_seconds(calls))
        n_first = stages(self.decision.strategy)[0].n_samples
        for index, answer in drawing.answers.items():
            if isinstance(answer, Failure) and isinstance(answer.error, self.passes):
                continue
            yield {
                "decision_id": self.decision.id,
                "strategy": self.decision.strategy.name,
                "sample": index,
                "stage": 1 if index < n_first else 2,
                "answer": self._found(answer) if isinstance(answer, Reply) else None,
                "call_id": answer.call_id if isinstance(answer, Reply) else calls[0].id if len(calls) == 1 else None,
                "spend": None if spend is None else spend.model_dump(),
                "error": type(answer.error).__name__ if isinstance(answer, Failure) else None,
            }
            spend = None

    def _found(self, reply: Reply) -> str | None:
        try:
            return answer_in(reply, self.answer)
        except Exception:  # noqa: BLE001  # the vote asks the rule again, and raises what it raises
            return None

    def _vote(self, result: Result, n_failed: int) -> VoteEvent:
        return {
            "decision_id": self.decision.id,
            "strategy": self.decision.strategy.name,
            "answer": result.answer,
            "agreement": result.agreement,
            "winner": result.index,
            "n_samples": len(result.draws),
            "n_failed": n_failed,
            "n_spared": self.decision.strategy.n_samples - len(result.draws) - n_failed,
        }


def read_once(rule: AnswerRule) -> AnswerRule:
    """A rule that looks at each text once, for the event and for the vote: it may be dear."""
    return _GroupingOnce(rule) if groups(rule) else _Once(rule)


class _Once:
    def __init__(self, rule: AnswerRule) -> None:
        self.rule = rule
        self._found: dict[str, str | None] = {}

    def __call__(self, text: str, /) -> str | None:
        if text not in self._found:
            self._found[text] = self.rule(text)
        return self._found[text]


class _GroupingOnce(_Once):
    rule: GroupingRule

    def grouped(self, answers: Any, /) -> Any:  # Any: as the rule itself has it
        return self.rule.grouped(answers)
