"""Tells which database operations got slow, since when and together with what.

``import pggit_analytics as pa`` gives notebooks and scripts the functions of `pggit_analytics.api`, which is imported
when the first of them is used.
"""

from typing import TYPE_CHECKING, Any

from pggit_analytics.version import __version__

if TYPE_CHECKING:
    from pggit_analytics.api import backtest, connect, detect, incidents, metrics, plot, runs, traces, tune

__all__ = [
    "__version__",
    "backtest",
    "connect",
    "detect",
    "incidents",
    "metrics",
    "plot",
    "runs",
    "traces",
    "tune",
]


if not TYPE_CHECKING:  # type checkers are to see the names above, and no others

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pggit_analytics import api

        return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
