"""What decisions cost: each call opened before it is made and closed by what it billed, and each execution settled."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Literal

from budget_router.averages import Averages
from budget_router.billing import Billing
from budget_router.budget import Unit
from budget_router.capping import Capping
from budget_router.errors import BudgetRouterError
from budget_router.grading import Grading
from budget_router.ledger import gathers
from budget_router.policies.cold_start import ColdStart
from budget_router.records import Call, Decision, Sample, Settlement, Spend, hash_text
from budget_router.strategies import Result
from budget_router.watching import Watchers

Status = Literal["ok", "failed"]


class Spending(Grading):
    """Records what is spent in a ledger, and lets caps and averages follow it."""

    watchers: Watchers
    _unit: Unit
    _billing: Billing
    _capping: Capping
    _averages: Averages
    _cold_start: ColdStart
    _clock: Callable[[], datetime]

    @property
    def is_capped(self) -> bool:
        """Whether any of its budgets has a hard cap."""
        return self._capping.is_needed

    def open_call(self, call: Call, *, provider: str | None = None, operation: str = "chat", is_open: bool = False) -> None:
        """Record that a model is about to be called for a decision; what no ledger keeps goes to the watchers alone.

        Args:
            call: that is about to be made.
            provider: who serves the model, by LangChain's name.
            operation: what is asked, by OpenTelemetry's name: `chat` or `text_completion`.
            is_open: whether it was opened with its decision, so that the ledger knows of it.
        """
        try:
            if not is_open:
                self.ledger.open_call(call)
        except BaseException:
            with suppress(BudgetRouterError):  # else it expires
                self._capping.pay(call.decision_id, call.id, 0)
            raise
        self.watchers.tell(lambda watcher: watcher.opened(call, provider=provider, operation=operation))

    def claim(self, decision: Decision, call: Call, *, prompt_tokens: int, completion_tokens: int) -> None:
        """Set aside what a call may bill at most, before it is opened; without a hard cap there is nothing to do.

        Args:
            decision: that the call is made for.
            call: that is about to be made.
            prompt_tokens: most of it, tools and all else that is sent included.
            completion_tokens: most of it, of all its generations together.

        Raises:
            CapReached: the cap has too little left: the call must not be made.
            UnknownTariff: the cap is in USD, and the model on no price list: as above.
        """
        self._capping.claim(decision, call, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)

    def close_call(self, call: Call, *, settles_soon: bool = False) -> Call:
        """Price what a call billed and record it; a model on no price list keeps an unknown price, not a price of zero.

        Args:
            call: that has ended.
            settles_soon: whoever executes the decision lets nobody know what the call brought before it is settled: the
                ledger may keep the call with the settlement, in one commit. Under a hard cap it is kept at once.
        """
        call = self._billing.priced(call)
        self.watchers.tell(lambda watcher: watcher.closed(call))
        try:
            if settles_soon and gathers(self.ledger) and not self.is_capped:
                self.ledger.close_call_soon(call)
            else:
                self.ledger.close_call(call)
        finally:
            if self.is_capped:
                self._capping.pay(call.decision_id, call.id, None if call.is_cut_off else Spend.of([call]).counted(self._unit))
        return call

    def settle(
        self,
        decision: Decision,
        spend: Spend,
        *,
        result: Result | None = None,
        status: Status = "ok",
    ) -> Settlement:
        """Record the end of an execution, and let the price follow what was spent.

        Args:
            decision: the one that was executed.
            spend: all that it billed, failed calls included.
            result: what was drawn and answered, for the vote's record.
            status: `failed` when no answer came of it.
        """
        settlement = self._settlement(decision, spend, result, status)
        try:
            self.ledger.record_settlement(settlement)
        finally:
            self._capping.settle(decision.id, spend.counted(self._unit))
        self._spent(decision, settlement)
        return settlement

    async def asettle(
        self, decision: Decision, spend: Spend, *, result: Result | None = None, status: Status = "ok"
    ) -> Settlement:
        """Do as `settle`, in a coroutine; in a thread under a hard cap, or where no coroutine can wait for the ledger."""
        if self.is_capped or not gathers(self.ledger):
            return await asyncio.to_thread(self.settle, decision, spend, result=result, status=status)
        settlement = self._settlement(decision, spend, result, status)
        try:
            await self.ledger.arecord_settlement(settlement)
        except asyncio.CancelledError:  # it is written all the same
            self._spent(decision, settlement)
            raise
        self._spent(decision, settlement)
        return settlement

    def _settlement(self, decision: Decision, spend: Spend, result: Result | None, status: Status) -> Settlement:
        salt = self.ledger.salt
        return Settlement(
            decision_id=decision.id,
            status=status,
            samples=tuple(
                Sample(index=draw.index, call_id=draw.call_id, answer_key=draw.answer and hash_text(draw.answer, salt=salt))
                for draw in (result.draws if result else ())
            ),
            answer_key=result and result.answer and hash_text(result.answer, salt=salt),
            agreement=result and result.agreement,
            spend=spend,
            settled_at=self._clock(),
        )

    def _spent(self, decision: Decision, settlement: Settlement) -> None:
        """Let the price follow what a decision billed."""
        cost, pacer = settlement.spend.in_unit(decision.budget.unit), self._averages.of(decision.group)
        is_known = not math.isnan(cost)
        is_first = pacer.settled(
            decision.id, cost if is_known else decision.expected_cost, is_typical=is_known and settlement.status == "ok"
        )
        if is_first and settlement.status == "ok":  # a retry or an outage teaches nothing about the length of answers
            self._cold_start.settled(decision.strategy, settlement.spend, n_answers=len(settlement.samples) or None)
        self.watchers.tell(lambda watcher: watcher.settled(decision, settlement, is_first=is_first))
