"""The spend meter: one callback handler for the whole process, which tells every model call to whoever pays for it.

A call belongs to the *nearest bound ancestor* of its run: an executor binds the run of each sample, a graph node binds the run of
its graph. A call without a bound ancestor is none of ours. LangChain hands the handler to every run by itself, so nobody has
to pass it on; what it keeps is one entry per *running* run and open call, and the latest runs that have ended: a thread that
outlives its cancelled run may still call a model.
"""

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial, reduce
from operator import add
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, Generation, LLMResult
from langchain_core.runnables import ensure_config
from langchain_core.tracers.context import register_configure_hook

from budget_router.records import Call
from budget_router_langchain.sent import Sent
from budget_router_langchain.usage import NOTHING_KNOWN, Prompt, usage_of

_log = logging.getLogger("budget_router")

MAX_RUNS = 100_000
"""Running runs that are remembered; beyond it the oldest is forgotten. Only runs whose end nobody reports could add up to it."""
MAX_ENDED = 1_000
"""Ended runs that are remembered, for calls that come late."""
_MAX_NAME = 200

Metadata = Mapping[str, Any]  # Any: LangChain's own metadata, values of every kind


class Listener(Protocol):
    """Who pays for the calls of a run."""

    @property
    def decision_id(self) -> str:
        """The decision that the calls are made for."""
        ...

    def opened(self, call: Call, sent: Sent) -> None:
        """A model is about to be called and sent this; an error raised here keeps the call from being made."""
        ...

    def closed(self, call: Call) -> None:
        """A call ended and billed this."""
        ...


Finder = Callable[[object, Metadata], Listener | None]
"""Takes the inputs and metadata of a starting root run, and knows who pays for it, if anybody already does."""


class _Run(NamedTuple):
    parent: UUID | None
    scope: object
    """Runs of one LangGraph task share it."""
    root: UUID


class _Open(NamedTuple):
    call: Call
    prompt: Prompt
    listener: Listener
    began: float
    place: "_Place"
    chunks: list[Generation]
    """What a stream has brought so far: of one that is cut off, nobody else may know it."""


class _Place(NamedTuple):
    """Where a call was opened."""

    thread_id: int
    task: "asyncio.Task[Any] | None"  # Any: a task's result is its own

    @classmethod
    def here(cls) -> Self:
        """The thread, and the task where there is one."""
        try:
            return cls(threading.get_ident(), asyncio.current_task())
        except RuntimeError:  # no event loop runs here
            return cls(threading.get_ident(), None)


class _Ended(NamedTuple):
    parent: UUID | None
    binding: "_Binding | None"


class _Binding:
    """A bound run: who pays from now on, and the calls under it that have not ended."""

    def __init__(self, listener: Listener, *, is_held: bool) -> None:
        self.listener: Listener | None = listener
        self.is_held = is_held
        self.open: dict[UUID, _Open] = {}
        self.is_over = False


