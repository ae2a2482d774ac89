"""The bundles of a recording: which votes are drawn on which tasks, what each may cost, and what is known of it already."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from budget_router.costs import most_prompt_tokens, typical_completion
from budget_router.errors import InvalidInput
from budget_router.ledger import Ledger
from budget_router.menu import Menu, Sampling, Stage
from budget_router.records import Call, Outcome, Settlement, Spend, hash_text
from budget_router.strategies import AnswerRule
from budget_router.tariffs import Tariffs
from budget_router.task import Task
from budget_router.words import Text
from budget_router_langchain.purse import SpendLimit
from budget_router_langchain.settings import longest_reply, model_name
from budget_router_langchain.tuned import chosen, instructed, tuned

UNKNOWN_MODEL = "(no model named)"


class LabelledTask(Task):
    """A task whose right answer is known.

    >>> LabelledTask("What is 27 + 41?", gold="68").gold
    '68'
    """

    gold: Text


class Bundle(NamedTuple):
    """A whole vote to be drawn on a task."""

    task: LabelledTask
    stage: Stage
    gold: str
    """The right answer, normalised."""
    key: str
    """Names the task's text, the way its answers are drawn, their number, and the model."""

    def attempt(self, number: int) -> str:
        """Id of a decision to draw it; one that brought no reply is followed by another."""
        return self.key if number == 1 else f"{self.key}.{number}"


class Standing(NamedTuple):
    """What a ledger knows of a decision."""

    status: Literal["open", "ok", "failed"]
    settlement: Settlement | None
    is_graded: bool
    calls: tuple[Call, ...]


def bundles_of(
    tasks: Iterable[LabelledTask], menu: Menu, answer: AnswerRule, model: BaseChatModel, models: Mapping[str, BaseChatModel]
) -> list[Bundle]:
    """All votes of a recording, task by task; raises InvalidInput for a task that comes twice or has an unreadable answer."""
    votes = [(stage, model_name(chosen(stage.sampling, model, models))) for stage in menu.bundles()]
    seen: set[str] = set()
    bundles = []
    for number, task in enumerate(tasks, start=1):
        name = task.id or task.text
        if name in seen:
            raise InvalidInput(f"task {number}, {name[:40]!r}, comes twice: leave one out, or give both an id")
        seen.add(name)
        gold = answer(task.gold)
        if not gold:
            raise InvalidInput(f"task {number}, {name[:40]!r}: the answer rule finds no answer in {task.gold[:40]!r}")
        for stage, called in votes:
            said = [task.id, task.text, stage.sampling.key, stage.n_samples, called]
            bundles.append(Bundle(task, stage, gold, hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]))
    if not bundles:
        raise InvalidInput("there is no task to record: give at least one")
    return bundles


class Appraiser:
    """Tells what calls cost, or may cost at most, in the limit's whole tokens or nano-USD."""

    def __init__(
        self,
        stages: Sequence[Stage],
        limit: SpendLimit,
        tariffs: Tariffs,
        model: BaseChatModel,
        models: Mapping[str, BaseChatModel],
    ) -> None:
        self.limit = limit
        self.tariffs = tariffs
        self._models = {stage.sampling: chosen(stage.sampling, model, models) for stage in stages}
        longest = {stage.sampling: longest_reply(tuned(self._models[stage.sampling], stage.sampling)) for stage in stages}
        self.is_bounded = None not in longest.values()
        """Whether the most that each call may write is known."""
        self._longest: dict[Sampling, float] = {
            stage.sampling: longest[stage.sampling] or typical_completion(stage) for stage in stages
        }

    def most(self, bundle: Bundle) -> int:
        """What one call of a bundle may cost at most: every byte of the prompt a token, which is the least that a token takes."""
        sampling = bundle.stage.sampling
        messages = instructed([HumanMessage(bundle.task.text)], sampling.instruction)
        prompt_tokens = most_prompt_tokens(*(str(message.text) for message in messages))
        completion_tokens = round(self._longest[sampling])
        nano_usd = None
        if self.limit.unit == "usd":
            name = model_name(self._models[sampling]) or UNKNOWN_MODEL
            nano_usd = self.tariffs.bill(name, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens).nano_usd
        most = Spend(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, nano_usd=nano_usd)
        return self.limit.count(most) or 0

    def spent(self, bundle: Bundle, calls: Iterable[Call]) -> int:
        """What calls of a bundle cost; the most they may where that is not known, as of one that a kill left open."""
        known = [self.limit.count(Spend.of([call])) if call.status != "open" else None for call in calls]
        return sum(self.most(bundle) if cost is None else cost for cost in known)


def standing_decisions(ledger: Ledger, bundles: Sequence[Bundle], *, rule: str) -> dict[str, Standing]:
    """What a ledger knows of a recording's decisions, by their ids.

    Raises InvalidInput if they were graded by another rule: the replies to grade them again are not kept there.
    """
    keys = {bundle.key for bundle in bundles}
    standing = {}
    for logged in ledger.read():
        decision, settlement = logged.decision, logged.settlement
        if decision.id.partition(".")[0] not in keys:
            continue
        if decision.policy_version != rule:
            raise InvalidInput(
                f"this ledger was recorded by the {decision.policy_version!r}, not by the {rule!r}: "
                "take that answer rule, or another ledger"
            )
        status = "open" if settlement is None else settlement.status
        standing[decision.id] = Standing(status, settlement, logged.outcome is not None, logged.calls)
    return standing


def graded(bundle: Bundle, settlement: Settlement, *, salt: str) -> Outcome:
    """Grade each answer of a bundle by the right one, and so every smaller vote."""
    gold = hash_text(bundle.gold, salt=salt)
    answers = {sample.answer_key for sample in settlement.samples if sample.answer_key is not None}
    return Outcome(
        decision_id=settlement.decision_id,
        score=float(settlement.answer_key == gold),
        answer_scores={answer: float(answer == gold) for answer in sorted(answers)},
        source="gold",
    )
