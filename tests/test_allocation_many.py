"""Several budgets at once, held against HiGHS on the whole linear program."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.linear_program import relaxed, whole
from budget_router.allocation import pricing, solve, solve_many
from budget_router.errors import ClashingBudgets, InvalidTable

law = settings(derandomize=True, deadline=None, max_examples=40)

KINDS = ("reals", "whole", "right or wrong", "alike", "one cost each", "free at times")
seeds = st.integers(0, 10_000)


def drawn(kind, seed, n_tasks=30):
    """Accuracy, costs under two to four limits, and budgets somewhere between the cheapest and the dearest."""
    rng = np.random.default_rng(seed)
    shape = int(rng.integers(1, n_tasks)), int(rng.integers(1, 6))
    n_limits = int(rng.integers(2, 5))
    many = n_limits, *shape
    accuracy, costs = {
        "reals": lambda: (rng.random(shape), rng.lognormal(1, 1, many)),
        "whole": lambda: (rng.integers(0, 9, shape) / 8, rng.integers(0, 9, many).astype(float)),
        "right or wrong": lambda: (rng.integers(0, 2, shape).astype(float), rng.integers(0, 4, many).astype(float)),
        "alike": lambda: (
            np.tile(rng.random(shape[1]), (shape[0], 1)),
            np.tile(rng.integers(0, 9, (n_limits, 1, shape[1])).astype(float), (1, shape[0], 1)),
        ),
        "one cost each": lambda: (
            rng.random(shape),
            np.tile(rng.integers(1, 9, (n_limits, 1, shape[1])).astype(float), (1, shape[0], 1)),
        ),
        "free at times": lambda: (rng.random(shape), rng.lognormal(1, 1, many) * (rng.random(many) < 0.4)),
    }[kind]()
    low, high = costs.min(axis=2).mean(axis=1), costs.max(axis=2).mean(axis=1)
    return accuracy, costs, low + rng.random(n_limits) * (high - low)


def means(costs, actions):
    return costs[:, np.arange(costs.shape[1]), actions].mean(axis=1)


@pytest.fixture(params=[False, True], ids=["all tasks at once", "a core that grows"])
def _core(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(pricing, "_SMALL", 3)


# --- beside HiGHS


@pytest.mark.usefixtures("_core")
@pytest.mark.parametrize("kind", KINDS)
def test_mixture_and_dual_bound_are_the_optimum_and_infeasibility_is_proven(kind):
    for seed in range(15):
        accuracy, costs, budgets = drawn(kind, seed)
        optimum = relaxed(accuracy, costs, budgets)
        try:
            found = solve_many(accuracy, costs, budgets.tolist())
        except ClashingBudgets as clash:
            assert optimum is None
            assert_proves(clash, costs, budgets)
            continue
        assert found.dual_bound == pytest.approx(optimum, abs=1e-9)
        assert found.mixed.accuracy == pytest.approx(optimum, abs=1e-9)
        priced = accuracy - np.einsum("m,mnk->nk", found.multipliers, costs)
        assert found.dual_bound == pytest.approx(priced.max(axis=1).mean() + found.multipliers @ budgets, abs=1e-12)
        assert (found.mixed.spend <= budgets * (1 + 1e-9) + 1e-9).all()
        assert len(found.mixed.splits) <= len(budgets)


def assert_proves(clash, costs, budgets):
    """Farkas' lemma by hand; and the raise it names is enough, but nothing less is."""
    price = np.array(list(clash.certificate.values()))
    assert (price >= 0).all()
    assert np.einsum("m,mnk->nk", price, costs).min(axis=1).mean() > price @ budgets
    raised = np.array([clash.mend.get(f"cost {number}", budget) for number, budget in enumerate(budgets)])
    nothing = np.zeros(costs.shape[1:])
    assert relaxed(nothing, costs, raised * (1 + 1e-9)) is not None
    assert relaxed(nothing, costs, budgets + 0.99 * (raised - budgets)) is None


