"""The bundled cars: meshes with texture atlases, whose body paint can be changed.

Frame: camera axes (x right, y down, z forward) with the car's front towards the camera at -z; the
middle of its bounding box is the origin, and it is one unit long. `tools/build_cars.py` makes the
pack; ``manifest.json`` beside it names creators, licences, sources and changes.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import UserError

CARS_ASSET = "cars"
FORMAT = 1
_STEPS = 65535  # of stored coordinates
_MOST_SHADE = 1.5
_KEYS = ("vertices", "bounds", "faces", "uvs", "face_uvs", "atlas")

PAINTS: Mapping[str, tuple[float, float, float]] = {
    "white": (0.92, 0.92, 0.90),
    "silver": (0.66, 0.68, 0.70),
    "grey": (0.34, 0.35, 0.37),
    "black": (0.09, 0.09, 0.10),
    "red": (0.78, 0.09, 0.09),
    "maroon": (0.38, 0.07, 0.11),
    "blue": (0.12, 0.30, 0.72),
    "navy": (0.09, 0.13, 0.32),
    "green": (0.10, 0.42, 0.22),
    "yellow": (0.92, 0.76, 0.10),
    "orange": (0.90, 0.43, 0.08),
}
"""Colours that a car can be painted in, sRGB in [0, 1]."""

LOOKS: tuple[str, ...] = ("original", *PAINTS)
"""Looks of every car: as it was made, or painted."""


@dataclass(frozen=True)
class Car:
    """One car.

    Attributes:
        name, creator, licence: as the manifest has them.
        vertices: (V, 3), see the module; apart where edges are sharp, so that smooth normals are
            smooth over panels only.
        faces: (F, 3) int64, wound so that ``(b - a) x (c - a)`` points to where the face is seen
            from; sheets that are seen from both sides are there twice.
        uvs: (T, 2), u right and v up as in `rendering.mesh.UVTexture`.
        face_uvs: (F, 3) int64 rows of `uvs`.
        atlas: (3, S, S) in [0, 1], the colours as made.
        paint: (1, S, S) in [0, 1], how much each texel is the body's paint.
        lightness: mean of the painted texels' colours, in (0, 1].
    """

    name: str
    creator: str
    licence: str
    vertices: Tensor
    faces: Tensor
    uvs: Tensor
    face_uvs: Tensor
    atlas: Tensor
    paint: Tensor
    lightness: float

    def texture(self, look: int) -> Tensor:
        """The atlas of one of `LOOKS`, (3, S, S) in [-1, 1].

        A new paint keeps the lightness that a texel has beside the old paint's mean, so that
        shades and seams in it stay.
        """
        if not look:
            return self.atlas * 2 - 1
        colour = self.atlas.new_tensor(PAINTS[LOOKS[look]])[:, None, None]
        shade = (self.atlas.mean(0, keepdim=True) / self.lightness).clamp(max=_MOST_SHADE)
        painted = (colour * shade).clamp(0, 1)
        return torch.lerp(self.atlas, painted, self.paint) * 2 - 1


@dataclass(frozen=True)
class CarPack:
    """All cars, in the pack's order."""

    cars: tuple[Car, ...]

    @classmethod
    def load(cls) -> CarPack:
        """The bundled pack. Cached.

        Raises:
            UserError: the asset is missing or damaged.
        """
        return _load(asset_path(CARS_ASSET) / "cars.npz")

    def names(self) -> list[str]:
        return [car.name for car in self.cars]

    def tensors(self) -> list[Tensor]:
        """All tensors of all cars, in a fixed order."""
        values = (getattr(car, f.name) for car in self.cars for f in fields(Car))
        return [value for value in values if isinstance(value, Tensor)]

    def __len__(self) -> int:
        return len(self.cars)


@functools.lru_cache(maxsize=2)
def _load(path: Path) -> CarPack:
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(str(archive["meta"]))
            if meta["format"] != FORMAT:
                raise ValueError(f"format {meta['format']}, expected {FORMAT}")
            return CarPack(tuple(_car(entry, archive) for entry in meta["cars"]))
    except (OSError, KeyError, TypeError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path}: not a pack of cars ({error}); expected of each {', '.join(_KEYS)}"
        ) from None


def _car(entry: Mapping[str, Any], archive: Mapping[str, np.ndarray]) -> Car:
    data = {key: archive[f"{entry['name']}.{key}"] for key in _KEYS}
    low, high = data["bounds"].astype(np.float64)
    atlas = torch.from_numpy(data["atlas"]).permute(2, 0, 1).float() / 255

    def share(key: str) -> np.ndarray:
        return data[key].astype(np.float64) / _STEPS

    def index(key: str) -> Tensor:
        return torch.from_numpy(data[key].astype(np.int64))

    return Car(
        name=entry["name"],
        creator=entry["creator"],
        licence=entry["licence"],
        vertices=torch.from_numpy(low + share("vertices") * (high - low)).float(),
        faces=index("faces"),
        uvs=torch.from_numpy(share("uvs")).float(),
        face_uvs=index("face_uvs"),
        atlas=atlas[:3].contiguous(),
        paint=atlas[3:].contiguous(),
        lightness=entry["paint"]["lightness"],
    )
