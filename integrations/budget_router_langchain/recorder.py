"""Record the full information that a policy is learned from: what every strategy of a menu answers to every task, and costs.

This is the paper's offline oracle, made cheap. Of each way to draw an answer only the largest vote is drawn, once: graded sample
by sample it prices every smaller vote, every early stop, and both stages of every escalation.

Each bundle is a decision under an id that its content gives it, so a second run of the same recording finds what stands: settled
bundles are not drawn again, and of one that a kill cut short only what is missing.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Literal

from langchain_core.language_models import BaseChatModel

from budget_router.budget import Budget
from budget_router.costs import expected_cost
from budget_router.errors import InvalidInput, NoAnswer
from budget_router.features.structure import STRUCTURE_VERSION, structural_features
from budget_router.ledger import Ledger
from budget_router.menu import Menu
from budget_router.records import Decision, hash_text
from budget_router.router import BudgetRouter
from budget_router.strategies import AnswerRule, final_answer
from budget_router.tariffs import Tariffs
from budget_router.tokens import count_tokens
from budget_router_langchain.bundles import Appraiser, Bundle, LabelledTask, Standing, bundles_of, graded, standing_decisions
from budget_router_langchain.executor import execute
from budget_router_langchain.purse import Purse, SpendLimit
from budget_router_langchain.reply_book import ReplyBook
from budget_router_langchain.settings import model_name

DEFAULT_CONCURRENCY = 8
"""Calls in flight at once."""
MAX_FAILURES_IN_A_ROW = 5
"""Bundles without a single reply after which a recording gives up: a wrong key or a dead server does not mend itself."""


@dataclass(frozen=True)
class Recording:
    """How far a recording has come, earlier runs of it included."""

    menu: Menu
    """What the log was recorded under: the given menu, and the whole votes that it lacks."""
    limit: SpendLimit
    n_tasks: int
    n_bundles: int
    """Votes to draw: one for each task and each way to draw an answer."""
    n_recorded: int
    n_failed: int
    """Bundles of this run without a single reply; the next run tries them again."""
    spent: float
    """In all, in the limit's unit; calls that a kill left open count at the most they may have cost."""
    is_bounded: bool
    """Whether the most that each call may write was known, so that the limit cannot be passed; otherwise the calls in flight may
    pass it by what they write beyond `typical_completion_tokens`."""

    @property
    def is_complete(self) -> bool:
        """Whether every strategy is known on every task."""
        return self.n_recorded == self.n_bundles


def record(
    tasks: Iterable[LabelledTask],
    *,
    menu: Menu,
    model: BaseChatModel,
    ledger: Ledger,
    max_spend: SpendLimit,
    answer: AnswerRule = final_answer,
    models: Mapping[str, BaseChatModel] | None = None,
    tariffs: Tariffs | None = None,
    replies: Path | None = None,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    progress: Callable[[Recording], None] | None = None,
) -> Recording:
    """Draw every strategy of a menu on every task, grade each answer, and keep it in a ledger that `refresh` reads.

    Call it again with the same arguments to go on after a kill, an error, or with a higher limit. One process at a time may
    record into a ledger.

    Args:
        tasks: with their right answers; recorded one after the other, so that a limit leaves whole tasks behind.
        menu: one bundle of samples for each distinct sampling of its strategies prices them all.
        model: for strategies that name none.
        ledger: where decisions, calls and grades go.
        max_spend: of the whole recording. The most that a bundle may cost is reserved before it is drawn, so the limit is not
            passed where every call has a `max_tokens`, of its strategy or of its model.
        answer: finds the answer in a reply, and in `gold`; an answer is right when the two are equal.
        models: for strategies that name one, by that name.
        tariffs: prices of models, for limits in USD.
        replies: JSON Lines file of all replies, from which a killed bundle goes on; without it, it is drawn again.
        max_concurrency: most calls at once.
        progress: told how far it is, at the start and after each bundle.

    Raises:
        InvalidInput: a task that comes twice, a gold answer that the rule cannot read, another rule than an earlier run's, a
            setting that a model does not offer; nothing was paid.
        InfeasibleBudget: the limit does not suffice for one task; nothing was paid.
        UnknownTariff: a limit in USD, and a model on no price list; nothing was paid.
        NoAnswer: five bundles in a row brought no reply.
    """
    if max_concurrency < 1:
        raise InvalidInput(f"max_concurrency is {max_concurrency}: allow at least one call at once")
    recorder = _Recorder(
        tasks,
        menu=menu,
        model=model,
        ledger=ledger,
        limit=max_spend,
        answer=answer,
        models=models or {},
        tariffs=tariffs or Tariffs(),
        replies=replies,
    )
    try:
        return recorder.run(max_concurrency, progress or (lambda _: None))
    finally:
        recorder.book.close()


