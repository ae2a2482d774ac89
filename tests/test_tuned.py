from typing import Annotated, Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from pydantic import AliasChoices, Field

from budget_router.errors import InvalidInput
from budget_router.menu import Sampling
from budget_router_langchain import tuned
from budget_router_langchain.tuned import as_messages, instructed
from tests.scripted import ScriptedModel


class ReasoningModel(ScriptedModel):
    """Names its fields as OpenAI's class does."""

    reasoning_effort: str | None = None
    max_tokens: int | None = Field(default=None, alias="max_completion_tokens")


class ThinkingModel(ScriptedModel):
    """Names its fields as Anthropic's class does."""

    thinking: dict[str, Any] | None = None


class GoogleModel(ScriptedModel):
    """Names its fields as Google's class does."""

    thinking_budget: int | None = None
    max_output_tokens: int | None = None


class RoutedModel(ScriptedModel):
    """Names its fields as OpenRouter's class does."""

    reasoning: dict[str, Any] | None = None


class PatientModel(ScriptedModel):
    """Has a field that takes but some values, and goes by several names."""

    patience: Annotated[int | None, Field(le=5000)] = Field(
        default=None, validation_alias=AliasChoices("thinking_budget", "calm")
    )


class BareModel(ScriptedModel):
    """Offers only what every model here offers."""


def test_the_copy_has_the_strategys_settings_and_the_original_keeps_its_own() -> None:
    model = ScriptedModel(["4"], temperature=0.1, tags=["mine"])

    copy = tuned(model, Sampling(temperature=0.9, max_tokens=50))

    assert (copy.temperature, copy.max_tokens) == (0.9, 50)
    assert (model.temperature, model.max_tokens, model.tags) == (0.1, None, ["mine"])


def test_a_setting_that_is_not_given_leaves_the_models_own() -> None:
    assert tuned(ScriptedModel(["4"], temperature=0.1), Sampling()).temperature == 0.1


def test_samples_are_not_read_from_a_cache_and_not_streamed_to_users() -> None:
    copy = tuned(ScriptedModel(["4"], cache=True, tags=["mine"]), Sampling())

    assert copy.cache is False
    assert copy.tags == ["mine", "nostream"]


def test_an_only_sample_may_be_streamed_and_come_from_the_users_cache() -> None:
    copy = tuned(ScriptedModel(["4"], cache=True, tags=["mine"]), Sampling(), streams=True)

    assert copy.cache is True
    assert copy.tags == ["mine"]


@pytest.mark.parametrize(
    ("model", "sampling", "field", "value"),
    [
        (ReasoningModel, Sampling(effort="high"), "reasoning_effort", "high"),
        (ReasoningModel, Sampling(max_tokens=9), "max_tokens", 9),
        (ThinkingModel, Sampling(max_thinking_tokens=2000), "thinking", {"type": "enabled", "budget_tokens": 2000}),
        (GoogleModel, Sampling(max_thinking_tokens=2000), "thinking_budget", 2000),
        (RoutedModel, Sampling(effort="high"), "reasoning", {"effort": "high"}),
        (PatientModel, Sampling(max_thinking_tokens=2000), "patience", 2000),
    ],
)
def test_each_setting_finds_the_field_that_a_class_has_for_it(model: Any, sampling: Sampling, field: str, value: object) -> None:
    assert getattr(tuned(model(["4"]), sampling), field) == value


@pytest.mark.parametrize("sampling", [Sampling(effort="high"), Sampling(max_thinking_tokens=2000)])
def test_a_setting_that_the_class_does_not_offer_is_refused_by_name(sampling: Sampling) -> None:
    (setting,) = sampling.model_dump(exclude_none=True)
    with pytest.raises(InvalidInput, match=f"BareModel offers no {setting}"):
        tuned(BareModel(["4"]), sampling)


def test_a_value_that_the_fields_type_does_not_admit_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"PatientModel 'scripted' takes no max_thinking_tokens 5001, input should be less than"
    ):
        tuned(PatientModel(["4"]), Sampling(max_thinking_tokens=5001))


def test_a_runnable_that_is_no_chat_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is no chat model"):
        tuned(ScriptedModel(["4"]).bind(stop=["x"]), Sampling())  # type: ignore[arg-type]  # that is the point


def test_an_instruction_leads_as_a_system_message() -> None:
    assert instructed([HumanMessage("?")], "Think.") == [SystemMessage("Think."), HumanMessage("?")]
    assert instructed([], "Think.") == [SystemMessage("Think.")]
    assert instructed([HumanMessage("?")], None) == [HumanMessage("?")]


def test_an_instruction_joins_the_system_message_that_leads_already() -> None:
    assert instructed([SystemMessage("Be kind."), HumanMessage("?")], "Think.")[0] == SystemMessage("Be kind.\n\nThink.")
    blocks = instructed([SystemMessage([{"type": "text", "text": "Be kind."}])], "Think.")[0].content
    assert blocks == [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Think."}]


@pytest.mark.parametrize(
    "given",
    ["?", [("human", "?")], [{"role": "user", "content": "?"}], ChatPromptTemplate.from_template("{q}").invoke({"q": "?"})],
)
def test_whatever_a_chat_model_takes_becomes_messages(given: Any) -> None:
    assert as_messages(given) == [HumanMessage("?")]