@pytest.mark.usefixtures("_core")
@pytest.mark.parametrize("kind", KINDS)
def test_actions_never_break_a_budget_and_no_whole_assignment_passes_the_bound(kind):
    n_found = 0
    for seed in range(10):
        accuracy, costs, budgets = drawn(kind, seed)
        if relaxed(accuracy, costs, budgets) is None:
            continue
        found = solve_many(accuracy, costs, budgets.tolist())
        if found.actions is None:
            assert found.status == "mixed"
            continue
        n_found += 1
        assert (means(costs, found.actions) <= budgets * (1 + 1e-12)).all()
        assert found.spend == pytest.approx(means(costs, found.actions), abs=1e-12)
        assert found.accuracy == pytest.approx(accuracy[np.arange(len(accuracy)), found.actions].mean(), abs=1e-12)
        assert found.accuracy <= whole(accuracy, costs, budgets, time_limit=5) + 1e-9 <= found.dual_bound + 2e-9
        assert found.duality_gap == pytest.approx(found.dual_bound - found.accuracy)
    assert n_found >= 5


def test_a_table_with_a_core_is_solved_as_the_whole_program():
    rng = np.random.default_rng(3)
    accuracy, costs = rng.random((3_000, 5)), rng.lognormal(1, 1, (3, 3_000, 5))
    budgets = costs.mean(axis=(1, 2)) * np.array([0.5, 0.6, 0.55])
    found = solve_many(accuracy, costs, budgets.tolist())
    assert found.dual_bound == pytest.approx(relaxed(accuracy, costs, budgets), abs=1e-9)
    assert found.duality_gap < 1e-4
    assert (means(costs, found.actions) <= budgets * (1 + 1e-12)).all()


def test_budgets_of_nought_buy_what_is_free():
    rng = np.random.default_rng(4)
    accuracy = rng.random((1_500, 3))
    costs = np.stack([rng.choice([0.0, 1e6], accuracy.shape) for _ in range(2)])
    costs[:, :, 0] = 0
    found = solve_many(accuracy, costs, [0.0, 0.0])
    assert found.accuracy == pytest.approx(np.where(costs.any(axis=0), 0, accuracy).max(axis=1).mean(), abs=1e-12)
    assert found.duality_gap == pytest.approx(0, abs=1e-9)


# --- laws


@law
@given(seeds, st.sampled_from(KINDS))
def test_a_limit_that_is_not_reached_has_no_price(seed, kind):
    accuracy, costs, budgets = drawn(kind, seed)
    try:
        found = solve_many(accuracy, costs, budgets.tolist())
    except ClashingBudgets:
        return
    left = budgets - found.mixed.spend
    assert (found.multipliers >= 0).all()
    assert found.multipliers @ left == pytest.approx(0, abs=1e-8)


@law
@given(seeds, st.sampled_from(KINDS), st.lists(st.floats(0, 2), min_size=4, max_size=4))
def test_no_mixture_beats_the_dual_value_of_any_multipliers(seed, kind, prices):
    accuracy, costs, budgets = drawn(kind, seed)
    price = np.array(prices[: len(budgets)])
    dual = (accuracy - np.einsum("m,mnk->nk", price, costs)).max(axis=1).mean() + price @ budgets
    with suppress(ClashingBudgets):
        assert solve_many(accuracy, costs, budgets.tolist()).dual_bound <= dual + 1e-9


@law
@given(seeds, st.sampled_from(KINDS))
def test_one_budget_is_the_solve_of_one_budget(seed, kind):
    accuracy, costs, budgets = drawn(kind, seed)
    one, many = solve(accuracy, costs[0], budgets[0]), solve_many(accuracy, costs[:1], budgets[:1].tolist())
    assert many.actions.tolist() == one.actions.tolist()
    assert many.multipliers.tolist() == [one.lam]
    assert (many.dual_bound, many.accuracy) == pytest.approx((one.dual_bound, one.accuracy), abs=1e-12)
    assert many.mixed.accuracy == pytest.approx(one.dual_bound, abs=1e-12)


