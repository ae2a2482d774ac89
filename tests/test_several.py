"""Several generations in one request: which models offer them, what counts as a refusal, and what OpenAI's own class sends."""

import json
from typing import Any

import pytest

from budget_router import Budget, BudgetRouter, MemoryLedger, Menu, SelfConsistency, Task
from budget_router_langchain import Receipt, execute
from budget_router_langchain.several import is_refusal, offers_several
from tests.scripted import BadRequest, ScriptedModel, SeveralModel


class ChatGroq(SeveralModel):
    """Has the field, and a provider that serves one generation."""


@pytest.mark.parametrize(("kind", "offers"), [(SeveralModel, True), (ScriptedModel, False), (ChatGroq, False)])
def test_a_class_with_the_field_offers_several_unless_its_provider_is_known_not_to(
    kind: type[ScriptedModel], offers: bool
) -> None:
    assert offers_several(kind(["4"])) is offers


def test_a_refusal_is_told_by_its_status_wherever_it_is_wrapped() -> None:
    wrapped = RuntimeError("the client's own")
    wrapped.__cause__ = BadRequest("n")
    too_many = BadRequest("slow down")
    too_many.status_code = 429
    assert is_refusal(BadRequest("n"))
    assert is_refusal(wrapped)
    assert not is_refusal(too_many)
    assert not is_refusal(TimeoutError())


class Provider:
    """OpenAI's chat completions, as far as they matter here."""

    def __init__(self, n_most: int) -> None:
        self.n_most = n_most
        self.asked: list[int] = []

    def __call__(self, request: Any) -> Any:
        httpx = pytest.importorskip("httpx")
        wanted = json.loads(request.content).get("n") or 1
        self.asked.append(wanted)
        if wanted > 1 and not self.n_most:
            return httpx.Response(400, json={"error": {"message": "n is not supported"}})
        n = min(wanted, max(self.n_most, 1))
        choices = [
            {"index": one, "finish_reason": "stop", "message": {"role": "assistant", "content": f"Answer: {4 + (one == 1)}"}}
            for one in range(n)
        ]
        usage = {"prompt_tokens": 10, "completion_tokens": 3 * n, "total_tokens": 10 + 3 * n}
        body = {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini", "choices": choices, "usage": usage}
        return httpx.Response(200, json=body)


def voted(provider: Provider, **settings: Any) -> Receipt:
    openai = pytest.importorskip("langchain_openai")
    httpx = pytest.importorskip("httpx")
    router = BudgetRouter(Menu([SelfConsistency(k=4)]), Budget(per_task=1e6), ledger=MemoryLedger())
    with httpx.Client(transport=httpx.MockTransport(provider)) as client:
        model = openai.ChatOpenAI(model="gpt-4o-mini", api_key="none", max_retries=0, http_client=client, **settings)
        return execute(router, router.decide(Task("2 + 2?")), model, "2 + 2?")


@pytest.mark.parametrize("streaming", [False, True])
def test_openais_class_sends_one_request_and_its_prompt_is_booked_once(streaming: bool) -> None:
    provider = Provider(n_most=128)
    receipt = voted(provider, streaming=streaming)
    assert (provider.asked, receipt.answers) == ([4], ("4", "5", "4", "4"))
    assert (receipt.spend.prompt_tokens, receipt.spend.completion_tokens, receipt.spend.n_calls) == (10, 12, 1)


@pytest.mark.parametrize("n_most", [0, 1])
def test_a_server_that_refuses_or_ignores_the_number_is_asked_singly(n_most: int) -> None:
    provider = Provider(n_most=n_most)
    receipt = voted(provider)
    assert provider.asked == [4, 1, 1, 1, 1][: 5 - n_most]
    assert (receipt.spend.prompt_tokens, receipt.spend.completion_tokens) == (40, 12)


def test_openais_responses_api_is_asked_for_one_at_a_time() -> None:
    openai = pytest.importorskip("langchain_openai")
    assert not offers_several(openai.ChatOpenAI(model="gpt-4o-mini", api_key="none", use_responses_api=True))
