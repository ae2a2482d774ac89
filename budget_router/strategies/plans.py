"""A strategy as a plan that never awaits, and the two drivers that run it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, replace

from budget_router.errors import InvalidInput, NoAnswer
from budget_router.menu import Escalate, Sampling, SelfConsistency, Stage, Strategy, stages
from budget_router.outcomes import is_decided
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
    """Share of the samples, of the stage that answered, that gave the winning answer; `None` when nobody counted."""
    draws: tuple[Draw, ...]


Plan = Generator[list[Request], Sequence[Reply | Failure], Result]


def plan(strategy: Strategy, *, answer: AnswerRule = final_answer) -> Plan:
    """Draw the strategy's samples and take the majority of those that arrived.

    A whole vote draws its samples side by side, one that may stop early a window at a time. An escalation draws its first stage,
    and where that does not agree its second, whose answer stands if it gives one, and whose reply stands if neither gives any.
    `Result.draws` holds the draws of both, numbered through.

    Raises NoAnswer when every sample failed; its cause is the first failure.
    """
    first, *then = stages(strategy)
    drawn = yield from _stage(first, answer, start=0)
    result = drawn.result()
    if isinstance(strategy, Escalate) and not _is_accepted(strategy, result):
        later = yield from _stage(then[0], answer, start=first.n_samples)
        result = _last_word(result, later.result())
        drawn = _Drawn((*drawn.draws, *later.draws), (*drawn.failures, *later.failures))
    if result is None:
        failure = drawn.failures[0]
        raise NoAnswer(
            f"all {len(drawn.failures)} samples of {strategy.name!r} failed, the first with {type(failure.error).__name__}: "
            "see the cause; what was billed is recorded"
        ) from failure.error
    return replace(result, draws=drawn.draws)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """All that came back of a stage."""

    draws: tuple[Draw, ...]
    failures: tuple[Failure, ...]

    def result(self) -> Result | None:
        """What the stage answers; `None` when every sample failed."""
        if not self.draws:
            return None
        vote = majority([draw.answer for draw in self.draws])
        chosen = self.draws[vote.winner or 0]
        return Result(chosen.text, chosen.answer, vote.agreement, self.draws)


def _stage(stage: Stage, answer: AnswerRule, *, start: int) -> Generator[list[Request], Sequence[Reply | Failure], _Drawn]:
    """Draw a stage's samples, numbered from `start`, a round at a time."""
    draws: list[Draw] = []
    failures: list[Failure] = []
    for n_drawn in range(0, stage.n_samples, stage.n_guaranteed):
        n_left = stage.n_samples - n_drawn
        if n_drawn and isinstance(stage, SelfConsistency) and stage.early_stop is not None:
            votes = Counter(draw.answer for draw in draws if draw.answer is not None)
            if is_decided(list(votes.values()), n_left, stage.early_stop.threshold):
                break
        requests = [Request(start + n_drawn + index, stage.sampling) for index in range(min(stage.n_guaranteed, n_left))]
        replies = yield requests
        for request, reply in zip(requests, replies, strict=True):
            if isinstance(reply, Reply):
                draws.append(Draw(request.index, reply.call_id, reply.text, _found(answer, reply.text)))
            else:
                failures.append(reply)
    return _Drawn(tuple(draws), tuple(failures))


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
