"""Packages that the suite does without until something asks for them."""

from __future__ import annotations

import importlib
import warnings

from gan3d_bench.errors import UserError

PYTORCH3D = 'pip install "gan3d-bench[pytorch3d]"'


def require_pytorch3d(what: str) -> None:
    """Raise a `UserError` with the command that installs PyTorch3D unless it imports.

    Args:
        what: asked for it, such as "rasterizer engine 'pytorch3d'".
    """
    reason = why_missing("pytorch3d")
    if reason:
        raise UserError(f"{what}: expected PyTorch3D, which {reason}; install it with {PYTORCH3D}")


def why_missing(module: str) -> str:
    """Return "" if `module` imports, else why not: "is not installed" or how it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except Exception as error:  # a compiled package may fail to load in many ways
        if isinstance(error, ModuleNotFoundError) and error.name in (module, None):
            return "is not installed"
        return f"does not import ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return ""
