"""Tells which database operations got slow, since when and together with what."""

from pggit_analytics.version import __version__

__all__ = ["__version__"]
