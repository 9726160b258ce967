"""Packages that the suite does without until something asks for them."""

from __future__ import annotations

import importlib
import warnings

from gan3d_bench.errors import UserError

PYTORCH3D = 'pip install "gan3d-bench[pytorch3d]"'
LITERT = "pip install ai-edge-litert"


def require_pytorch3d(what: str) -> None:
    """Raise a `UserError` with the command that installs PyTorch3D unless it imports.

    Args:
        what: asked for it, such as "rasterizer engine 'pytorch3d'".
    """
    reason = why_missing("pytorch3d")
    if reason:
        raise UserError(f"{what}: expected PyTorch3D, which {reason}; install it with {PYTORCH3D}")


def require_litert(what: str) -> None:
    """The same of LiteRT, which runs ``.tflite`` files."""
    reason = why_missing("ai_edge_litert.interpreter")
    if reason:
        raise UserError(
            f"{what}: expected ai-edge-litert, which {reason}; install it with {LITERT}"
        )


def why_missing(module: str) -> str:
    """Return "" if `module` imports, else why not: "is not installed" or how it fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module)
    except Exception as error:  # a compiled package may fail to load in many ways
        absent = isinstance(error, ModuleNotFoundError)
        if absent and f"{module}.".startswith(f"{error.name or module}."):
            return "is not installed"
        return f"does not import ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return ""
