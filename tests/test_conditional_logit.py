import numpy as np
import pytest

from budget_router.policies.conditional_logit import conditional_logit

N = 4000
LINES = np.array([[2.0, -1.0, 0.0], [0.0, 0.5, -0.5]])  # a slope and an offset for each of three options
TEMPERATURE = 0.5


@pytest.fixture(scope="module")
def choices():
    """Choices at two prices of people who follow the model."""
    rng = np.random.default_rng(0)
    features = rng.uniform(-1, 1, (N, 1))
    paid = np.array([0.5, 2.0])[:, None, None] * rng.uniform(0, 2, (N, 3))
    utility = (features @ LINES[:-1] + LINES[-1] - paid) / TEMPERATURE
    chosen = (utility + rng.gumbel(size=utility.shape)).argmax(axis=2)  # Gumbel noise makes argmax a logit
    return features, paid, chosen, np.ones(chosen.shape)


def test_worths_and_temperature_that_made_the_choices_are_found(choices):
    found = conditional_logit(*choices, temperature=2.0)
    assert found.temperature == pytest.approx(TEMPERATURE, rel=0.1)
    apart = found.lines - found.lines[:, :1]  # a logit knows worths up to a constant
    assert apart == pytest.approx(LINES - LINES[:, :1], abs=0.15)


def test_worths_are_in_the_unit_of_what_is_paid(choices):
    features, paid, *rest = choices
    one = conditional_logit(features, paid, *rest, temperature=1.0)
    scaled = conditional_logit(features, 8 * paid, *rest, temperature=8.0)
    assert scaled.temperature == pytest.approx(8 * one.temperature, rel=1e-3)
    assert scaled.lines == pytest.approx(8 * one.lines, rel=1e-2, abs=1e-2)


def test_a_choice_without_weight_teaches_nothing(choices):
    features, paid, chosen, weight = choices
    wrong = np.where(np.arange(N) % 2, 0, chosen)
    halved = conditional_logit(features, paid, wrong, np.where(np.arange(N) % 2, 0.0, weight), temperature=1.0)
    kept = np.arange(N) % 2 == 0
    alone = conditional_logit(features[kept], paid[:, kept], chosen[:, kept], weight[:, kept], temperature=1.0)
    assert halved.lines == pytest.approx(alone.lines, abs=1e-3)


def test_where_nothing_is_paid_the_temperature_stays_where_the_search_starts(choices):
    features, paid, chosen, weight = choices
    assert conditional_logit(features, 0 * paid, chosen, weight, temperature=3.0).temperature == pytest.approx(3.0)
