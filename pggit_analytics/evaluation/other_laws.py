"""Laws of noise that the first generator does not have: gamma, Weibull, log-logistic, and calls of two modes.

Each is the law of log(duration / median duration), given by its density; what else is asked of it is tabulated.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_TABLE = (-8.0, 8.0, 16_001)
_LEAST = 1e-300


@dataclass(frozen=True)
class OtherLaw(ABC):
    """A law of the logarithm of a duration, moved so that its median is 0."""

    @abstractmethod
    def _log_density(self, values: Floats) -> Floats:
        """Logarithm of the density before the move."""

    @abstractmethod
    def _draw(self, count: int, random: np.random.Generator) -> Floats:
        """Independent values before the move."""

    def draw(self, count: int, random: np.random.Generator) -> Floats:
        """``count`` independent values."""
        return self._draw(count, random) - self._middle

    def log_density(self, values: Floats) -> Floats:
        """Logarithm of the density."""
        return self._log_density(values + self._middle)

    def quantile(self, share: float) -> float:
        """The value with this share (0 < share < 1) below it."""
        return self._quantile(share) - self._middle

    @cached_property
    def _middle(self) -> float:
        return self._quantile(0.5)

    def _quantile(self, share: float) -> float:
        at = np.linspace(*_TABLE)
        mass = np.exp(self._log_density(at))
        below = np.cumsum(mass) - mass / 2
        return float(np.interp(share, below / mass.sum(), at))


@dataclass(frozen=True)
class Gamma(OtherLaw):
    """Durations of several exponential stages one after the other; a short tail."""

    shape: float

    def _log_density(self, values: Floats) -> Floats:
        return np.asarray(self.shape * values - np.exp(values) - math.lgamma(self.shape), dtype=np.float64)

    def _draw(self, count: int, random: np.random.Generator) -> Floats:
        return np.log(np.maximum(random.gamma(self.shape, 1.0, count), _LEAST))


@dataclass(frozen=True)
class Weibull(OtherLaw):
    """Skewed to the fast side: the tail of the logarithm is on the left."""

    shape: float

    def _log_density(self, values: Floats) -> Floats:
        return np.asarray(math.log(self.shape) + self.shape * values - np.exp(self.shape * values), dtype=np.float64)

    def _draw(self, count: int, random: np.random.Generator) -> Floats:
        return np.log(np.maximum(random.weibull(self.shape, count), _LEAST))


@dataclass(frozen=True)
class LogLogistic(OtherLaw):
    """Power laws on both sides: a Pareto tail that begins at the median."""

    scale: float

    def _log_density(self, values: Floats) -> Floats:
        z = np.abs(values) / self.scale
        return np.asarray(-z - 2 * np.log1p(np.exp(-z)) - math.log(self.scale), dtype=np.float64)

    def _draw(self, count: int, random: np.random.Generator) -> Floats:
        return np.asarray(random.logistic(0.0, self.scale, count), dtype=np.float64)


@dataclass(frozen=True)
class TwoModes(OtherLaw):
    """Lognormal durations, a share of them (a cache that is missed) ``ratio`` times as long."""

    sigma: float
    share: float
    ratio: float

    def _log_density(self, values: Floats) -> Floats:
        near = math.log1p(-self.share) - 0.5 * (values / self.sigma) ** 2
        far = math.log(self.share) - 0.5 * ((values - math.log(self.ratio)) / self.sigma) ** 2
        return np.logaddexp(near, far) - math.log(self.sigma * math.sqrt(2 * math.pi))

    def _draw(self, count: int, random: np.random.Generator) -> Floats:
        is_far = random.random(count) < self.share
        return np.asarray(
            self.sigma * random.standard_normal(count) + np.where(is_far, math.log(self.ratio), 0.0), dtype=np.float64
        )


def draw_law(random: np.random.Generator) -> OtherLaw:
    """One of the laws, with a scatter from narrow to wide."""
    laws = (
        lambda: Gamma(float(np.exp(random.uniform(np.log(8), np.log(60))))),
        lambda: Weibull(random.uniform(3.0, 9.0)),
        lambda: LogLogistic(random.uniform(0.05, 0.12)),
        lambda: TwoModes(random.uniform(0.1, 0.2), random.uniform(0.05, 0.35), random.uniform(1.5, 2.2)),
        lambda: TwoModes(random.uniform(0.1, 0.35), 1e-9, 1.0),
    )
    return laws[int(random.integers(len(laws)))]()
