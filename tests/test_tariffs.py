"""Money is exact: whole nano-USD, rounded once, by a price list that is named; a model without a price is never free."""

import decimal
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import ExtendedCoT, SelfConsistency, SingleShot, Tariff, Tariffs
from budget_router.costs import TYPICAL_TOKENS_PER_SECOND, expected_cost, typical_completion
from budget_router.errors import InvalidInput, UnknownTariff
from budget_router.records import usd

law = settings(derandomize=True, deadline=None)

counts = st.integers(0, 10**7)
prices = st.decimals(0, 1000, places=6)


def rounded_half_even(amount: Fraction) -> int:
    return round(amount)  # Fraction rounds half to even


@law
@given(prices, prices, prices, counts, counts, st.floats(0, 1))
def test_a_bill_is_the_exact_amount_rounded_half_even_once(prompt, completion, cached, n_prompt, n_completion, share):
    n_cached = int(share * n_prompt)
    tariffs = Tariffs({"own": Tariff(prompt=prompt, completion=completion, cached=cached)})

    bill = tariffs.bill("own", prompt_tokens=n_prompt, completion_tokens=n_completion, cached_tokens=n_cached)

    amount = (n_prompt - n_cached) * Fraction(prompt) + n_cached * Fraction(cached) + n_completion * Fraction(completion)
    assert bill.nano_usd == rounded_half_even(amount * 1000)
    assert bill.tariff == "own"


@pytest.mark.parametrize(("price", "nano_usd"), [("0.0005", 0), ("0.0015", 2), ("0.0025", 2), ("0.0035", 4), ("0.00051", 1)])
def test_half_a_nano_usd_goes_to_the_even_one(price, nano_usd):
    tariffs = Tariffs({"own": Tariff(prompt=price, completion=0)})
    assert tariffs.bill("own", prompt_tokens=1, completion_tokens=0).nano_usd == nano_usd


def test_the_callers_decimal_context_changes_no_bill():
    tariffs = Tariffs({"own": Tariff(prompt="1.234567", completion=0)})
    with decimal.localcontext(prec=3):
        assert tariffs.bill("own", prompt_tokens=1_000_000, completion_tokens=0).nano_usd == 1_234_567_000


def test_cached_tokens_cost_as_much_as_others_unless_told():
    tariffs = Tariffs({"own": Tariff(prompt=2, completion=0)})
    plain = tariffs.bill("own", prompt_tokens=1000, completion_tokens=0)
    assert tariffs.bill("own", prompt_tokens=1000, completion_tokens=0, cached_tokens=900) == plain


def test_cached_tokens_of_a_listed_model_are_cheaper():
    plain = Tariffs().bill("gpt-4o", prompt_tokens=1000, completion_tokens=0)
    cached = Tariffs().bill("gpt-4o", prompt_tokens=1000, completion_tokens=0, cached_tokens=1000)
    assert 0 < cached.nano_usd < plain.nano_usd


def test_own_prices_go_before_the_list():
    own = Tariffs({"gpt-4o": Tariff(prompt=0, completion=1)})
    assert own.bill("gpt-4o", prompt_tokens=10**6, completion_tokens=1) == (1000, "own")
    named = Tariffs().bill("gpt-4o", prompt_tokens=10**6, completion_tokens=1, at=datetime(2026, 3, 1, tzinfo=UTC)).tariff
    assert named.startswith("genai-prices ")
    assert named.endswith("prices of 2026-03-01")


def test_a_price_is_the_one_of_its_day():
    at = datetime(2024, 6, 1, tzinfo=UTC)
    assert Tariffs().bill("gpt-4o", prompt_tokens=1000, completion_tokens=0, at=at).nano_usd > 0


@pytest.mark.parametrize("model", ["no-such-model", "", " ", "gpt-4o\n", "my-gpt-4o-clone", "x" * 10_000])
def test_a_model_on_no_list_is_an_error_that_tells_how_to_price_it(model):
    with pytest.raises(UnknownTariff, match=r"give its price, Tariffs\(\{.*Tariff\(prompt=\.\.\., completion=\.\.\.\)\}\)"):
        Tariffs().bill(model, prompt_tokens=1, completion_tokens=1)


