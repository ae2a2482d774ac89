"""A recorder's log as a recording: what `budget-router record` wrote is replayed as the demo's own recording is."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean

from budget_router import Menu, Task
from budget_router.errors import InvalidInput
from budget_router.ledger import Ledger
from budget_router.menu import Escalate
from budget_router.records import LoggedDecision
from budget_router.strategies import AnswerRule
from budget_router_cli.recording import Completion, Recording

NO_KIND = "task"
"""Kind of tasks whose metadata name none."""


def recording_of(ledger: Ledger, replies: Path, *, answer: AnswerRule) -> Recording:
    """Read a log with the replies that stand beside it; tasks that were not recorded whole are left out.

    Args:
        ledger: that the recorder wrote.
        replies: its JSON Lines file of replies.
        answer: the rule that it graded by.

    Raises:
        InvalidInput: no task was recorded whole, its texts were not kept, or the replies cannot be read.
    """
    texts = _texts(replies)
    logged = [entry for entry in ledger.read() if entry.settlement is not None and entry.settlement.status == "ok"]
    tasks: dict[str, Task] = {}
    completions: dict[tuple[str, str], tuple[Completion, ...]] = {}
    for entry in logged:
        drawn = _completions(entry, texts, answer)
        if drawn and entry.task_text is not None:
            decision = entry.decision
            kind = str(entry.metadata.get("kind", NO_KIND))
            tasks[decision.task_id] = Task(entry.task_text, id=decision.task_id, metadata={**entry.metadata, "kind": kind})
            completions[decision.task_id, decision.strategy.sampling.key] = drawn
    samplings = Counter(sampling for _, sampling in completions)
    whole = [task for name, task in tasks.items() if all((name, sampling) in completions for sampling in samplings)]
    if not whole:
        raise InvalidInput(f"no task is whole in the log and {replies.name}: record to its end, and keep the texts")
    drawn_by = {key: [drawn for (_, sampling), drawn in completions.items() if sampling == key] for key in samplings}
    menu = [
        one.model_copy(update={"typical_completion_tokens": _mean_length(drawn_by[one.sampling.key])})
        for one in logged[0].menu
        if not (isinstance(one, Escalate) or one.is_adaptive)
        and min(map(len, drawn_by.get(one.sampling.key, [()]))) >= one.n_samples
    ]
    models = Counter(call.model for entry in logged for call in entry.calls)
    return Recording(tuple(whole), completions, menu=Menu(menu), answer=answer, model=models.most_common(1)[0][0])


def _mean_length(bundles: list[tuple[Completion, ...]]) -> float:
    return fmean(reply.completion_tokens for drawn in bundles for reply in drawn)


def _completions(entry: LoggedDecision, texts: dict[tuple[str, int], str], answer: AnswerRule) -> tuple[Completion, ...]:
    """The graded samples of a decision, each with its part of what its call billed."""
    samples = entry.settlement.samples if entry.settlement else ()
    calls = {call.id: call for call in entry.calls}
    sharing = Counter(sample.call_id for sample in samples)
    drawn = []
    for sample in samples:
        text, call = texts.get((entry.decision.id, sample.index)), calls.get(sample.call_id or "")
        if text is None or call is None or entry.outcome is None:
            continue
        score = entry.outcome.answer_scores.get(sample.answer_key or "", 0.0)
        n_completion = round(call.completion_tokens / sharing[sample.call_id])
        drawn.append(Completion(text, call.prompt_tokens, n_completion, answer(text), score))
    return tuple(drawn)


def _texts(replies: Path) -> dict[tuple[str, int], str]:
    """Replies by decision and number of the sample; of several attempts the last."""
    found: dict[tuple[str, int], str] = defaultdict(str)
    try:
        with replies.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                    found[told["decision_id"], int(told["index"])] = str(told["text"])
                except (ValueError, KeyError, TypeError):  # a line that a kill cut off
                    continue
    except OSError as error:
        raise InvalidInput(f"{replies.name} cannot be read: {error}; it stands beside the log that was recorded") from error
    return dict(found)
