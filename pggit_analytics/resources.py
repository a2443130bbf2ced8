"""Finds the SQL files and the flows, in a checkout as well as in an installed wheel."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from pggit_analytics.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parent


def directory(name: str) -> Path:
    """Directory ``name`` (``sql`` or ``flows``): inside the package (wheel), else beside it (checkout)."""
    inside, beside = _PACKAGE / name, _PACKAGE.parent / name
    return inside if inside.is_dir() else beside


def flow_module(name: str) -> ModuleType:
    """The module of the flow in ``flows/<name>.py``, imported once; it is a file and belongs to no package.

    Raises:
        ConfigurationError: there is no such flow.
    """
    name_here = f"pggit_flow_{name}"
    if name_here not in sys.modules:
        file = directory("flows") / f"{name}.py"
        specification = importlib.util.spec_from_file_location(name_here, file)
        if specification is None or specification.loader is None or not file.is_file():
            raise ConfigurationError(f"the flow {name} is not installed with this package; install it again")
        module = importlib.util.module_from_spec(specification)
        sys.modules[name_here] = module
        try:
            specification.loader.exec_module(module)
        except BaseException:
            del sys.modules[name_here]
            raise
    return sys.modules[name_here]
