"""Google's own class, with settings where its requests really carry them. No key here opens anything."""

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from budget_router.errors import InvalidInput
from budget_router.menu import Sampling
from budget_router_langchain import tuned

LOW = Sampling(effort="low")
LONG = Sampling(max_thinking_tokens=2000)


def gemini(model: str = "gemini-3-flash-preview", **settings: Any) -> Any:
    from langchain_google_genai import ChatGoogleGenerativeAI  # where it is used: each worker imports what its own tests need

    return ChatGoogleGenerativeAI(model=model, api_key="none", temperature=None, **settings)


def request(model: Any, sampling: Sampling) -> dict[str, Any]:
    """What a tuned model sends of settings."""
    sent = tuned(model, sampling)._prepare_request([HumanMessage("?")])["config"].model_dump(mode="json", exclude_none=True)
    return {name: sent[name] for name in ("temperature", "max_output_tokens", "thinking_config") if name in sent}


@pytest.mark.parametrize(
    ("make", "sampling", "sent"),
    [
        (gemini, LOW, {"thinking_config": {"thinking_level": "LOW"}}),
        (gemini, Sampling(effort="minimal"), {"thinking_config": {"thinking_level": "MINIMAL"}}),
        (gemini, LONG, {"thinking_config": {"thinking_budget": 2000}}),
        (gemini, Sampling(temperature=0.5, max_tokens=9), {"temperature": 0.5, "max_output_tokens": 9}),
    ],
)
def test_each_setting_is_sent_where_googles_interface_reads_it(
    make: Callable[[], Any], sampling: Sampling, sent: dict[str, Any]
) -> None:
    assert request(make(), sampling) == sent


@pytest.mark.parametrize(
    ("own", "sampling", "sent"),
    [
        ({"thinking_budget": 500}, LOW, {"thinking_level": "LOW"}),
        (
            {"thinking_config": {"thinking_budget": 500, "include_thoughts": True}},
            LOW,
            {"thinking_level": "LOW", "include_thoughts": True},
        ),
        ({"thinking_level": "high"}, LONG, {"thinking_budget": 2000}),
        (
            {"thinking_config": {"thinking_level": "high", "include_thoughts": True}},
            LONG,
            {"thinking_budget": 2000, "include_thoughts": True},
        ),
    ],
)
def test_the_models_own_way_to_limit_thinking_gives_way_to_the_strategys(
    own: dict[str, Any], sampling: Sampling, sent: dict[str, Any]
) -> None:
    assert request(gemini(**own), sampling) == {"thinking_config": sent}


def test_thinking_takes_no_room_from_the_answer_where_the_strategy_sets_no_limit() -> None:
    assert request(gemini(max_output_tokens=500), LONG)["max_output_tokens"] == 2500
    assert request(gemini(max_output_tokens=8000), LONG)["max_output_tokens"] == 8000


@pytest.mark.parametrize(
    ("make", "sampling", "refusal"),
    [
        (
            gemini,
            Sampling(effort="low", max_thinking_tokens=2000),
            "takes an effort or a thinking-token limit, the strategy sets both",
        ),
        (gemini, Sampling(max_thinking_tokens=2000, max_tokens=2000), "up to 2000 tokens, and max_tokens=2000 includes them"),
        (gemini, Sampling(temperature=2.5), "takes no temperature above 2, the strategy sets 2.5: lower it"),
        (
            partial(gemini, "gemini-3.1-pro-preview"),
            Sampling(effort="minimal"),
            "takes no effort 'minimal', says its profile, but 'low', 'medium'",
        ),
        (partial(gemini, "gemini-2.5-flash"), LOW, "thinks by a token limit, not by effort: set max_thinking_tokens instead"),
        (partial(gemini, "gemini-2.5-flash-image"), LONG, "does not reason, says its profile: leave max_thinking_tokens out"),
    ],
)
def test_what_google_does_not_take_is_refused_before_it_is_asked(
    make: Callable[[], Any], sampling: Sampling, refusal: str
) -> None:
    with pytest.raises(InvalidInput, match=refusal):
        tuned(make(), sampling)


def test_a_forgotten_copy_does_not_close_the_client_that_it_shares() -> None:
    model = gemini()
    copy = tuned(model, LOW)
    assert copy.client is model.client

    del copy
    gc.collect()

    assert not model._client_cleanup._closed
