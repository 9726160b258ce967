"""Saved networks that adversarial training goes on from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from gan3d_bench.errors import UserError, named

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def load_to_train(
    load: Callable[[Path], NetworkT], key: str, path: str, image_size: int, expected: str
) -> NetworkT:
    """Load a generator or discriminator whose weights are to be trained.

    Args:
        load: reads it.
        key: config key that names its file.
        path: of the file.
        image_size: that its images must have.
        expected: the same in words, with the key that says so.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    with named(f"{key}={path}"):
        network = load(Path(path))
    size: Any = network.image_size
    if size != image_size:
        raise UserError(f"{key}={path}: of images of {size} pixels, expected {expected}")
    return network.train().requires_grad_(True)
