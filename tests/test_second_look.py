"""Deciding again on the first answers: what a learned policy expected before them tells what to do after them."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget_router import Budget, BudgetRouter, Escalate, ExtendedCoT, Menu, SelfConsistency, Spend, Task, refresh
from budget_router.errors import NotEnoughEvidence
from budget_router.outcomes import OutcomeTable
from budget_router.policies.second_look import second_look
from budget_router.strategies import Draw, Result, majority
from budget_router_sql import SqlLedger

law = settings(derandomize=True, deadline=None, max_examples=60)

FIRST = SelfConsistency(k=3, typical_completion_tokens=10)
THINK, ASK = (ExtendedCoT(effort=effort, typical_completion_tokens=400) for effort in ("high", "medium"))
MENU = Menu([FIRST, THINK, *Escalate.at_every_agreement(FIRST, THINK)])


def expected(k, prob, then_accuracy, then_cost):
    """By enumeration: accuracy and cost of the menu's strategies on a task, and of its votes by how many agree."""
    votes = {votes: [0.0, 0.0] for votes in range(1, k + 1)}
    for drawn in product(range(len(prob)), repeat=k):
        counts = Counter(drawn)
        most = max(counts.values())
        winner = next(answer for answer in drawn if counts[answer] == most)
        chance = float(np.prod([prob[answer] for answer in drawn]))
        votes[most][0] += chance
        votes[most][1] += chance * (winner == 0)
    accuracy, cost = [sum(right for _, right in votes.values())], [float(k)]
    for least in range(2, k + 1):
        doubtful = sum(chance for most, (chance, _) in votes.items() if most < least)
        accuracy.append(sum(right for most, (_, right) in votes.items() if most >= least) + doubtful * then_accuracy)
        cost.append(k + doubtful * then_cost)
    return accuracy, cost, votes


@law
@given(
    st.integers(2, 5),
    st.lists(st.floats(0.05, 1), min_size=2, max_size=3),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.tuples(st.floats(1, 100), st.floats(1, 100)),
    st.floats(0, 0.05),
    st.integers(1, 5),
)
def test_a_second_look_is_the_best_choice_given_what_was_seen(k, weights, worth, price, lam, n_agreeing):
    prob = np.array(weights) / sum(weights)
    first = SelfConsistency(k=k)
    menu = Menu([first, THINK, ASK, *Escalate.at_every_agreement(first, THINK), *Escalate.at_every_agreement(first, ASK)])
    accuracy, cost = [], []
    for then_accuracy, then_cost in zip(worth, price, strict=True):
        reached, billed, votes = expected(k, prob, then_accuracy, then_cost)
        accuracy += reached[1:]
        cost += billed[1:]
    n_agreeing = min(n_agreeing, k)
    chance, right = votes[n_agreeing]
    if chance < 1e-6:
        return
    look = second_look(
        menu,
        first,
        n_agreeing / k,
        accuracy=np.array([reached[0], *worth, *accuracy]),
        cost=np.array([k, *price, *cost]),
        lam=lam,
    )
    values = [then_accuracy - lam * then_cost - right / chance for then_accuracy, then_cost in zip(worth, price, strict=True)]
    if n_agreeing == k or max(values) < -1e-6:
        assert look is None
    elif max(values) > 1e-6 and abs(values[0] - values[1]) > 1e-6:
        assert look.then == (THINK, ASK)[int(np.argmax(values))]
        assert look.gain - lam * look.cost == pytest.approx(max(values), abs=1e-6)


# --- a world in which a vote that disagrees is a coin flip, and thinking is nearly always right


def sampled(strategy, rng, *, is_hard):
    """Answers of the strategy's samples."""
    if isinstance(strategy, ExtendedCoT):
        return ["right" if rng.random() < 0.95 else "wrong"]
    return ["right" if rng.random() < (0.5 if is_hard else 0.99) else f"wrong {rng.integers(3)}" for _ in range(3)]


def result_of(answers):
    vote = majority(answers)
    draws = tuple(Draw(index, None, answer, answer) for index, answer in enumerate(answers))
    return Result(answers[vote.winner or 0], answers[vote.winner or 0], vote.agreement, draws)


