"""Names and bounds of OpenTelemetry's conventions for generative AI, and our own few beside them.

Reference: Semantic conventions for generative AI, spans and metrics, https://opentelemetry.io/docs/specs/semconv/gen-ai/ (status:
development).
"""

from typing import Final

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
CONVERSATION: Final = "gen_ai.conversation.id"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  # no password
ERROR_TYPE: Final = "error.type"
OTHER_ERROR: Final = "_OTHER"
"""Of an error whose class is not told: a call's record says that it failed, not how."""

TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105  # likewise
OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
TOKEN_BOUNDS: Final = [float(4**power) for power in range(14)]
SECOND_BOUNDS: Final = [0.01 * 2**power for power in range(14)]

DECISION_ID: Final = "budget_router.decision.id"
STRATEGY: Final = "budget_router.strategy"
GROUP: Final = "budget_router.group"
REASON: Final = "budget_router.reason"
UNIT: Final = "budget_router.unit"
POLICY: Final = "budget_router.policy.version"
EXPECTED_COST: Final = "budget_router.expected_cost"
PROPENSITY: Final = "budget_router.propensity"
STATUS: Final = "budget_router.status"
AGREEMENT: Final = "budget_router.agreement"
N_CALLS: Final = "budget_router.n_calls"
SPEND_SOURCE: Final = "budget_router.spend.source"
USD: Final = "budget_router.usd"

DECISIONS: Final = "budget_router.decisions"
SPEND: Final = "budget_router.spend"
"""A metric; on a span of an execution, its whole spend in its budget's unit."""
SHADOW_PRICE: Final = "budget_router.shadow_price"
"""Likewise a metric, and what one decision was made at."""

_PROVIDERS: Final = {
    "amazon_bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google_genai": "gcp.gen_ai",
    "google_vertexai": "gcp.vertex_ai",
    "ibm": "ibm.watsonx.ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
"""LangChain's names of providers that the conventions name otherwise."""


def provider_name(provider: str) -> str:
    """A provider by the conventions' name, or by LangChain's where they have none.

    >>> provider_name("azure"), provider_name("openai"), provider_name("ollama")
    ('azure.ai.openai', 'openai', 'ollama')
    """
    return _PROVIDERS.get(provider, provider)
