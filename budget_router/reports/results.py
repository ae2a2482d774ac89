"""What a report is drawn from: numbers only, computed elsewhere."""

from dataclasses import dataclass, field

import numpy as np

from budget_router.evaluation import Estimate


@dataclass(frozen=True)
class Point:
    """One (spend, accuracy) point of the frontier picture, with its name."""

    name: str
    spend: float
    accuracy: Estimate


@dataclass(frozen=True)
class FrontierResult:
    """Accuracy bought against compute spent: us, the fixed strategies, the best static mix and the honest oracle."""

    unit: str
    """E.g. `completion tokens per task`."""
    budget: float
    policy: tuple[Point, ...]
    """The learned policy at several budgets, by rising spend."""
    operating_point: Point
    """The learned policy at the budget."""
    fixed: tuple[Point, ...]
    """Every strategy of the menu used for all tasks."""
    mix: tuple[tuple[float, float], ...]
    """Corners (spend, accuracy) of the best static mix's hull."""
    oracle: tuple[tuple[float, float], ...]
    """(spend, accuracy) of the honest oracle at several budgets."""

    gain: Estimate | None = None
    """Of the operating point over the best static mix at its spend, on the same tasks; None is the distance to the drawn mix,
    which is the same only if the mix is drawn from these tasks."""

    @property
    def told_gain(self) -> Estimate | None:
        """The gain that pictures and sentences tell: the given one, else the distance to the mix; None where there is no mix."""
        if self.gain is not None or not self.mix:
            return self.gain
        corners, here = np.array(sorted(self.mix), dtype=np.float64), self.operating_point
        mix = float(np.interp(here.spend, corners[:, 0], corners[:, 1]))
        return Estimate(here.accuracy.value - mix, float("nan"), float("nan"))


@dataclass(frozen=True)
class AllocationResult:
    """Which strategy went to which kind of task."""

    kinds: tuple[str, ...]
    n_tasks: tuple[int, ...]
    """Tasks of each kind."""
    strategies: tuple[str, ...]
    share: tuple[tuple[float, ...], ...]
    """(n_kinds, n_strategies), rows add up to one."""


@dataclass(frozen=True)
class StreamResult:
    """Spend against the budget, decision by decision; the shadow price below it."""

    unit: str
    """As in FrontierResult."""
    budget: float
    phase: tuple[str, ...]
    """(n,) name of each decision's phase, e.g. `cold start`, `learned policy`."""
    spend: tuple[float, ...]
    """(n,) what each decision billed."""
    shadow_price: tuple[float, ...]
    """(n,) the price under which it was made, accuracy per unit of cost."""


@dataclass(frozen=True)
class CalibrationResult:
    """Predicted against observed accuracy, and predicted against billed cost, in bins of the prediction."""

    unit: str
    """As in FrontierResult."""
    accuracy: tuple[tuple[float, float, int], ...]
    """(mean predicted, mean observed, n) of each bin; empty where nothing was predicted."""
    cost: tuple[tuple[float, float, int], ...]
    """(mean predicted, mean billed, n) of each bin."""


@dataclass(frozen=True)
class Report:
    """One page: a verdict, four figures, the pictures, and how to make it again."""

    title: str
    verdict: str
    """One sentence with figures and interval."""
    figures: tuple[tuple[str, str, str], ...]
    """(name, value, small print) of the four figures in a row."""
    frontier: FrontierResult
    allocation: AllocationResult
    stream: StreamResult
    calibration: CalibrationResult
    spenders: tuple[tuple[str, str, str, float, str], ...] = ()
    """(task text, kind, strategy, spend, answer) of the dearest decisions; text is shown as text, whatever it holds."""
    provenance: tuple[tuple[str, str], ...] = field(default=())
    """(what, value): command, seed, data window and hash, policy version, versions of packages."""