@law
@given(seeds, st.sampled_from([0.25, 8.0, 1e6]))
def test_scaling_one_cost_scales_its_price_alone(seed, scale):
    accuracy, costs, budgets = drawn("reals", seed)
    units = np.append(scale, np.ones(len(budgets) - 1))
    try:
        plain = solve_many(accuracy, costs, budgets.tolist())
    except ClashingBudgets:
        return
    scaled = solve_many(accuracy, costs * units[:, None, None], (budgets * units).tolist())
    assert scaled.dual_bound == pytest.approx(plain.dual_bound, abs=1e-9)


def test_a_budget_given_twice_binds_as_once():
    accuracy, costs, _ = drawn("reals", 5)
    budget = float(costs[0].min(axis=1).mean() * 0.5 + costs[0].max(axis=1).mean() * 0.5)
    twice = solve_many(accuracy, costs[[0, 0]], [budget, budget])
    assert twice.multipliers.sum() == pytest.approx(solve(accuracy, costs[0], budget).lam, rel=1e-6)


def test_budgets_that_buy_everything_have_no_price():
    accuracy, costs, _ = drawn("reals", 6)
    found = solve_many(accuracy, costs, (costs.max(axis=(1, 2)) + 1).tolist())
    assert (found.status, found.duality_gap, found.multipliers.any()) == ("slack", 0, False)
    assert found.accuracy == pytest.approx(accuracy.max(axis=1).mean(), abs=1e-15)


# --- groups


def grouped(seed=0, n_tasks=90):
    rng = np.random.default_rng(seed)
    return (
        rng.random((n_tasks, 4)),
        rng.lognormal(1, 1, (2, n_tasks, 4)),
        np.array(["red", "green", "blue"])[np.arange(n_tasks) % 3],
    )


def test_budgets_of_groups_are_met_by_each_at_its_own_price():
    accuracy, costs, team = grouped()
    budgets = {"red": 1.5, "green": 2.0, "blue": 3.0}
    found = solve_many(accuracy, costs[:1], [budgets], groups=team)
    for limit, price in zip(found.limits, found.multipliers, strict=True):
        alone = solve(accuracy[team == limit.group], costs[0, team == limit.group], budgets[limit.group])
        assert price == alone.lam
        assert found.actions[team == limit.group].tolist() == alone.actions.tolist()


def test_a_number_is_shared_by_all_groups_at_one_price_and_is_worth_no_less():
    accuracy, costs, team = grouped()
    apart = solve_many(accuracy, costs[:1], [{"red": 1.5, "green": 2.0, "blue": 3.0}], groups=team)
    shared = solve_many(accuracy, costs[:1], [6.5 / 3], groups=team)
    assert shared.multipliers.shape == (1,)
    assert shared.dual_bound >= apart.dual_bound


@pytest.mark.usefixtures("_core")
def test_shared_budgets_and_those_of_groups_stand_together():
    accuracy, costs, team = grouped()
    own = {"red": 1.5, "green": 2.0, "blue": 30.0}
    found = solve_many(accuracy, {"tokens": costs[0], "usd": costs[1]}, {"tokens": own, "usd": 2.2}, groups=team)
    by_limit = np.stack([*(costs[0] * (team == name)[:, None] * 3 for name in ("blue", "green", "red")), costs[1]])
    budgets = np.array([30.0, 2.0, 1.5, 2.2])
    assert [str(limit) for limit in found.limits] == ["tokens of 'blue'", "tokens of 'green'", "tokens of 'red'", "usd"]
    assert found.dual_bound == pytest.approx(relaxed(accuracy, by_limit, budgets), abs=1e-9)
    assert found.spend == pytest.approx(means(by_limit, found.actions))
    assert (found.spend <= budgets).all()
    assert found.multipliers[0] == 0


# --- weights, kinds of arrays


@pytest.mark.usefixtures("_core")
def test_a_row_of_weight_w_is_w_rows():
    accuracy, costs, _ = drawn("whole", 8)
    weights = np.random.default_rng(8).integers(1, 5, len(accuracy))
    repeated = np.repeat(costs, weights, axis=1)
    budgets = (repeated.min(axis=2).mean(axis=1) * 0.3 + repeated.max(axis=2).mean(axis=1) * 0.7).tolist()
    merged = solve_many(accuracy, costs, budgets, weights=weights)
    assert merged.dual_bound == pytest.approx(
        solve_many(np.repeat(accuracy, weights, axis=0), repeated, budgets).dual_bound, abs=1e-9
    )


