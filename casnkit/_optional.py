"""Packages that are imported only where they are used, with an error that says what to install.

``import casnkit`` needs torch, torchvision, numpy and pillow alone, so that a GPU server without a screen can train.
"""

from __future__ import annotations

import importlib
from types import ModuleType

_PIP_NAMES = {"sklearn": "scikit-learn", "PIL": "pillow", "faiss": "faiss-cpu"}


def require(module: str, purpose: str, extra: str | None = None) -> ModuleType:
    """Import ``module`` or say what it is needed for and how to get it.

    Args:
        module: dotted name, e.g. ``"matplotlib.pyplot"``.
        purpose: what needs it, as the subject of a sentence, e.g. ``"drawing figures"``.
        extra: the extra of casnkit that brings it, e.g. ``"raw"``; None where the base install does.

    Raises:
        ImportError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.split(".")[0]
        command = f'pip install "casnkit[{extra}]"' if extra else f"pip install {_PIP_NAMES.get(top, top)}"
        raise ImportError(f"{purpose} needs the package {top!r}, which could not be imported: {command}") from error
