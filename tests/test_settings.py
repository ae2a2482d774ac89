"""Each provider's own class, with settings where its requests really carry them. No key here opens anything."""

import json
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from budget_router.errors import InvalidInput
from budget_router.menu import Sampling
from budget_router_langchain import tuned
from budget_router_langchain.settings import longest_reply

HIGH = Sampling(effort="high")
LONG = Sampling(max_thinking_tokens=2000)


def gpt(model: str = "gpt-5.1", **settings: Any) -> Any:
    from langchain_openai import ChatOpenAI  # here and below where it is used: each worker imports what its own tests need

    return ChatOpenAI(model=model, api_key="none", **settings)


def azure() -> Any:
    from langchain_openai import AzureChatOpenAI

    address = {"azure_endpoint": "https://none.invalid", "azure_deployment": "o3", "api_version": "2025-01-01"}
    return AzureChatOpenAI(model="o3", api_key="none", **address)


def claude(model: str = "claude-sonnet-4-5", **settings: Any) -> Any:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model=model, api_key="none", **settings)


def ollama(**settings: Any) -> Any:
    from langchain_ollama import ChatOllama

    return ChatOllama(model="gpt-oss", **settings)


def request(model: Any, sampling: Sampling) -> dict[str, Any]:
    """What a tuned model sends, but for the messages; `extra_body` is laid over the rest, as the client does it."""
    draft = getattr(model, "_get_request_payload", None) or model._chat_params
    sent = draft.__func__(tuned(model, sampling), [HumanMessage("?")])
    sent |= sent.pop("extra_body", {})
    return {name: value for name, value in sent.items() if name not in {"messages", "input", "model", "stream"}}


# OpenAI and compatible servers


@pytest.mark.parametrize(
    ("make", "sampling", "sent"),
    [
        (gpt, HIGH, {"reasoning_effort": "high"}),
        (gpt, Sampling(max_tokens=9), {"max_completion_tokens": 9}),
        (partial(gpt, "gpt-4o"), Sampling(temperature=0.7), {"temperature": 0.7}),
        (partial(gpt, reasoning_effort="low"), HIGH, {"reasoning_effort": "high"}),
        (partial(gpt, use_responses_api=True), HIGH, {"reasoning": {"effort": "high"}}),
        (partial(gpt, use_responses_api=True), Sampling(max_tokens=9), {"max_output_tokens": 9}),
        (
            partial(gpt, reasoning={"effort": "low", "summary": "auto"}),
            HIGH,
            {"reasoning": {"effort": "high", "summary": "auto"}},
        ),
        (
            partial(gpt, reasoning={"summary": "auto"}, reasoning_effort="low"),
            HIGH,
            {"reasoning": {"effort": "high", "summary": "auto"}},
        ),
        (azure, HIGH, {"reasoning_effort": "high"}),
        (azure, Sampling(max_tokens=9), {"max_completion_tokens": 9}),
        (partial(gpt, "qwen3", base_url="http://none.invalid/v1"), HIGH, {"reasoning_effort": "high"}),
    ],
)
def test_openais_classes_send_each_setting_where_their_interface_reads_it(
    make: Callable[[], Any], sampling: Sampling, sent: dict[str, Any]
) -> None:
    assert request(make(), sampling) == sent


