"""What a model is about to be sent, and so what the call may bill at most, whatever the model's tokenizer."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue

from budget_router.costs import TEMPLATE_TOKENS
from budget_router.errors import Unbounded
from budget_router_langchain.asked import messages_of
from budget_router_langchain.usage import Prompt

_MAX_TOKENS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens_to_sample",
    "max_new_tokens",
    "num_predict",
)
_GENERATIONS = ("n", "candidate_count")
_WORDS = frozenset(
    {"text", "input_text", "output_text", "thinking", "redacted_thinking", "reasoning", "refusal", "tool_use", "tool_call"}
    | {"tool_result", "function_call", "server_tool_call", "server_tool_result", "non_standard"}
)
"""Parts of a message that are made of words; of all others, images first, no length tells how many tokens they are."""
_TOOLS_TOKENS = 1024
"""Most tokens of a provider's own words around tools, where there are any."""
_MESSAGE_TOKENS = TEMPLATE_TOKENS // 2
"""Most tokens of a chat template around one message."""
_UNSAID = frozenset({"model", "model_name", "_type", "stop", "user", "service_tier", "reasoning_effort"})
"""Parameters that are no part of the prompt; whatever else is made of words may be."""

Facts = Mapping[str, Any]  # Any: LangChain's own, values of every kind


class Sent(NamedTuple):
    """A prompt, and all that goes with it."""

    prompt: Prompt
    params: Facts
    """What LangChain calls the invocation's parameters: tools and limits are among them."""
    metadata: Facts

    @property
    def provider(self) -> str | None:
        """Who serves the model, by LangChain's name, where it tells."""
        provider = self.metadata.get("ls_provider")
        return provider if isinstance(provider, str) and provider else None

    @property
    def operation(self) -> str:
        """What is asked, by OpenTelemetry's name."""
        return "text_completion" if isinstance(self.prompt, str) else "chat"

    @property
    def prompt_tokens(self) -> int:
        """Most tokens of the prompt: a byte of it is a token at most. Raises Unbounded for what is no text."""
        if self.params.get("previous_response_id") or self.params.get("conversation"):
            raise Unbounded(
                "the call goes on with a response that the provider keeps, of unknown length: send the messages whole"
            )
        told = sum(
            _n_bytes(value)
            for name, value in self.params.items()
            if name not in _UNSAID and isinstance(value, str | Sequence | Mapping)
        )
        tools = _TOOLS_TOKENS if self.params.get("tools") or self.params.get("functions") else 0
        if isinstance(self.prompt, str):
            return TEMPLATE_TOKENS + _n_bytes(self.prompt) + tools + told
        said = sum(map(_message_bytes, self.prompt))
        return max(TEMPLATE_TOKENS, _MESSAGE_TOKENS * len(self.prompt)) + said + tools + told

    def completion_tokens(self, n_generations: int) -> int:
        """Most tokens that so many generations may write; raises Unbounded when nothing limits one."""
        limits = [self.params.get(name) for name in _MAX_TOKENS] + [self.metadata.get("ls_max_tokens")]
        longest = [limit for limit in limits if isinstance(limit, int) and limit > 0]
        if not longest:
            raise Unbounded(
                "the call has no max_tokens, so under a hard cap the most that it may bill is not known: set max_tokens on the "
                "model, or draw on a group without a hard cap"
            )
        asked = [self.params.get(name) for name in _GENERATIONS]
        return max(longest) * max(n_generations, *(n for n in asked if isinstance(n, int)), 1)


def most_tokens(sent: LanguageModelInput) -> int | None:
    """Most tokens of what is going to be sent; `None` where no length tells: then each call says so itself."""
    try:
        messages = sent.to_messages() if isinstance(sent, PromptValue) else sent if isinstance(sent, str) else messages_of(sent)
        return Sent(messages, {}, {}).prompt_tokens
    except Unbounded:
        return None


def _message_bytes(message: BaseMessage) -> int:
    blocks: Sequence[Any] = [message.content] if isinstance(message.content, str) else message.content  # Any: a provider's block
    for block in blocks:
        kind = "text" if isinstance(block, str) else str(block.get("type", "text"))
        if kind not in _WORDS:
            raise Unbounded(
                f"the prompt holds a part of type {kind!r}, and no length tells how many tokens that is: leave it out, or draw "
                "on a group without a hard cap"
            )
    beside = {**message.additional_kwargs, "tool_calls": getattr(message, "tool_calls", None), "name": message.name}
    return _n_bytes(message.content) + sum(_n_bytes(value) for value in beside.values() if value)


def _n_bytes(value: object) -> int:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return len(text.encode("utf-8", "replace"))