def settle(router, decision, answers, *, thought):
    result = result_of(answers)
    router.settle(decision, Spend(completion_tokens=400 if thought else 30, n_calls=len(answers)), result=result)
    scores = {answer: float(answer == "right") for answer in answers}
    router.grade(decision.id, score=scores[result.answer or ""], answer_scores=scores)
    return result


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """A log of votes and of thinking, apart: no escalation was ever tried."""
    ledger = SqlLedger(f"sqlite:///{tmp_path_factory.mktemp('looks')}/log.db")
    budget = Budget(per_task=150, unit="completion_tokens")
    router = BudgetRouter(MENU, budget, ledger=ledger, seed=0, share_seconds=None)  # whoever serves does not pay for it
    rng = np.random.default_rng(0)
    for index in range(300):
        strategy = (FIRST, THINK)[index % 2]
        decision = router.decide(Task(f"Is {index // 2} a sum of two primes?", id=f"{index // 2}"), strategy=strategy.name)
        answers = sampled(strategy, rng, is_hard=index % 4 < 2)
        settle(router, decision, answers, thought=strategy is THINK)
    refresh(ledger, menu=MENU, budget=Budget(per_task=150, unit="completion_tokens")).promote()
    return ledger


def router_on(ledger, *, seed=1):
    budget = Budget(per_task=150, unit="completion_tokens")
    return BudgetRouter(MENU, budget, ledger=ledger, seed=seed, exploration=0.0, share_seconds=None)


TASK = Task("Is 1003 a sum of two primes?", id="fresh")


def test_doubt_is_looked_into_and_agreement_accepted(ledger):
    router = router_on(ledger)
    first = router.decide(TASK, strategy=FIRST.name)
    assert router.reconsider(first, TASK, ["a", "a", "a"]) is None
    again = router.reconsider(first, TASK, ["a", "b", "c"])
    assert again is not None
    assert (again.strategy, again.reason, again.task_id) == (THINK, "reconsidered", first.task_id)
    assert again.expected_cost == pytest.approx(400, rel=0.1)
    assert router.reconsider(first, TASK, ["a", None]) == again  # a retry finds the decision that stands
    assert ledger.decision(again.id).decision == again


def test_what_was_asked_stays_spent_and_earns_no_second_budget(ledger):
    router = router_on(ledger)
    task = Task("Is 1007 a sum of two primes?", id="paced")
    first = router.decide(task, strategy=FIRST.name)
    settle(router, first, ["a", "b", "c"], thought=False)
    again = router.reconsider(first, task, ["a", "b", "c"])
    settle(router, again, ["right"], thought=True)
    sums = router._averages.of(None).sums
    assert (sums.n_tasks, sums.allowed, sums.spent) == (1, 150, pytest.approx(30 + 400))


def test_nothing_is_learned_from_a_strategy_that_the_answers_asked_for(ledger):
    router = router_on(ledger)
    task = Task("Is 1009 a sum of two primes?", id="selected")
    first = router.decide(task, strategy=FIRST.name)
    settle(router, first, ["a", "b", "c"], thought=False)
    again = router.reconsider(first, task, ["a", "b", "c"])
    settle(router, again, ["right"], thought=True)
    logged = [ledger.decision(one.id) for one in (first, again)]
    table = OutcomeTable.from_log(logged, MENU, unit="completion_tokens")
    assert table.task_ids == ("selected",)
    assert np.isnan(table.accuracy[0, 1])
    with pytest.raises(NotEnoughEvidence):
        OutcomeTable.from_log(logged[1:], MENU, unit="completion_tokens")


def test_without_a_learned_policy_or_an_escalation_every_vote_is_accepted(ledger):
    doubt = ["a", "b", "c"]
    cold = BudgetRouter(MENU, Budget(per_task=150, unit="completion_tokens"), seed=0)
    assert cold.reconsider(cold.decide(TASK, strategy=FIRST.name), TASK, doubt) is None
    warm = router_on(ledger)
    assert warm.reconsider(warm.decide(TASK, strategy=THINK.name), TASK, ["a"]) is None
    other = cold.decide(TASK, strategy=FIRST.name).model_copy(update={"strategy": SelfConsistency(k=7)})
    assert warm.reconsider(other, TASK, doubt) is None


def test_looking_again_buys_more_than_never_looking(ledger):
    """On fresh tasks: the votes alone, and the votes with a second look."""
    router, rng = router_on(ledger), np.random.default_rng(7)
    plain, looked, spent = [], [], []
    for index in range(150):
        task = Task(f"Is {2000 + index} a sum of two primes?", id=f"fresh {index}")
        first = router.decide(task, strategy=FIRST.name)
        is_hard = bool(index % 2)
        result = settle(router, first, sampled(FIRST, rng, is_hard=is_hard), thought=False)
        plain.append(result.answer == "right")
        again = router.reconsider(first, task, [draw.answer for draw in result.draws])
        if again is not None:
            result = settle(router, again, sampled(THINK, rng, is_hard=is_hard), thought=True)
        looked.append(result.answer == "right")
        spent.append(30 + 400 * (again is not None))
    assert np.mean(looked) > np.mean(plain) + 0.1
    assert np.mean(spent) < 250
