"""Watching a ledger from the command line: learn again whenever there is a reason to, until told to stop."""

import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

import typer

from budget_router.budget import Budget
from budget_router.errors import InvalidInput
from budget_router.evaluation import Gate
from budget_router.ledger import Ledger
from budget_router.refresher import EVERY_OUTCOMES, TICK_SECONDS, Check, Learn, Refresher, Tick
from budget_router.refreshing import refresh
from budget_router.triggers import Every, EveryOutcomes, OnDrift, Trigger
from budget_router_cli.terminal import talk


class _Stopped(BaseException):
    """Whoever runs the command wants it to end."""


def watch(
    ledger: Ledger,
    *,
    budget: Budget,
    every: str | None = None,
    outcomes: int | None = None,
    on_drift: bool = False,
    gate: Gate | None = None,
    share: float = 1.0,
    window: str | None = None,
    checks: Sequence[Check] = (),
    learn: Learn = refresh,
    tick_seconds: float = TICK_SECONDS,
    as_json: bool = False,
) -> None:
    """Learn again whenever there is a reason to, and print a line for each time; returns on SIGINT or SIGTERM.

    A refresh that is at work is given up then: what serves goes on serving, and the next one begins anew.

    Args:
        ledger: that is watched, under the menu of its latest decision.
        budget: at which candidates are judged.
        every: span after which to learn again, as 30m, 12h or 1d.
        outcomes: grades after which to learn again; 500 where no trigger is given.
        on_drift: whether to learn when what the policy was learned from no longer holds.
        gate: what a candidate must pass before it serves.
        share: of the threads that it decides at first.
        window: how far back decisions are learned from, as 30d.
        checks: called at each look.
        learn: how; a `partial` of `refresh` for other settings.
        tick_seconds: from one look to the next.
        as_json: one JSON object a line.
    """
    triggers: list[Trigger] = []
    if every is not None:
        triggers.append(Every(span(every)))
    if outcomes is not None:
        triggers.append(EveryOutcomes(outcomes))
    if on_drift:
        triggers.append(OnDrift())
    refresher = Refresher(
        ledger,
        budget=budget,
        triggers=triggers or [EVERY_OUTCOMES],
        gate=gate,
        share=share,
        window=None if window is None else span(window),
        checks=checks,
        learn=learn,
        tick_seconds=tick_seconds,
    )
    talk.print(f"watching; Ctrl-C ends it. Looks every {tick_seconds:g} s", highlight=False)
    with _until_stopped():
        refresher.run(threading.Event(), tell=lambda tick: typer.echo(_line(tick, as_json=as_json)))


def span(text: str) -> timedelta:
    """Read a span of time, as 90s, 30m, 12h or 7d; raises InvalidInput."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(text[-1:])
    try:
        length = timedelta(seconds=float(text[:-1]) * (seconds or 0))
    except (ValueError, OverflowError):
        length = timedelta(0)
    if length <= timedelta(0):
        raise InvalidInput(f"{text!r} is no span of time: write it as 90s, 30m, 12h or 7d")
    return length


def _line(tick: Tick, *, as_json: bool) -> str:
    if not as_json:
        return f"{tick.at.astimezone():%Y-%m-%d %H:%M:%S}  {tick.says}"
    facts: dict[str, object] = {"at": tick.at.isoformat(), "done": tick.done, "reasons": tick.reasons, "checks": tick.told}
    if tick.result is not None:
        facts |= {"version": tick.result.version, "verdict": tick.result.verdict.facts()}
    if tick.error is not None:
        facts |= {"error": f"{type(tick.error).__name__}: {tick.error}"}
    return json.dumps(facts)


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Work until SIGINT or SIGTERM comes, which breaks off whatever is at work; then all is as before."""

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # signal's own signature
        raise _Stopped

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stopped:
        talk.print("stopped", highlight=False)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
