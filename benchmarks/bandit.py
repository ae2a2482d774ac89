"""ParetoBandit's own router and pacer (arXiv 2604.00136, `pip install paretobandit`), beside ours.

It runs with its shipped settings: LinUCB with forgetting, no static cost penalty as in its authors' experiment, its pacer in the
adaptive mode. It learns from the log through `BanditRouter.update`, its way in for logged triples, and unlike ours goes on
learning from every request that it serves. Budgets are approached from a fresh pacer.

Its authors' figures cannot be had from the package as shipped. They need the sentence encoder all-MiniLM-L6-v2, a download, for
whose projection the shipped priors were made; those priors come from 8,373 prompts with all three models graded, which are not
shipped. Here it sees this project's text projection, of the width it recommends, and starts without priors. Settings and
features were chosen on halves of the validation prompts. Learning there from its own picks instead of the log, as its authors
let it, it came to stay with the cheapest model at every budget: an exploration of 0.01, tuned for good priors, does not outweigh
the reward of a model that it knows.
"""

from collections.abc import Callable

import numpy as np

from benchmarks.prompts import Prompts, Served
from budget_router.allocation import FloatArray
from budget_router.features import NgramCounts, TextProjection
from budget_router.outcomes import OutcomeTable

N_COMPONENTS = 25
"""Of its own embedding."""


def learned(table: OutcomeTable, *, rng: np.random.Generator) -> Callable[[Prompts, float, np.random.Generator], Served]:
    """Show a log to a router for each budget; what comes back serves prompts in random order."""
    try:
        from pareto_bandit import BanditRouter
        from pareto_bandit.budget_pacer import BudgetPacer
        from pareto_bandit.feature_service import FeatureService
    except ImportError:
        raise SystemExit("ParetoBandit is not installed: pip install paretobandit") from None
    texts = tuple(table.texts or ())
    projection = TextProjection(N_COMPONENTS).fit(texts)
    known = _with_bias(projection, texts)
    models, seed = table.menu.names, int(rng.integers(2**31))

    def serve(prompts: Prompts, budget: float, rng: np.random.Generator) -> Served:
        router = BanditRouter.create(
            priors="none",
            feature_service=FeatureService.for_precomputed(known.shape[1]),
            cost_penalty=0.0,
            budget_pacer=BudgetPacer(budget),
            bandit_seed=seed,
        )
        for row, column in np.argwhere(table.is_observed):
            router.update(models[column], known[row], float(table.accuracy[row, column]))
        features = _with_bias(projection, prompts.texts)
        picked = np.empty(len(features), dtype=np.intp)
        for row in rng.permutation(len(features)).tolist():
            model, log = router.route(features[row])
            picked[row] = models.index(model)
            log.cost_usd = float(prompts.cost[row, picked[row]])
            router.process_feedback(log.request_id, reward=float(prompts.reward[row, picked[row]]))
        return prompts.served(picked)

    return serve


def _with_bias(projection: TextProjection, texts: tuple[str | NgramCounts, ...]) -> FloatArray:
    return np.column_stack([projection.transform(texts), np.ones(len(texts))])
