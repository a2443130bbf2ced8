"""Labelled weeks by the name of their preset, whichever generator makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from pggit_analytics.errors import InvalidArgument
from pggit_analytics.evaluation.generator import make_week
from pggit_analytics.evaluation.options import PRESETS
from pggit_analytics.evaluation.other_weeks import OtherOptions, make_other_week
from pggit_analytics.evaluation.truth import LabelledWeek

#: seed -> week
Maker = Callable[[int], LabelledWeek]

#: Those of the second generator. ``other``: another system for each seed; ``other_clean``: the same without faults.
OTHERS: Mapping[str, OtherOptions] = MappingProxyType(
    {"other": OtherOptions(), "other_clean": OtherOptions(faults=False)}
)
NAMES = (*PRESETS, *OTHERS)


def maker(name: str) -> Maker:
    """What makes the weeks of a preset.

    Raises:
        InvalidArgument: there is no such preset.
    """
    if name in PRESETS:
        return partial(make_week, options=PRESETS[name])
    if name in OTHERS:
        return partial(make_other_week, options=OTHERS[name])
    raise InvalidArgument(f"preset is {name}, expected one of {', '.join(NAMES)}")
