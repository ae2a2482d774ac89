"""A strategy as a plan that never awaits, and the two drivers that run it."""

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass

from budget_router.errors import InvalidInput, NoAnswer
from budget_router.menu import Sampling, Strategy
from budget_router.strategies.answers import AnswerRule, final_answer
from budget_router.strategies.vote import majority


@dataclass(frozen=True, slots=True)
class Request:
    """One answer that a plan wants drawn."""

    index: int
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Reply:
    """The text that came back, and the call it came from."""

    text: str
    call_id: str | None = None


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
    """Share of the samples that gave the winning answer; `None` when nobody counted."""
    draws: tuple[Draw, ...]


Plan = Generator[list[Request], Sequence[Reply | Failure], Result]


def plan(strategy: Strategy, *, answer: AnswerRule = final_answer) -> Plan:
    """Draw the strategy's samples side by side and take the majority of those that arrived.

    Raises NoAnswer when every sample failed; its cause is the first failure.
    """
    requests = [Request(index, strategy.sampling) for index in range(strategy.n_samples)]
    replies = yield requests
    draws = tuple(
        Draw(request.index, reply.call_id, reply.text, _found(answer, reply.text))
        for request, reply in zip(requests, replies, strict=True)
        if isinstance(reply, Reply)
    )
    if not draws:
        failure = next(reply for reply in replies if isinstance(reply, Failure))
        raise NoAnswer(
            f"all {len(requests)} samples of {strategy.name!r} failed, the first with {type(failure.error).__name__}: "
            "see the cause; what was billed is recorded"
        ) from failure.error
    vote = majority([draw.answer for draw in draws])
    chosen = draws[vote.winner or 0]
    return Result(chosen.text, chosen.answer, vote.agreement, draws)


def _found(answer: AnswerRule, text: str) -> str | None:
    """Apply a rule that may be the user's own."""
    found = answer(text)
    if found is not None and not isinstance(found, str):
        raise InvalidInput(f"the answer rule gave a {type(found).__name__}: let it return the answer as a str, or None")
    return found or None


def run(plan: Plan, complete: Callable[[list[Request]], Sequence[Reply | Failure]]) -> Result:
    """Drive a plan; `complete` answers a list of requests, side by side if it can."""
    try:
        requests = next(plan)
        while True:
            requests = plan.send(complete(requests))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # a generator's return value has no type of its own


async def arun(plan: Plan, complete: Callable[[list[Request]], Awaitable[Sequence[Reply | Failure]]]) -> Result:
    """Drive a plan in a coroutine."""
    try:
        requests = next(plan)
        while True:
            requests = plan.send(await complete(requests))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # a generator's return value has no type of its own