class SpendMeter(BaseCallbackHandler):
    """Tells the listener bound to a run of every model call below it: once when it opens, once when it closes."""

    run_inline = True
    raise_error = True  # a call that cannot be opened in the ledger must not be made
    ignore_custom_event = True

    def __init__(self) -> None:
        self.finders: list[Finder] = []
        self._runs: dict[UUID, _Run] = {}
        self._bindings: dict[UUID, _Binding] = {}
        self._calls: dict[UUID, _Binding] = {}
        self._ended: dict[UUID, _Ended] = {}
        self._below: dict[UUID, set[UUID]] = defaultdict(set)  # running runs, by their root
        self._lock = threading.RLock()

    def bind(self, run_id: UUID, listener: Listener, *, holds: bool = False) -> None:
        """Let `listener` pay for the calls below a run from now on, whoever did before.

        Who `holds` the run says itself when it is over: a stream that is left early is drained after LangChain reports its end.
        """
        with self._lock:
            binding = self._bindings.setdefault(run_id, _Binding(listener, is_held=holds))
            binding.listener = listener

    def unbind(self, run_id: UUID, decision_id: str) -> bool:
        """Let nobody pay for a decision's new calls at or above a run, and tell whether anybody did.

        Calls that are open still close with their listener.
        """
        was_paid = False
        with self._lock:
            step: UUID | None = run_id
            while step is not None:
                binding = self._bindings.get(step)
                if binding and binding.listener and binding.listener.decision_id == decision_id:
                    binding.listener, was_paid = None, True
                step = run.parent if (run := self._runs.get(step)) else None
        return was_paid

    def end(self, run_id: UUID) -> None:
        """Let a run be over. What is still open below it was cut off: it closes as an error, with what is known of it.

        A call of another thread is still under way, for nothing cuts a thread off, and so is one of another task that goes on:
        it closes when it ends, at the latest with its task.
        """
        here = _Place.here()
        with self._lock:
            binding = self._bindings.get(run_id)
            if binding:
                binding.is_over = True
            self._forget(run_id)
            for orphan in self._below.pop(run_id, ()):  # of a stream that was abandoned nobody reports the end
                if not self._is_held(orphan):
                    self._forget(orphan)
            still_open = {call_id: binding.open[call_id].place for call_id in [*binding.open]} if binding else {}
        for call_id, (thread_id, task) in still_open.items():
            if thread_id != here.thread_id:
                continue
            if task is None or task is here.task or task.done():
                self._cut_off(call_id)
            else:
                task.add_done_callback(partial(self._cut_off, call_id))

    def _is_held(self, run_id: UUID) -> bool:
        binding = self._bindings.get(run_id)
        return binding is not None and binding.is_held

    def _forget(self, run_id: UUID) -> None:
        """Move a run to those that have ended."""
        run, binding = self._runs.pop(run_id, None), self._bindings.pop(run_id, None)
        if run is not None and run.root in self._below:
            self._below[run.root].discard(run_id)
        if run is not None or binding is not None:
            self._ended[run_id] = _Ended(run and run.parent, binding)
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def _cut_off(self, call_id: UUID, _: object = None) -> None:
        self._close(call_id, None, asyncio.CancelledError("its run ended first"))

    def enclosing(self, run_id: UUID) -> UUID:
        """The run of the graph that a task's run belongs to: the nearest ancestor of another scope, or the root."""
        with self._lock:
            run = self._runs.get(run_id)
            scope = run.scope if run else None
            while run is not None and run.parent is not None:
                run_id = run.parent
                run = self._runs.get(run_id)
                if run is not None and run.scope != scope:
                    break
        return run_id

    def root(self, run_id: UUID) -> UUID:
        """The run that a run is part of, whatever calls what in between: one invocation by the user, one trace."""
        run = self._runs.get(run_id)
        return run.root if run else run_id

    def is_running(self, run_id: UUID) -> bool:
        """Tell whether a run has begun and not ended."""
        return run_id in self._runs

    def n_live(self) -> int:
        """Runs, bindings and open calls that are remembered now."""
        with self._lock:
            return len(self._runs) + len(self._bindings) + len(self._calls)

    def on_chain_start(
        self, *given: Any, run_id: UUID, parent_run_id: UUID | None = None, metadata: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Remember whose child a run is; `given` is what it runs and its inputs, of every type, as LangChain passes them."""
        with self._lock:
            parent = self._runs.get(parent_run_id) if parent_run_id else None
            root = parent.root if parent else run_id
            self._runs[run_id] = _Run(parent_run_id, (metadata or {}).get("langgraph_checkpoint_ns"), root)
            if root != run_id:
                self._below[root].add(run_id)
            if parent_run_id in self._ended and not self._is_held(
                run_id
            ):  # an orphan: it may be cut off, and nobody may report its end
                self._forget(run_id)
            elif len(self._runs) > MAX_RUNS:
                self._forget(next(iter(self._runs)))
        if parent_run_id is None:
            for finder in self.finders:
                if listener := finder(given[1], metadata or {}):
                    self.bind(run_id, listener)

    on_tool_start = on_chain_start
    on_retriever_start = on_chain_start

    def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Forget a run, however it ended and whatever came of it, unless somebody holds it."""
        if not self._is_held(run_id):
            self.end(run_id)

    on_chain_error = on_chain_end
    on_tool_end = on_chain_end
    on_tool_error = on_chain_end
    on_retriever_end = on_chain_end
    on_retriever_error = on_chain_end

    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, **told: Any
    ) -> None:
        """Open a call of a chat model."""
        self._open(serialized, messages[0] if messages else (), run_id, told)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **told: Any) -> None:
        """Open a call of a plain language model."""
        self._open(serialized, prompts[0] if prompts else "", run_id, told)

    def on_llm_new_token(
        self, token: str | list[str | dict[str, Any]], *, chunk: Generation | None = None, run_id: UUID, **_: Any
    ) -> None:
        """Keep what a stream brings until its call closes."""
        binding = self._calls.get(run_id)
        opened = binding and binding.open.get(run_id)
        if opened:
            opened.chunks.append(chunk or Generation(text=token if isinstance(token, str) else ""))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_: Any) -> None:
        """Close a call."""
        self._close(run_id, response, None)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, response: LLMResult | None = None, **_: Any) -> None:
        """Close a call that failed or was cancelled, with what is known of it."""
        self._close(run_id, response, error)

    def _open(self, serialized: dict[str, Any] | None, prompt: Prompt, run_id: UUID, told: dict[str, Any]) -> None:
        parent_id = told.get("parent_run_id") or _run_around()
        with self._lock:
            binding = None if run_id in self._calls else self._nearest_binding(run_id, parent_id)
            if binding is None or (listener := binding.listener) is None:
                return
            call = Call(id=str(run_id), decision_id=listener.decision_id, model=_model_name(serialized, told), status="open")
            binding.open[run_id] = _Open(call, prompt, listener, time.monotonic(), _Place.here(), [])
            self._calls[run_id] = binding
            task = binding.open[run_id].place.task
            if binding.is_over and task is not None:  # no run's end is going to close it if it is cut off
                task.add_done_callback(partial(self._cut_off, run_id))
        try:
            listener.opened(call, Sent(prompt, told.get("invocation_params") or {}, told.get("metadata") or {}))
        except BaseException:
            with self._lock:
                self._calls.pop(run_id, None)
                binding.open.pop(run_id, None)
            raise

    def _nearest_binding(self, run_id: UUID, parent_id: UUID | None) -> _Binding | None:
        step: UUID | None = run_id
        while step is not None:
            ended = self._ended.get(step)
            binding = self._bindings.get(step) or (ended and ended.binding)
            if binding is not None and binding.listener is not None:
                return binding
            run = self._runs.get(step) or ended
            step = parent_id if step == run_id else run and run.parent
        return None

    def _close(self, run_id: UUID, response: LLMResult | None, error: BaseException | None) -> None:
        with self._lock:
            binding = self._calls.pop(run_id, None)
            if binding is None:
                return
            opened = binding.open.pop(run_id)
        try:
            usage = usage_of(_brought(response, opened.chunks) if error else response, opened.prompt, error)
        except Exception:  # noqa: BLE001  # a reply that nobody can read must not cost the user the reply
            _log.exception("call %s of %s: its usage cannot be read, and is booked as unknown", run_id, opened.call.model)
            usage = NOTHING_KNOWN
        call = opened.call.model_copy(
            update={
                **usage._asdict(),
                "seconds": max(time.monotonic() - opened.began, 0.0),
                "status": "ok" if error is None else "error",
            }
        )
        try:
            opened.listener.closed(call)
        except Exception:  # noqa: BLE001  # its opening stands, an audit books it; the reply is paid and goes to the user
            _log.exception("the ledger keeps call %s as open, its closing was refused: %s", call.id, call.model_dump_json())


