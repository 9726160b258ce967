"""The option --device. Imports no torch until it is asked."""

from __future__ import annotations

from gan3d_bench.errors import UserError, nearest


def require_device(name: str) -> str:
    """Return the device called `name`; "auto" is a GPU if there is one.

    Raises:
        UserError: there is no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        known = ["auto", "cpu", *(["cuda", "cuda:0"] if torch.cuda.is_available() else [])]
        raise UserError(
            f"--device {name!r}: not available here; expected such as {', '.join(known)}"
            f"{nearest(name, known)}"
        ) from error
    return name
