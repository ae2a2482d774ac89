"""What a router does, as spans and metrics.

The seam is the router's watchers, for every way into it (nodes, chains, agents, one's own code) passes there. A ledger that wraps
the ledger would not see how long a decision took, nor who serves a model; LangChain's callbacks would not see what is decided
without a chain. Without `instrument` the router has no watcher, and nothing here is imported.

A decision is one tree: `budget_router execute`, from the moment it was begun until it is settled, under whichever span was
current then; below it `budget_router decide`, and one span for each model call, in whatever thread or task that was made. Neither
a prompt nor an answer, nor a task's id, stands in any of it.
"""

import threading
from collections import OrderedDict
from datetime import datetime
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, get_tracer, set_span_in_context

from budget_router.records import Call, Decision, Settlement, usd
from budget_router.router import BudgetRouter
from budget_router_otel import conventions as names

MAX_OPEN = 10_000
"""Executions, and calls, that may be under way; beyond it the oldest span ends as it stands, for nobody may ever settle it."""
_SCOPE = "budget_router"
_KNOWN = frozenset({"reported", "counted"})
"""Sources whose tokens are told: the conventions want no rule of thumb in their metrics."""

Labels = dict[str, str]


class _Asked(NamedTuple):
    span: Span
    labels: Labels


class Telemetry:
    """Watches routers; `instrument` makes one for each.

    Args:
        tracer_provider: makes the spans; the process's own unless another is given.
        meter_provider: makes the metrics; likewise.
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None) -> None:
        self._tracer = get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = get_meter(_SCOPE, meter_provider=meter_provider)
        self._tokens = meter.create_histogram(
            names.TOKEN_USAGE,
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=names.TOKEN_BOUNDS,
        )
        self._seconds = meter.create_histogram(
            names.OPERATION_DURATION,
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=names.SECOND_BOUNDS,
        )
        self._decisions = meter.create_counter(names.DECISIONS, unit="{decision}", description="Decisions that were made.")
        self._spend = meter.create_counter(
            names.SPEND, unit="1", description=f"Spend of decisions that were settled, in the unit that {names.UNIT} names."
        )
        self._shadow_price = meter.create_gauge(
            names.SHADOW_PRICE, unit="1", description="Accuracy per unit of cost at which the latest decision was made."
        )
        self._executions: OrderedDict[str, Span] = OrderedDict()
        self._calls: OrderedDict[str, _Asked] = OrderedDict()
        self._lock = threading.Lock()

    def decided(self, decision: Decision, *, began: datetime, is_new: bool) -> None:
        """Begin an execution, and tell of the decision."""
        began_at = _nanoseconds(began)
        with self._lock:
            execution = self._executions.get(decision.id)
            if execution is None:
                execution = self._tracer.start_span(
                    "budget_router execute", start_time=began_at, attributes={**_identity(decision), **_conversation(decision)}
                )
                self._executions[decision.id] = execution
            forgotten = self._executions.popitem(last=False)[1] if len(self._executions) > MAX_OPEN else None
        if forgotten is not None:
            forgotten.end()
        self._tracer.start_span(
            "budget_router decide",
            context=_below(execution),
            start_time=began_at,
            attributes={
                **_identity(decision),
                names.UNIT: decision.budget.unit,
                names.EXPECTED_COST: decision.expected_cost,
                names.SHADOW_PRICE: decision.shadow_price,
                names.PROPENSITY: decision.propensity,
                names.POLICY: decision.policy_version,
                names.REASON: decision.reason,
            },
        ).end()
        if is_new:
            self._decisions.add(1, {**_labels(decision), names.REASON: decision.reason})
            self._shadow_price.set(decision.shadow_price, _group(decision))

    def opened(self, call: Call, *, provider: str | None, operation: str) -> None:
        """Begin the span of a call."""
        labels = {names.OPERATION: operation, names.REQUEST_MODEL: call.model}
        if provider is not None:
            labels[names.PROVIDER] = names.provider_name(provider)
        with self._lock:
            execution = self._executions.get(call.decision_id)
        span = self._tracer.start_span(
            f"{operation} {call.model}",
            context=_below(execution),
            kind=SpanKind.CLIENT,
            attributes={**labels, names.DECISION_ID: call.decision_id},
        )
        with self._lock:
            self._calls[call.id] = _Asked(span, labels)
            forgotten = self._calls.popitem(last=False)[1] if len(self._calls) > MAX_OPEN else None
        if forgotten is not None:
            forgotten.span.end()

    def closed(self, call: Call) -> None:
        """End the span of a call, and count what it took."""
        with self._lock:
            asked = self._calls.pop(call.id, None)
        if asked is None:
            return
        span, labels = asked
        is_known = call.source in _KNOWN
        span.set_attribute(names.SPEND_SOURCE, call.source)
        if is_known:
            span.set_attributes({names.INPUT_TOKENS: call.prompt_tokens, names.OUTPUT_TOKENS: call.completion_tokens})
            details = {names.CACHED_TOKENS: call.cached_tokens, names.REASONING_TOKENS: call.reasoning_tokens}
            span.set_attributes({name: n_tokens for name, n_tokens in details.items() if n_tokens})
        if call.nano_usd is not None:
            span.set_attribute(names.USD, usd(call.nano_usd))
        failed = {names.ERROR_TYPE: names.OTHER_ERROR} if call.status == "error" else {}
        if failed:
            span.set_attributes(failed)
            span.set_status(Status(StatusCode.ERROR))
        span.end()
        if call.source == "cache":  # nobody was asked
            return
        context = _below(span)
        self._seconds.record(call.seconds, {**labels, **failed}, context=context)
        if is_known:
            self._tokens.record(call.prompt_tokens, {**labels, names.TOKEN_TYPE: "input"}, context=context)
            self._tokens.record(call.completion_tokens, {**labels, names.TOKEN_TYPE: "output"}, context=context)

    def settled(self, decision: Decision, settlement: Settlement, *, is_first: bool) -> None:
        """End an execution, and count what it spent: in its budget's unit, and in USD where all its prices are known."""
        with self._lock:
            execution = self._executions.pop(decision.id, None)
        unit, spend = decision.budget.unit, settlement.spend
        billed = {unit: spend.in_unit(unit), "usd": spend.in_unit("usd")}
        known = {unit: amount for unit, amount in billed.items() if amount == amount}  # noqa: PLR0124  # NaN is not
        if execution is not None:
            execution.set_attributes({names.STATUS: settlement.status, names.N_CALLS: spend.n_calls, names.UNIT: unit})
            if unit in known:
                execution.set_attribute(names.SPEND, known[unit])
            if settlement.agreement is not None:
                execution.set_attribute(names.AGREEMENT, settlement.agreement)
            if settlement.status == "failed":
                execution.set_status(Status(StatusCode.ERROR))
            execution.end()
        if is_first:
            for unit, amount in known.items():
                self._spend.add(amount, {**_labels(decision), names.UNIT: unit})

    def close(self) -> None:
        """End the spans of all that is under way, as they stand."""
        with self._lock:
            spans = [*(asked.span for asked in self._calls.values()), *self._executions.values()]
            self._calls.clear()
            self._executions.clear()
        for span in spans:
            span.end()


