"""A strategy as a plan that never awaits, and the two drivers that run it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, replace

from budget_router.answers import AnswerRule, ToolCall, canonical_calls, final_answer, groups
from budget_router.errors import InvalidInput, NoAnswer
from budget_router.menu import Escalate, Sampling, SelfConsistency, Stage, Strategy, stages
from budget_router.outcomes import is_decided
from budget_router.strategies.vote import majority


@dataclass(frozen=True, slots=True)
class Request:
    """One answer that a plan wants drawn."""

    index: int
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, and the call it came from; samples that one request asked for share the call."""

    text: str
    call_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    """Tools that the model asks for: they are then its answer, whatever it says beside them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no reply."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample as the vote saw it."""

    index: int
    call_id: str | None
    text: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a strategy answered."""

    text: str
    """The reply that gave the winning answer, whole."""
    answer: str | None
    """The winning answer, normalised; `None` when no reply held one."""
    agreement: float | None
    """Share of the samples, of the stage that answered, that gave the winning answer; `None` when nobody counted."""
    draws: tuple[Draw, ...]
    index: int | None = None
    """Request whose reply that is; `None` when nobody counted."""


Plan = Generator[list[Request], Sequence[Reply | Failure], Result]


def plan(strategy: Strategy, *, answer: AnswerRule = final_answer) -> Plan:
    """Draw the strategy's samples and take the majority of those that arrived.

    A whole vote draws its samples side by side, one that may stop early a window at a time. An escalation draws its first stage,
    and where that does not agree its second, whose answer stands if it gives one, and whose reply stands if neither gives any.
    `Result.draws` holds the draws of both, numbered through. A rule that groups answers sees those of both stages together.

    Raises NoAnswer when every sample failed; its cause is the first failure.
    """
    first, *then = stages(strategy)
    ballot = _Ballot(answer)
    yield from _stage(first, ballot, start=0)
    result = ballot.result(since=0)
    if isinstance(strategy, Escalate) and not _is_accepted(strategy, result):
        yield from _stage(then[0], ballot, start=first.n_samples)
        result = _last_word(ballot.result(since=0, until=first.n_samples), ballot.result(since=first.n_samples))
    if result is None:
        failure = ballot.failures[0]
        raise NoAnswer(
            f"all {len(ballot.failures)} samples of {strategy.name!r} failed, the first with {type(failure.error).__name__}: "
            "see the cause; what was billed is recorded"
        ) from failure.error
    return replace(result, draws=tuple(ballot.draws))


def first_round(strategy: Strategy) -> list[Request]:
    """What a plan asks for first: these samples are drawn whatever they say."""
    first = stages(strategy)[0]
    return _requests(first, first.n_guaranteed, start=0)


class _Ballot:
    """All that came back, and the answers in it as they are counted."""

    def __init__(self, answer: AnswerRule) -> None:
        self.answer = answer
        self.found: list[str | None] = []
        self.draws: list[Draw] = []
        self.failures: list[Failure] = []

    def take(self, requests: Sequence[Request], replies: Sequence[Reply | Failure]) -> None:
        """Find the answers of a round; a rule that groups answers looks at all that there are."""
        for request, reply in zip(requests, replies, strict=True):
            if isinstance(reply, Failure):
                self.failures.append(reply)
                continue
            found = answer_in(reply, self.answer)
            self.found.append(found)
            self.draws.append(Draw(request.index, reply.call_id, reply.text, found))
        if groups(self.answer):
            grouped = self.answer.grouped(self.found)
            self.draws = [replace(draw, answer=answer) for draw, answer in zip(self.draws, grouped, strict=True)]

    def result(self, *, since: int, until: int | None = None) -> Result | None:
        """What the requests from `since` until before `until` answer; `None` when every one of them failed."""
        draws = [draw for draw in self.draws if since <= draw.index and (until is None or draw.index < until)]
        if not draws:
            return None
        vote = majority([draw.answer for draw in draws])
        chosen = draws[vote.winner or 0]
        return Result(chosen.text, chosen.answer, vote.agreement, tuple(draws), chosen.index)


def _stage(stage: Stage, ballot: _Ballot, *, start: int) -> Generator[list[Request], Sequence[Reply | Failure], None]:
    """Draw a stage's samples, numbered from `start`, a round at a time."""
    for n_drawn in range(0, stage.n_samples, stage.n_guaranteed):
        n_left = stage.n_samples - n_drawn
        if n_drawn and isinstance(stage, SelfConsistency) and stage.early_stop is not None:
            votes = Counter(draw.answer for draw in ballot.draws if draw.index >= start and draw.answer is not None)
            if is_decided(list(votes.values()), n_left, stage.early_stop.threshold):
                break
        requests = _requests(stage, min(stage.n_guaranteed, n_left), start=start + n_drawn)
        ballot.take(requests, (yield requests))


def _requests(stage: Stage, n_samples: int, *, start: int) -> list[Request]:
    return [Request(index, stage.sampling) for index in range(start, start + n_samples)]


def _is_accepted(strategy: Escalate, first: Result | None) -> bool:
    """Tell whether enough of all the first samples agree, those that failed among them."""
    if first is None or first.answer is None:
        return False
    n_agreeing = sum(draw.answer == first.answer for draw in first.draws)
    return n_agreeing / strategy.first.k >= strategy.agreement


def _last_word(first: Result | None, then: Result | None) -> Result | None:
    """The second stage's answer, or the first's where it gave none."""
    if then is None or (then.answer is None and first is not None and first.answer is not None):
        return first
    return then


def answer_in(reply: Reply, answer: AnswerRule) -> str | None:
    """The tools that a reply asks for, or what a rule, which may be the user's own, finds in its text."""
    if reply.tool_calls:
        return canonical_calls(reply.tool_calls)
    found = answer(reply.text)
    if found is not None and not isinstance(found, str):
        raise InvalidInput(f"the answer rule gave a {type(found).__name__}: let it return the answer as a str, or None")
    return found or None


def run(plan: Plan, complete: Callable[[list[Request]], Sequence[Reply | Failure]]) -> Result:
    """Drive a plan; `complete` answers a list of requests, side by side if it can."""
    step = _advance(plan)
    while not isinstance(step, Result):
        step = _advance(plan, complete(step))
    return step


async def arun(
    plan: Plan,
    complete: Callable[[list[Request]], Awaitable[Sequence[Reply | Failure]]],
    *,
    is_quick: Callable[[Sequence[Reply | Failure]], bool] = lambda _: False,
) -> Result:
    """Drive a plan in a coroutine; the answers are read in a thread, unless a round of replies `is_quick` to read."""
    step = _advance(plan)
    while not isinstance(step, Result):
        replies = await complete(step)
        step = _advance(plan, replies) if is_quick(replies) else await asyncio.to_thread(_advance, plan, replies)
    return step


def _advance(plan: Plan, replies: Sequence[Reply | Failure] | None = None) -> list[Request] | Result:
    """Send a plan what it asked for; what it asks for next, or its result."""
    try:
        return next(plan) if replies is None else plan.send(replies)
    except StopIteration as done:
        result: Result = done.value
        return result
