"""Packages that only a part of fmtc needs, imported when that part is used."""

from __future__ import annotations

import importlib
from typing import Any

# Names on PyPI of packages that are imported under another one.
PROJECTS = {
    "PIL": "pillow",
    "prometheus_client": "prometheus-client",
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
}


def require(module: str, extra: str) -> Any:
    """Import a module of a package that fmtc's extra of that name installs.

    >>> pyplot = require("matplotlib.pyplot", "eval")

    ImportError: it is missing or cannot be loaded; the sentence names the package, the cause and
    what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{PROJECTS.get(package, package)} is needed for this and cannot be imported "
            f"({error}); install it with: pip install 'fmtc[{extra}]'",
            name=package,
        ) from error
