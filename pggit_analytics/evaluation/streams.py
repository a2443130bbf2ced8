"""Independent random streams: one for each feature and operation, all from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pggit_analytics.evaluation.options import FEATURES

#: What is drawn for every week, whatever is switched on. New ones go to the end.
_ALWAYS = ("as_of", "profiles", "roles", "arrivals", "noise", "children", "slas")
_NUMBERS = {name: (0, place) for place, name in enumerate(_ALWAYS)} | {
    name: (1, place) for place, name in enumerate(FEATURES)
}


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of one week."""

    seed: int

    def of(self, purpose: str, operation: int | None = None) -> np.random.Generator:
        """A stream from its beginning; the same arguments give the same numbers.

        Args:
            purpose: one of `options.FEATURES` or of what every week draws.
            operation: position of the operation it is for; None: for all.
        """
        key = (*_NUMBERS[purpose], 0 if operation is None else operation + 1)
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
