"""Finds the SQL files and the flows, in a checkout as well as in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def directory(name: str) -> Path:
    """Directory ``name`` (``sql`` or ``flows``): inside the package (wheel), else beside it (checkout)."""
    inside, beside = _PACKAGE / name, _PACKAGE.parent / name
    return inside if inside.is_dir() else beside