class Wire:
    """Keeps what would be sent, and sends nothing."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def handle_request(self, request: Any) -> Any:
        self.bodies.append(json.loads(request.read()))
        raise ConnectionError("nothing is sent")

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("extra_body", "sampling", "sent"),
    [
        ({"reasoning_effort": "low", "top_k": 20}, HIGH, {"reasoning_effort": "high", "top_k": 20}),
        ({"reasoning": {"max_tokens": 500, "exclude": True}}, HIGH, {"reasoning": {"effort": "high", "exclude": True}}),
        ({"max_tokens": 300}, Sampling(max_tokens=9), {"max_tokens": 9, "max_completion_tokens": 9}),
        ({"temperature": 0.2}, Sampling(temperature=0.9), {"temperature": 0.9}),
        ({"top_k": 20}, Sampling(temperature=0.9), {"temperature": 0.9, "top_k": 20}),
    ],
)
def test_a_setting_goes_over_the_wire_though_the_models_extra_body_says_another(
    extra_body: dict[str, Any], sampling: Sampling, sent: dict[str, Any]
) -> None:
    import openai

    wire = Wire()
    with closing(openai.DefaultHttpxClient(transport=wire)) as client:
        model = gpt("qwen3", base_url="http://none.invalid/v1", http_client=client, max_retries=0, extra_body=extra_body)
        with pytest.raises(ConnectionError):
            tuned(model, sampling).invoke("?")
    (body,) = wire.bodies
    assert {name: value for name, value in body.items() if name not in {"messages", "model", "stream"}} == sent
    assert model.extra_body == extra_body


def test_a_copy_shares_the_originals_client() -> None:
    model = gpt()
    assert tuned(model, HIGH).root_client is model.root_client


@pytest.mark.parametrize("make", [partial(gpt, "gpt-5"), partial(gpt, "qwen3", base_url="http://none.invalid/v1"), azure])
def test_a_thinking_token_limit_on_openais_interface_is_refused_with_two_ways_out(make: Callable[[], Any]) -> None:
    with pytest.raises(
        InvalidInput, match=r"no max_thinking_tokens.*: set effort instead, or .* model= .* server's own extra_body"
    ):
        tuned(make(), LONG)


@pytest.mark.parametrize(
    ("make", "sampling", "refusal"),
    [
        (partial(gpt, "gpt-4o"), HIGH, "ChatOpenAI 'gpt-4o' does not reason, says its profile: leave effort out"),
        (gpt, Sampling(effort="minimal"), "takes no effort 'minimal', says its profile, but 'none', 'low'"),
        (partial(gpt, "o3"), Sampling(temperature=0.7), "takes no temperature, says its profile, the strategy sets 0.7"),
        (gpt, Sampling(temperature=0.7), "takes no temperature but 1 while it reasons, the strategy sets 0.7"),
        (
            partial(gpt, "gpt-4o"),
            Sampling(max_tokens=20_000),
            "at most 16384 tokens, says its profile, the strategy sets max_tokens=20000",
        ),
    ],
)
def test_what_openais_model_cannot_is_refused_though_its_class_can(
    make: Callable[[], Any], sampling: Sampling, refusal: str
) -> None:
    with pytest.raises(InvalidInput, match=refusal):
        tuned(make(), sampling)


def test_a_temperature_that_an_effort_does_not_go_with_is_put_away() -> None:
    model = gpt(reasoning_effort="none", temperature=0.2)
    assert request(model, Sampling(temperature=0.7)) == {"reasoning_effort": "none", "temperature": 0.7}
    assert request(model, HIGH) == {"reasoning_effort": "high"}


# Anthropic


def thinking(limit: int, **more: Any) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": limit, **more}


@pytest.mark.parametrize(
    ("make", "sampling", "sent"),
    [
        (partial(claude, max_tokens=500), Sampling(max_tokens=9, temperature=0.7), {"max_tokens": 9, "temperature": 0.7}),
        (partial(claude, max_tokens=8000), LONG, {"max_tokens": 8000, "thinking": thinking(2000)}),
        (
            partial(claude, max_tokens=8000, thinking=thinking(1500, display="omitted")),
            LONG,
            {"max_tokens": 8000, "thinking": thinking(2000, display="omitted")},
        ),
        (partial(claude, "claude-opus-4-5", max_tokens=500), HIGH, {"max_tokens": 500, "output_config": {"effort": "high"}}),
        (
            partial(claude, "claude-opus-4-5", max_tokens=500, output_config={"effort": "low"}),
            HIGH,
            {"max_tokens": 500, "output_config": {"effort": "high"}},
        ),
        (
            partial(claude, "claude-opus-5", max_tokens=500),
            HIGH,
            {"max_tokens": 500, "output_config": {"effort": "high"}, "thinking": {"type": "adaptive", "display": "summarized"}},
        ),
    ],
)
def test_anthropics_class_sends_each_setting_where_its_interface_reads_it(
    make: Callable[[], Any], sampling: Sampling, sent: dict[str, Any]
) -> None:
    assert request(make(), sampling) == sent


@pytest.mark.parametrize(
    ("own", "sent"),
    [(500, 2500), (2000, 4000), (2001, 2001)],
)
def test_thinking_takes_no_room_from_the_answer_where_the_strategy_sets_no_limit(own: int, sent: int) -> None:
    model = claude(max_tokens=own)
    assert request(model, LONG) == {"max_tokens": sent, "thinking": thinking(2000)}
    assert longest_reply(tuned(model, LONG)) == sent


def test_the_room_of_thought_and_answer_is_not_raised_above_what_the_model_writes() -> None:
    assert request(claude(), Sampling(max_thinking_tokens=63_999))["max_tokens"] == 64_000
    assert request(claude(max_tokens=5000), Sampling(max_thinking_tokens=60_000))["max_tokens"] == 64_000
    with pytest.raises(InvalidInput, match="at most 64000 tokens, says its profile, the strategy sets max_thinking_tokens=64000"):
        tuned(claude(), Sampling(max_thinking_tokens=64_000))


def test_what_thinking_does_not_go_with_is_put_away_and_the_rest_is_kept() -> None:
    assert request(claude(max_tokens=8000, temperature=0.2, top_k=5, top_p=0.9), LONG) == {
        "max_tokens": 8000,
        "thinking": thinking(2000),
    }
    kept = {"temperature": 1.0, "top_p": 0.97}
    assert request(claude(max_tokens=8000, **kept), LONG) == {"max_tokens": 8000, "thinking": thinking(2000), **kept}
    still = {"temperature": 0.2, "max_tokens": 500}
    assert request(claude("claude-opus-4-5", **still), HIGH) == {**still, "output_config": {"effort": "high"}}


@pytest.mark.parametrize(
    ("make", "sampling", "refusal"),
    [
        (claude, Sampling(max_thinking_tokens=1023), "takes no max_thinking_tokens below 1024, .* 1023: raise it to 1024"),
        (claude, Sampling(max_thinking_tokens=2000, max_tokens=2000), "up to 2000 tokens, and max_tokens=2000 includes them"),
        (
            partial(claude, thinking=thinking(3000)),
            Sampling(max_tokens=3000),
            "up to 3000 tokens, and max_tokens=3000 includes them",
        ),
        (claude, Sampling(max_thinking_tokens=2000, temperature=0.7), "takes no temperature but 1 while it reasons, .* 0.7"),
        (partial(claude, thinking=thinking(3000)), Sampling(temperature=0.7), "takes no temperature but 1 while it reasons"),
        (claude, Sampling(temperature=1.5), "takes no temperature above 1, the strategy sets 1.5: lower it"),
        (claude, Sampling(effort="minimal"), "takes no effort 'minimal', input should be 'max', 'xhigh', 'high', 'medium'"),
        (
            partial(claude, "claude-opus-4-5"),
            Sampling(effort="minimal"),
            "takes no effort 'minimal', says its profile, but 'low', ",
        ),
        (partial(claude, "claude-opus-4-7"), LONG, "takes no thinking-token limit, says its profile: set effort instead"),
        (partial(claude, "claude-opus-5-20990101"), LONG, "refuses the strategy's settings, .*use adaptive thinking"),
    ],
)
def test_what_anthropic_does_not_take_is_refused_before_it_is_asked(
    make: Callable[[], Any], sampling: Sampling, refusal: str
) -> None:
    with pytest.raises(InvalidInput, match=refusal):
        tuned(make(), sampling)


# Ollama


def test_ollamas_class_sends_each_setting_where_its_server_reads_it() -> None:
    sent = request(ollama(reasoning=False, num_predict=5), Sampling(effort="high", max_tokens=9, temperature=0.7))
    assert (sent["think"], sent["options"]) == ("high", {"num_predict": 9, "temperature": 0.7})
    assert request(ollama(reasoning=False), Sampling())["think"] is False


def test_what_ollama_does_not_take_is_refused() -> None:
    with pytest.raises(InvalidInput, match="takes no effort 'minimal', but 'low', 'medium', 'high'"):
        tuned(ollama(), Sampling(effort="minimal"))
    with pytest.raises(InvalidInput, match="ChatOllama offers no max_thinking_tokens"):
        tuned(ollama(), LONG)