def instrument(
    router: BudgetRouter, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Telemetry:
    """Give spans and metrics of what a router does from now on; done again, the providers given last count.

    Args:
        router: to be watched.
        tracer_provider: makes the spans; the process's own unless another is given.
        meter_provider: makes the metrics; likewise.
    """
    uninstrument(router)
    telemetry = Telemetry(tracer_provider=tracer_provider, meter_provider=meter_provider)
    router.watchers.append(telemetry)
    return telemetry


def uninstrument(router: BudgetRouter) -> None:
    """Give no more of them, and end what is open; a router that was never instrumented stays as it is."""
    for watcher in [*router.watchers]:
        if isinstance(watcher, Telemetry):
            router.watchers.remove(watcher)
            watcher.close()


def _below(span: Span | None) -> Context | None:
    """The context of a span; that of a decision which was made elsewhere is not known, and what is current counts."""
    return None if span is None else set_span_in_context(span)


def _identity(decision: Decision) -> Labels:
    return {names.DECISION_ID: decision.id, **_labels(decision)}


def _labels(decision: Decision) -> Labels:
    return {names.STRATEGY: decision.strategy.name, **_group(decision)}


def _group(decision: Decision) -> Labels:
    return {} if decision.group is None else {names.GROUP: decision.group}


def _conversation(decision: Decision) -> Labels:
    return {} if decision.thread_id is None else {names.CONVERSATION: decision.thread_id}


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6) * 1_000  # a datetime knows microseconds