def _run_around() -> UUID | None:
    """The run in whose context a call is made, though it was not told so: `generate` takes no config."""
    return getattr(ensure_config().get("callbacks"), "parent_run_id", None)


def _brought(response: LLMResult | None, chunks: list[Generation]) -> LLMResult | None:
    """What came of a call that failed: by its error's own word, else by what its stream had brought."""
    if not chunks or (response and any(one for generations in response.generations for one in generations)):
        return response
    if all(isinstance(chunk, ChatGenerationChunk) for chunk in chunks):
        return LLMResult(generations=[[reduce(add, chunks)]])
    return LLMResult(generations=[[Generation(text="".join(chunk.text for chunk in chunks))]])


def _model_name(serialized: dict[str, Any] | None, told: dict[str, Any]) -> str:
    asked, known = told.get("invocation_params") or {}, told.get("metadata") or {}
    names = (asked.get("model"), asked.get("model_name"), known.get("ls_model_name"), (serialized or {}).get("name"))
    return next((name for name in names if isinstance(name, str) and name), "unknown")[:_MAX_NAME]


meter = SpendMeter()
"""The process's meter; LangChain hands it to every run, as the *default* of a variable that LangChain asks for handlers."""

_handler: ContextVar[BaseCallbackHandler | None] = ContextVar("budget_router_meter", default=meter)
register_configure_hook(_handler, inheritable=True)