@pytest.mark.parametrize("model", ["own", "gpt-4o"])
@pytest.mark.parametrize(
    "tokens",
    [
        {"prompt_tokens": 1, "completion_tokens": 0, "cached_tokens": 2},
        {"prompt_tokens": -1, "completion_tokens": 0},
        {"prompt_tokens": 1, "completion_tokens": -1},
        {"prompt_tokens": 1, "completion_tokens": 0, "cached_tokens": -1},
    ],
)
def test_counts_that_cannot_be_are_refused_and_never_billed_as_a_refund(model, tokens):
    tariffs = Tariffs({"own": Tariff(prompt=1, completion=1, cached=0)})
    with pytest.raises(InvalidInput, match="cached tokens are part of the prompt's"):
        tariffs.bill(model, **tokens)


@pytest.mark.parametrize("price", ["nan", "inf", "-1", "free", None])
def test_a_price_is_a_finite_number_that_is_not_negative(price):
    with pytest.raises(InvalidInput, match="prompt"):
        Tariff(prompt=price, completion=1)


def test_prices_given_are_kept_apart_from_the_callers_dict():
    own = {"a": Tariff(prompt=1, completion=1)}
    tariffs = Tariffs(own)
    own.clear()
    assert tariffs.bill("a", prompt_tokens=1, completion_tokens=0).nano_usd == 1000


# --- what a strategy is expected to cost


@pytest.mark.parametrize(
    ("unit", "cost"), [("tokens", 5 * 140), ("completion_tokens", 5 * 40), ("seconds", 40 / TYPICAL_TOKENS_PER_SECOND)]
)
def test_each_sample_bills_the_prompt_again_but_samples_run_side_by_side(unit, cost):
    strategy = SelfConsistency(k=5)
    assert expected_cost(strategy, prompt_tokens=100, completion_tokens=lambda _: 40, unit=unit, tariffs=Tariffs()) == cost


def test_money_is_priced_by_the_strategys_own_model_first():
    tariffs = Tariffs({"small": Tariff(prompt=1, completion=2), "large": Tariff(prompt=10, completion=20)})
    facts = {"prompt_tokens": 100, "completion_tokens": lambda _: 40, "unit": "usd", "tariffs": tariffs, "model": "small"}
    assert expected_cost(SelfConsistency(k=5), **facts) == pytest.approx(usd(5 * 180_000))
    assert expected_cost(SingleShot(model="large"), **facts) == usd(1_800_000)


def test_a_budget_in_money_needs_a_model_with_a_price():
    with pytest.raises(UnknownTariff, match="no model named"):
        expected_cost(SingleShot(), prompt_tokens=1, completion_tokens=lambda _: 1, unit="usd", tariffs=Tariffs())


@pytest.mark.parametrize(
    ("strategy", "length"),
    [
        (SingleShot(), 300),
        (ExtendedCoT(effort="low"), 1500),
        (SingleShot(max_tokens=20), 20),
        (SingleShot(max_tokens=2000, typical_completion_tokens=5), 5),
    ],
)
def test_an_answer_is_no_longer_than_its_limit(strategy, length):
    assert typical_completion(strategy) == length


def test_nano_usd_become_money_in_one_place():
    assert usd(1) == float(Decimal("1e-9"))


@law
@given(
    st.sampled_from(["gpt-4o-mini", "claude-sonnet-4-0", "gemini-2.5-pro", "deepseek-chat", "o3"]),
    st.integers(0, 1_500_000),
    st.integers(0, 300_000),
    st.floats(0, 1),
    st.datetimes(datetime(2025, 6, 1), datetime(2026, 6, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # the zone is given apart
)
def test_a_bill_is_what_the_price_list_itself_says(model, prompt_tokens, completion_tokens, share, at):
    cached_tokens = int(share * prompt_tokens)
    usage = Usage(input_tokens=prompt_tokens, output_tokens=completion_tokens, cache_read_tokens=cached_tokens)
    listed = calc_price(usage, model_ref=model, genai_request_timestamp=at).total_price
    bill = Tariffs().bill(
        model, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, cached_tokens=cached_tokens, at=at
    )
    assert abs(bill.nano_usd - listed * 10**9) <= Decimal("0.5")
