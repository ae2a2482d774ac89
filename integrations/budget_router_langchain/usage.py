"""What one call of a model billed: by the provider's own word, else counted, else by a rule of thumb."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, get_buffer_string
from langchain_core.outputs import Generation, LLMResult

from budget_router.records import SpendSource
from budget_router.tokens import count_tokens

Prompt = str | Sequence[BaseMessage]


class Usage(NamedTuple):
    """Tokens of one call, and who says so."""

    prompt_tokens: int
    completion_tokens: int
    source: SpendSource
    reasoning_tokens: int = 0
    cached_tokens: int = 0

    @property
    def n_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


NOTHING_KNOWN = Usage(0, 0, "estimated")


def usage_of(response: LLMResult | None, prompt: Prompt, error: BaseException | None = None) -> Usage:
    """Tell what a request billed, once, however many generations it brought.

    A request that was cut off by a cancellation or a timeout had been sent: its prompt is estimated as billed. Any other request
    that failed without a word of reply is taken as not billed.
    """
    generations = list(_generations(response))
    written = "".join(_written(generation) for generation in generations)
    reported = _reported(generations, response)
    is_whole = error is None or not written  # a stream that broke off has not told its completion yet
    if reported and is_whole and (reported.source == "cache" or reported.n_tokens or not written):
        return reported
    if error is not None and not written:
        return Usage(_counted(prompt).prompt_tokens, 0, "estimated") if is_interruption(error) else NOTHING_KNOWN
    counted = _counted(prompt)._replace(completion_tokens=count_tokens(written).n_tokens)
    return counted if reported is None else counted._replace(prompt_tokens=reported.prompt_tokens or counted.prompt_tokens)


def is_interruption(error: BaseException) -> bool:
    """Tell whether an error came while the provider was at work: a cancellation, an interrupt, a timeout of any library."""
    return not isinstance(error, Exception) or any("Timeout" in kind.__name__ for kind in type(error).__mro__)


def _counted(prompt: Prompt) -> Usage:
    n_tokens, source = count_tokens(prompt if isinstance(prompt, str) else get_buffer_string(prompt))
    return Usage(n_tokens, 0, source)


def _generations(response: LLMResult | None) -> Iterator[Generation]:
    for one_prompt in response.generations if response else []:
        yield from (generation for generation in one_prompt if isinstance(generation, Generation))


def _reported(generations: list[Generation], response: LLMResult | None) -> Usage | None:
    messages = [generation.message for generation in generations if hasattr(generation, "message")]
    for message in messages:
        if isinstance(message, AIMessage) and (usage := message.usage_metadata):  # each generation repeats the request's total
            if usage.get("total_cost") == 0:  # how LangChain marks a reply from its own cache
                return Usage(0, 0, "cache")
            prompt, completion = _n(usage.get("input_tokens")), _n(usage.get("output_tokens"))
            reasoning = _n(usage.get("output_token_details", {}).get("reasoning"))
            cached = _n(usage.get("input_token_details", {}).get("cache_read"))
            return Usage(prompt, completion, "reported", min(reasoning, completion), min(cached, prompt))
    told = (response.llm_output if response else None) or {}
    totals = told.get("token_usage") or told.get("usage")
    if isinstance(totals, dict) and "prompt_tokens" in totals:
        return Usage(_n(totals["prompt_tokens"]), _n(totals.get("completion_tokens")), "reported")
    return None


def _n(tokens: Any) -> int:  # Any: what a provider put there, None included
    return max(int(tokens or 0), 0)


def _written(generation: Generation) -> str:
    """All that the model wrote: text, thinking, and the tool calls it asked for."""
    message = getattr(generation, "message", None)
    if not isinstance(message, AIMessage):
        return generation.text
    blocks = [message.content] if isinstance(message.content, str) else message.content
    texts = [block if isinstance(block, str) else _text_of(block) for block in blocks]
    texts.append(str(message.additional_kwargs.get("reasoning_content") or ""))
    texts += [call["name"] + json.dumps(call["args"], default=str) for call in message.tool_calls]
    return "".join(texts)


def _text_of(block: dict[str, Any]) -> str:  # Any: a provider's own block
    return next((str(block[key]) for key in ("text", "thinking", "reasoning") if block.get(key)), "")