class _Recorder:
    """One run of a recording."""

    def __init__(
        self,
        tasks: Iterable[LabelledTask],
        *,
        menu: Menu,
        model: BaseChatModel,
        ledger: Ledger,
        limit: SpendLimit,
        answer: AnswerRule,
        models: Mapping[str, BaseChatModel],
        tariffs: Tariffs,
        replies: Path | None,
    ) -> None:
        self.stages = menu.bundles()
        on_menu = {strategy.settings_key for strategy in menu}
        self.menu = Menu([*menu, *(stage for stage in self.stages if stage.settings_key not in on_menu)])
        self.model, self.models, self.answer, self.limit = model, models, answer, limit
        self.rule = f"recorder {getattr(answer, '__qualname__', type(answer).__name__)}"[:200]
        self.appraiser = Appraiser(self.stages, limit, tariffs, model, models)
        self.bundles = bundles_of(tasks, menu, answer, model, models)
        self.router = BudgetRouter(
            self.menu,
            Budget(per_task=limit.total, unit=limit.unit),
            ledger=ledger,
            tariffs=tariffs,
            model=model_name(model),
            exploration=0,
        )
        self.standing = standing_decisions(ledger, self.bundles, rule=self.rule)
        spent = sum(self.appraiser.spent(bundle, one.calls) for bundle in self.bundles for one in self._attempts(bundle))
        self.purse = Purse(limit.whole, spent=spent)
        unsettled = {key: {call.id for call in one.calls} for key, one in self.standing.items() if one.status == "open"}
        self.book = ReplyBook(replies, unsettled)

    def run(self, max_concurrency: int, progress: Callable[[Recording], None]) -> Recording:
        """Draw what is missing, and tell how far it came."""
        missing = [bundle for bundle in self.bundles if not self._is_recorded(bundle)]
        state = Recording(
            menu=self.menu,
            limit=self.limit,
            n_tasks=len(self.bundles) // len(self.stages),
            n_bundles=len(self.bundles),
            n_recorded=len(self.bundles) - len(missing),
            n_failed=0,
            spent=self.limit.shown(self.purse.spent),
            is_bounded=self.appraiser.is_bounded,
        )
        progress(state)
        width = min(max_concurrency, max(stage.n_samples for stage in self.stages))
        n_failed_in_a_row = 0
        pool = ThreadPoolExecutor(max_concurrency // width)
        try:
            for drawn in as_completed([pool.submit(self._draw, bundle, width) for bundle in missing]):
                outcome = drawn.result()
                state = replace(
                    state,
                    n_recorded=state.n_recorded + (outcome == "recorded"),
                    n_failed=state.n_failed + isinstance(outcome, NoAnswer),
                    spent=self.limit.shown(self.purse.spent),
                )
                progress(state)
                n_failed_in_a_row = n_failed_in_a_row + 1 if isinstance(outcome, NoAnswer) else 0
                if isinstance(outcome, NoAnswer) and n_failed_in_a_row == MAX_FAILURES_IN_A_ROW:
                    raise outcome
        finally:
            self.purse.close()
            pool.shutdown(cancel_futures=True)
        return state

    def _draw(self, bundle: Bundle, width: int) -> Literal["recorded", "unaffordable"] | NoAnswer:
        """Draw what is missing of a bundle, and grade it."""
        decision_id, standing = self._attempt(bundle)
        settlement = standing and standing.settlement
        if settlement is None:
            known = self.book.of(decision_id)
            reserved = self.appraiser.most(bundle) * (bundle.stage.n_samples - len(known))
            if not self.purse.reserve(reserved):
                return "unaffordable"
            before = self.appraiser.spent(bundle, standing.calls if standing else ())
            decision = self.router.ledger.record_decision(self._decision(bundle, decision_id), bundle.task, self.menu)
            try:
                execute(
                    self.router,
                    decision,
                    self.model,
                    bundle.task.text,
                    models=self.models,
                    answer=self.answer,
                    max_concurrency=width,
                    replies=known,
                )
            except NoAnswer as error:
                return error
            finally:
                logged = self.router.ledger.decision(decision_id)
                self.purse.pay(reserved, self.appraiser.spent(bundle, logged.calls) - before)
            settlement = logged.settlement
        if settlement is not None:
            self.router.ledger.record_outcome(graded(bundle, settlement, salt=self.router.ledger.salt))
        return "recorded"

    def _decision(self, bundle: Bundle, decision_id: str) -> Decision:
        """All bundles of a task are drawn: together they are the log of a uniform policy, without its chance."""
        task, stage = bundle.task, bundle.stage
        return Decision(
            id=decision_id,
            task_id=task.id or hash_text(task.text, salt=self.router.ledger.salt),
            group=task.group,
            strategy=stage,
            propensities={one.name: 1 / len(self.stages) for one in self.stages},
            shadow_price=0.0,
            expected_cost=expected_cost(
                stage,
                prompt_tokens=count_tokens(task.text).n_tokens,
                unit=self.limit.unit,
                tariffs=self.router.tariffs,
                model=self.router.model,
            ),
            budget=self.router.budgets[None],
            policy_version=self.rule,
            menu_hash=self.menu.hash,
            features=structural_features(task.text),
            features_version=STRUCTURE_VERSION,
        )

    def _attempt(self, bundle: Bundle) -> tuple[str, Standing | None]:
        """The decision to go on with: the first attempt that did not fail, or a new one."""
        for number in count(1):
            standing = self.standing.get(bundle.attempt(number))
            if standing is None or standing.status != "failed":
                return bundle.attempt(number), standing
        raise AssertionError("count() does not end")

    def _attempts(self, bundle: Bundle) -> Iterable[Standing]:
        """All that were made so far."""
        for number in count(1):
            standing = self.standing.get(bundle.attempt(number))
            if standing is None:
                return
            yield standing

    def _is_recorded(self, bundle: Bundle) -> bool:
        standing = self._attempt(bundle)[1]
        return standing is not None and standing.status == "ok" and standing.is_graded
