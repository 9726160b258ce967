"""Weight files: our own, safetensors that say what they hold, and foreign ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.files.pickles import RefusedPickle
from gan3d_bench.files.torch_files import read_everything

FORMAT = "gan3d-bench/1"
WRAPPERS = ("module.", "_orig_mod.")
"""Of PyTorch's data parallel training and of ``torch.compile``."""

Shapes = dict[str, tuple[int, ...]]
"""Names of a state dict's tensors and their shapes."""


def save_weights(
    path: Path,
    state: Mapping[str, Tensor],
    purpose: str,
    facts: Mapping[str, str] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write `state`, by way of a temporary file beside it.

    Args:
        path: the file; its folder is made.
        state: keys to tensors.
        purpose: what the weights are of, as `read_weights` will demand it.
        facts: further metadata.
        dtype: of the tensors in the file.

    Raises:
        UserError: the file cannot be written.
    """
    metadata = {**(facts or {}), "format": FORMAT, "purpose": purpose}
    tensors = {key: value.detach().to("cpu", dtype).contiguous() for key, value in state.items()}
    try:
        with atomic_write(path) as draft:
            save_file(tensors, draft, metadata)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be written ({reason})") from error


def read_weights(path: Path, purpose: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors (as stored) and metadata of a file that holds `purpose`.

    Raises:
        UserError: missing, truncated or foreign file, or one of another purpose.
    """
    state, metadata = open_weights(path)
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: not a network saved by gan3d-bench, expected format {FORMAT}")
    if metadata.get("purpose") != purpose:
        raise UserError(f"{path}: holds a {metadata.get('purpose')}, expected a {purpose}")
    return state, metadata


def open_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and metadata of any safetensors file.

    Raises:
        UserError: missing, truncated or foreign file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected a network saved by gan3d-bench") from error
    except (SafetensorError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: truncated or not a safetensors file ({reason})") from error
    return state, metadata


def read_torch(path: Path, expected: str) -> Any:
    """Return what another program saved by ``torch.save``: tensors and plain values only.

    Args:
        path: the file.
        expected: what it should hold, for the error.

    Raises:
        UserError: missing, truncated or foreign file, or one that would run code. The message
            leaves it to the caller to name the file and the key that it was given for.
    """
    if not path.is_file():
        raise UserError(f"no such file; expected {expected}")
    try:
        return read_everything(path)
    except RefusedPickle as error:
        raise UserError(
            f"not a readable checkpoint of tensors and plain values; expected {expected}"
        ) from error


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights without what wrappers put before all of their names, see `WRAPPERS`."""
    names = list(state)
    while names and (prefix := next((w for w in WRAPPERS if _all_begin(names, w)), "")):
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, state.values(), strict=True))


def _all_begin(names: list[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def shapes_of(network: nn.Module) -> Shapes:
    """Return the shapes of a network's state dict.

    A network made under ``torch.device("meta")`` tells them without making room for its weights:
    an architecture from somebody's file may ask for any amount of memory.
    """
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def require_weights(
    state: Mapping[str, Tensor], expected: Shapes, name: Callable[[str], str] = str
) -> None:
    """Check somebody's weights against the shapes of a network.

    Args:
        state: keys to tensors.
        expected: keys to shapes.
        name: what errors call a key.

    Raises:
        UserError: missing, unknown or non-finite weights, or ones of other shapes.
    """
    for key, shape in expected.items():
        if key not in state:
            raise UserError(f"'{name(key)}' is missing, expected {shape}")
        if tuple(state[key].shape) != shape:
            raise UserError(f"'{name(key)}' is {tuple(state[key].shape)}, expected {shape}")
    for key, value in state.items():
        if key not in expected:
            raise UserError(f"'{name(key)}' is not expected by this architecture")
        if not value.is_floating_point() or not value.isfinite().all():
            raise UserError(
                f"'{name(key)}' has values that are not finite numbers, expected trained weights"
            )


def is_state(part: Any) -> bool:
    """Return whether `part` is a dict of names and tensors."""
    return isinstance(part, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in part.items()
    )
