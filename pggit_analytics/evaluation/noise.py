"""How the logarithm of a duration scatters about its typical value: a normal body and an exponential tail."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: range and number of points of the tabulated density, in units of the logarithm
_TABLE = (-6.0, 6.0, 6001)
#: from here on erfc is taken from its asymptotic series: the function itself underflows near 27
_ASYMPTOTIC = 20.0


class DurationLaw(Protocol):
    """A law of log(duration / typical duration)."""

    def draw(self, count: int, random: np.random.Generator) -> Floats:
        """``count`` independent values."""
        ...

    def log_density(self, values: Floats) -> Floats:
        """Logarithm of the density."""
        ...

    def quantile(self, share: float) -> float:
        """The value with this share (0 < share < 1) below it."""
        ...


@dataclass(frozen=True)
class NoiseLaw:
    """The law of log(duration / typical duration) of one operation.

    With probability ``1 - tail_share`` it is N(0, sigma^2); otherwise an independent exponential amount of mean
    ``tail_scale`` is added, which makes the exponentially modified Gaussian (Grushka 1972, Analytical Chemistry 44).
    """

    sigma: float
    tail_share: float
    tail_scale: float

    def draw(self, count: int, random: np.random.Generator) -> Floats:
        """``count`` independent values."""
        body = self.sigma * random.standard_normal(count)
        stretch = random.exponential(self.tail_scale, count)
        return np.asarray(body + np.where(random.random(count) < self.tail_share, stretch, 0.0), dtype=np.float64)

    def log_density(self, values: Floats) -> Floats:
        """Logarithm of the density; outside -6..6 that of the nearer end. Interpolated, exact to about 1e-4."""
        return np.asarray(np.interp(values, *self._table), dtype=np.float64)

    def cumulative(self, value: float) -> float:
        """Probability of at most this value."""
        rate, sigma = 1.0 / self.tail_scale, self.sigma
        body = _normal(value / sigma)
        shifted = math.exp(min(0.5 * (rate * sigma) ** 2 - rate * value, 700.0))
        tail = body - shifted * _normal(value / sigma - rate * sigma)
        return (1.0 - self.tail_share) * body + self.tail_share * max(tail, 0.0)

    def quantile(self, share: float) -> float:
        """The value with this share (0 < share < 1) below it, by bisection."""
        low, high = -12.0 * self.sigma, 12.0 * self.sigma + 40.0 * self.tail_scale
        for _ in range(80):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.cumulative(middle) < share else (low, middle)
        return 0.5 * (low + high)

    @cached_property
    def _table(self) -> tuple[Floats, Floats]:
        at = np.linspace(*_TABLE)
        rate, sigma = 1.0 / self.tail_scale, self.sigma
        normal = -0.5 * (at / sigma) ** 2 - math.log(sigma * math.sqrt(2 * math.pi))
        tail = (
            math.log(rate / 2)
            + 0.5 * (rate * sigma) ** 2
            - rate * at
            + _log_erfc((rate * sigma - at / sigma) / math.sqrt(2))
        )
        return at, np.logaddexp(math.log1p(-self.tail_share) + normal, math.log(self.tail_share) + tail)


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _log_erfc(values: Floats) -> Floats:
    near = np.array([math.log(math.erfc(min(z, _ASYMPTOTIC))) for z in values])
    far = np.maximum(values, _ASYMPTOTIC)
    series = -far * far - np.log(far * math.sqrt(math.pi)) + np.log1p(-0.5 / (far * far))
    return np.where(values < _ASYMPTOTIC, near, series)
