"""Tables that look like a router's: harder tasks gain more from dearer strategies, with noise."""

import numpy as np

from budget_router.allocation import FloatArray


def drawn(rng: np.random.Generator, n_tasks: int, n_strategies: int) -> tuple[FloatArray, FloatArray]:
    """Accuracy and cost, each (n_tasks, n_strategies).

    Accuracy is logistic in skill minus difficulty, blurred; cost doubles with each strategy, about 1 for the cheapest, and varies
    by task.
    """
    skill = np.linspace(-1, 2, n_strategies)
    ease = rng.normal(0, 1.5, (n_tasks, 1))
    accuracy = 1 / (1 + np.exp(-(skill + ease + rng.normal(0, 0.5, (n_tasks, n_strategies)))))
    cost = 2.0 ** np.arange(n_strategies) * rng.lognormal(-0.125, 0.5, (n_tasks, n_strategies))
    return accuracy, cost


def drawn_costs(rng: np.random.Generator, n_tasks: int, n_strategies: int) -> tuple[FloatArray, FloatArray]:
    """Accuracy, and three costs of each strategy, (3, n_tasks, n_strategies): what one counts the next nearly does."""
    accuracy, tokens = drawn(rng, n_tasks, n_strategies)
    seconds = tokens * rng.lognormal(0, 0.5, tokens.shape)
    money = tokens * np.linspace(1, 0.3, n_strategies) * rng.lognormal(0, 0.3, tokens.shape)
    return accuracy, np.stack([tokens, seconds, money])
