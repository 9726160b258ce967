"""The disk cache of rendered data: shards that are written whole or not at all.

A shard is a safetensors file with images and albedo in 8 bits, depth in 16 bits over
[0.9, 1.1] (steps of 3e-6), normals in half floats, and the SHA-256 of its contents.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.heads.sampling import FAR, NEAR

_DEPTH_LEVELS = 65535
_MAPS = ("image", "depth", "normal", "albedo", "mask")


def encode(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Maps of `heads.sampling.exact_maps` -> what a shard stores."""
    depth = (maps["depth"] - NEAR) / (FAR - NEAR) * _DEPTH_LEVELS
    return {
        "image": ((maps["image"] + 1) * 127.5).round().to(torch.uint8),
        "albedo": ((maps["albedo"] + 1) * 127.5).round().to(torch.uint8),
        "mask": (maps["mask"] * 255).round().to(torch.uint8),
        "normal": maps["normal"].half(),
        "depth": depth.round().to(torch.int32).to(torch.uint16),
    }


def decode(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a shard stores -> float32 maps; background depth is exactly 1.1."""
    level = stored["depth"].to(torch.int32)
    depth = NEAR + level * ((FAR - NEAR) / _DEPTH_LEVELS)
    return {
        "image": stored["image"] / 127.5 - 1,
        "albedo": stored["albedo"] / 127.5 - 1,
        "mask": stored["mask"] / 255,
        "normal": torch.nn.functional.normalize(stored["normal"].float(), dim=-3),
        "depth": torch.where(level == _DEPTH_LEVELS, FAR, depth),
    }


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a shard atomically.

    Raises:
        UserError: no space left, or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        save_file(
            {key: value.contiguous() for key, value in tensors.items()},
            temporary,
            metadata={"sha256": _digest(tensors)},
        )
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space" in str(error)
        reason = "no space left on the device" if full else str(error)
        raise UserError(
            f"cannot write the cache {path}: {reason}; "
            "free some space or set GAN3D_BENCH_HOME to another folder"
        ) from None


class Shard:
    """One shard, memory-mapped; its checksum is verified when it is opened.

    Args:
        path: the file.
        length: number of items it must have.
        names: of its tensors, the image among them.

    Raises:
        UserError: a missing or damaged shard, with what mends it.
    """

    def __init__(self, path: Path, length: int, names: Sequence[str] = _MAPS) -> None:
        if not path.is_file():
            raise UserError(f"{path}: not rendered yet; call prepare_data() of the datamodule")
        try:
            self._file = safe_open(str(path), framework="pt")
            self._file.__enter__()
            tensors = {name: self._file.get_tensor(name) for name in names}
            expected = (self._file.metadata() or {}).get("sha256")
            whole = expected == _digest(tensors) and len(tensors["image"]) == length
        except (OSError, SafetensorError, KeyError) as error:
            raise _damaged(path, str(error)) from None
        if not whole:
            raise _damaged(path, "its checksum does not match")
        self._slices = {name: self._file.get_slice(name) for name in names}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Item `index` of the shard, stored form."""
        return {name: view[index : index + 1][0] for name, view in self._slices.items()}


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: damaged cache shard ({reason.splitlines()[0] if reason else 'unreadable'}); "
        "delete the file and run again to render it anew"
    )