def test_one_cost_per_strategy_and_float32_serve():
    accuracy = np.random.default_rng(9).random((40, 3)).astype(np.float32)
    costs = {"tokens": [1, 2, 4], "seconds": np.array([3, 1, 2], np.float32)}
    found = solve_many(accuracy, costs, {"seconds": 1.9, "tokens": 2.5})
    assert [limit.name for limit in found.limits] == ["tokens", "seconds"]
    tables = np.stack([np.tile(np.asarray(cost, float), (40, 1)) for cost in costs.values()])
    assert found.dual_bound == pytest.approx(relaxed(accuracy.astype(float), tables, np.array([2.5, 1.9])), abs=1e-9)


# --- what cannot be solved


def test_clashing_budgets_are_named_with_what_mends_them():
    costs = {"tokens": [[1.0, 3.0]], "seconds": [[3.0, 1.0]], "usd": [[0.0, 0.0]]}
    with pytest.raises(ClashingBudgets, match=r"budgets of tokens, seconds fit no mixture .* or add a strategy") as caught:
        solve_many([[0.5, 0.5]], costs, {"tokens": 1.5, "seconds": 1.5, "usd": 1.0})
    price = caught.value.certificate
    assert price["usd"] == 0
    assert price["tokens"] == pytest.approx(price["seconds"]) == pytest.approx(1 / 3)
    raised = {"tokens": 1.5, "seconds": 1.5, **caught.value.mend}
    assert raised["tokens"] + raised["seconds"] == pytest.approx(4)


def test_a_group_that_cannot_keep_its_budget_is_named():
    with pytest.raises(ClashingBudgets, match=r"budgets of cost 0 of 'red' fit no mixture") as caught:
        solve_many([[0.5]] * 2, [[[2.0]] * 2], [{"red": 1.0, "blue": 2.0}], groups=["red", "blue"])
    assert caught.value.mend == {"cost 0 of 'red'": 2.0}


def test_where_only_a_mixture_fits_there_are_no_actions():
    found = solve_many([[0.4, 0.6]], [[[1.0, 0.0]], [[0.0, 1.0]]], [0.5, 0.5])
    assert (found.actions, found.status) == (None, "mixed")
    assert found.mixed.splits[0].shares == pytest.approx((0.5, 0.5))
    assert found.accuracy == found.mixed.accuracy == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"costs": [], "budgets": []}, "costs hold 0 tables, budgets 0 numbers"),
        ({"budgets": [1.0]}, "costs hold 2 tables, budgets 1 numbers: give a budget for each cost"),
        ({"budgets": {"tokens": 1.0}}, "only one is by name"),
        ({"costs": {"tokens": [1, 2]}, "budgets": {"usd": 1.0}}, r"costs are of \['tokens'\], budgets of \['usd'\]"),
        ({"costs": [[1, 2], [1, 2, 3]]}, "cost has shape"),
        ({"costs": [[1, 2], [1, -2]]}, r"cost\[1\] is -2"),
        ({"budgets": [1.0, np.nan]}, "budget of cost 1 is nan: give a finite mean"),
        ({"groups": ["red"]}, r"groups has shape \(1,\): it must be \(2,\), one label per task"),
        (
            {"budgets": [1.0, {"red": 1.0}], "groups": ["red", "blue"]},
            r"tasks are of groups \['blue', 'red'\]: give one for each",
        ),
        ({"budgets": [1.0, {"red": 1.0}]}, "give one for each"),
        ({"weights": [0.0, 0.0]}, "weights are all 0"),
    ],
)
def test_what_does_not_match_is_refused(given, fault):
    with pytest.raises(InvalidTable, match=fault):
        solve_many([[0.1, 0.9], [0.2, 0.8]], **{"costs": [[1, 2], [2, 1]], "budgets": [2.0, 2.0], **given})
