"""Morphable models: one class for the bundled head model and the Basel Face Model.

Shape: ``vertices = mean + identity @ identity_basis + expression @ expression_basis``; albedo:
``albedo = mean + coefficients @ basis``, as a texture or a colour for each vertex. All
coefficients are in units of one standard deviation (Blanz and Vetter, 1999).
"""

from __future__ import annotations

import functools
import json
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.assets.store import asset_path
from gan3d_bench.errors import UserError

HEADS_ASSET = "heads"
SCENE_UNITS_PER_DECIMETRE = 0.0625
"""Of the bundled heads."""
_HEADS_KEYS = (
    "meta", "mean", "identity_basis", "expression_basis", "faces", "uvs", "face_uvs",
    "face_parts", "mirror", "landmarks", "face_region", "albedo_mean", "albedo_basis",
    "albedo_scale", "expression_prior_rows", "expression_prior", "albedo_prior_w0",
    "albedo_prior_b0", "albedo_prior_w1", "albedo_prior_b1",
)  # fmt: skip


@dataclass(frozen=True)
class HeadsPrior:
    """How the coefficients of the bundled heads are distributed: maps from standard normals.

    Attributes:
        expression_rows: (A, 3): index of the latent, sign and highest level of each action.
        expression_levels: (A, E): expression coefficients of one unit of each action.
        albedo_weights: two layers (32, H), (H,), (H, 48), (48,) of a perceptron with tanh.
    """

    expression_rows: Tensor
    expression_levels: Tensor
    albedo_weights: tuple[Tensor, ...]

    @property
    def expression_latents(self) -> int:
        """Number of normals that `expression` takes."""
        return int(self.expression_rows[:, 0].max()) + 1

    @property
    def albedo_latents(self) -> int:
        """Number of normals that `albedo` takes."""
        return self.albedo_weights[0].shape[0]

    def expression(self, normals: Tensor) -> Tensor:
        """(B, 16) standard normals -> (B, E) expression coefficients.

        Each action's level is a sigmoid of its latent, so that it stays between 0 and its bound:
        faces smile or frown, but no mouth is less than closed.
        """
        index, sign, highest = self.expression_rows.unbind(1)
        level = highest * torch.sigmoid(3.0 * (sign * normals[:, index.long()] - 1.0))
        return level @ self.expression_levels

    def albedo(self, normals: Tensor) -> Tensor:
        """(B, 32) standard normals -> (B, 48) albedo coefficients (skin, hair, brows, eyes)."""
        w0, b0, w1, b1 = self.albedo_weights
        return torch.tanh(normals @ w0 + b0) @ w1 + b1


@dataclass(frozen=True)
class MorphableModel:
    """A linear model of face shape and albedo.

    Attributes:
        name: "heads" or "basel".
        mean: (V, 3) mean vertices, model units.
        identity_basis: (K, V, 3), a standard deviation each.
        expression_basis: (E, V, 3).
        faces: (F, 3) int64, wound so that ``(b - a) x (c - a)`` points outward (heads; Basel
            faces keep the order of their file).
        albedo_mean: texture (3, h, w), or (V, 3) for a colour a vertex, sRGB-encoded in [-1, 1].
        albedo_basis: (A, 3, h, w) or (A, V, 3), same units.
        landmarks: (L,) int64 vertex indices: 5 (image-left eye, image-right eye, nose tip,
            image-left and image-right mouth corner) or the 68 of iBUG.
        face_region: (V,) bool, vertices of the face proper (Basel: skin used by the fit).
        uvs: (T, 2), u right and v up as in `rendering.textured_mesh`; None without a texture.
        face_uvs: (F, 3) int64 rows of `uvs`; None without a texture.
        mirror: (V,) int64, the vertex at the mirrored place; None if not known.
        face_parts: (F,) int64 index into `parts`; None if there is one part only.
        parts: names of the parts.
        prior: distribution of coefficients; None means independent standard normals.

    Axes: the heads are in camera axes (x right, y down, z forward), scene units, the centre of
    rotation at the origin: `View.transform(vertices + (0, 0, 1))` puts them before the camera.
    The Basel model keeps its own (x right, y up, z to the viewer, decimetres; `geometry.basel`).
    """

    name: str
    mean: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    faces: Tensor
    albedo_mean: Tensor
    albedo_basis: Tensor
    landmarks: Tensor
    face_region: Tensor
    uvs: Tensor | None = None
    face_uvs: Tensor | None = None
    mirror: Tensor | None = None
    face_parts: Tensor | None = None
    parts: tuple[str, ...] = ("skin",)
    prior: HeadsPrior | None = None

    @classmethod
    def load_heads(cls) -> MorphableModel:
        """The bundled head model (3,725 vertices, 80 + 64 + 48 components). Cached.

        Raises:
            UserError: the asset is missing or damaged.
        """
        return _load_heads(asset_path(HEADS_ASSET))

    @property
    def num_identity(self) -> int:
        return self.identity_basis.shape[0]

    @property
    def num_expression(self) -> int:
        return self.expression_basis.shape[0]

    @property
    def num_albedo(self) -> int:
        return self.albedo_basis.shape[0]

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def vertices(self, identity: Tensor, expression: Tensor | None = None) -> Tensor:
        """(B, K) identity and (B, E) expression coefficients -> (B, V, 3).

        Fewer coefficients than components are allowed: the rest are zero. None is the neutral
        face.
        """
        flat = self.mean.reshape(-1) + _combine(identity, self.identity_basis)
        if expression is not None:
            flat = flat + _combine(expression, self.expression_basis)
        return flat.view(-1, *self.mean.shape)

    def albedo(self, coefficients: Tensor) -> Tensor:
        """(B, A) coefficients -> textures (B, 3, h, w) or colours (B, V, 3); [-1, 1], unclamped."""
        flat = self.albedo_mean.reshape(-1) + _combine(coefficients, self.albedo_basis)
        return flat.view(-1, *self.albedo_mean.shape)

    def landmark_points(self, vertices: Tensor) -> Tensor:
        """(B, V, 3) -> (B, L, 3)."""
        return vertices[:, self.landmarks]

    def mirrored(self, vertices: Tensor) -> Tensor:
        """Mirror heads left to right (B, V, 3); equal to the input for a symmetric head.

        Raises:
            ValueError: the model has no table of mirrored vertices.
        """
        if self.mirror is None:
            raise ValueError(f"the model '{self.name}' has no table of mirrored vertices")
        return vertices[:, self.mirror] * vertices.new_tensor([-1.0, 1.0, 1.0])

    def tensors(self) -> list[Tensor]:
        """All tensors of the model and its prior, in a fixed order."""
        own = [getattr(self, field.name) for field in fields(self)]
        if self.prior is not None:
            own += [self.prior.expression_rows, self.prior.expression_levels]
            own += self.prior.albedo_weights
        return [value for value in own if isinstance(value, Tensor)]

    def to(self, device: torch.device | str) -> MorphableModel:
        """The same model on another device."""
        moved = {
            field.name: value.to(device)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        prior = self.prior and HeadsPrior(
            self.prior.expression_rows.to(device),
            self.prior.expression_levels.to(device),
            tuple(weight.to(device) for weight in self.prior.albedo_weights),
        )
        return replace(self, **moved, prior=prior)


def _combine(coefficients: Tensor, basis: Tensor) -> Tensor:
    """(B, k <= K) @ (K, ...) -> (B, prod(...)), in float32 under autocast."""
    with torch.autocast(basis.device.type, enabled=False):
        used = basis.reshape(basis.shape[0], -1)[: coefficients.shape[1]]
        return coefficients.to(basis.dtype) @ used


@functools.lru_cache(maxsize=2)
def _load_heads(path: Path) -> MorphableModel:
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {key: archive[key] for key in _HEADS_KEYS}
        meta = json.loads(str(data["meta"]))
    except (OSError, KeyError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path}: not a head model ({error}); expected keys {', '.join(_HEADS_KEYS)}"
        ) from None

    def real(key: str) -> Tensor:
        return torch.from_numpy(data[key].astype(np.float32))

    def index(key: str) -> Tensor:
        return torch.from_numpy(data[key].astype(np.int64))

    # Textures are stored (h, w, 3) in [0, 1], the basis in 8 bits with a scale a component.
    scale = 2 * real("albedo_scale")[:, None, None, None]
    basis = torch.from_numpy(data["albedo_basis"]).permute(0, 3, 1, 2).float() * scale
    return MorphableModel(
        name="heads",
        mean=real("mean"),
        identity_basis=real("identity_basis"),
        expression_basis=real("expression_basis"),
        faces=index("faces"),
        albedo_mean=2 * real("albedo_mean").permute(2, 0, 1).contiguous() - 1,
        albedo_basis=basis.contiguous(),
        landmarks=index("landmarks"),
        face_region=torch.from_numpy(data["face_region"]),
        uvs=real("uvs"),
        face_uvs=index("face_uvs"),
        mirror=index("mirror"),
        face_parts=index("face_parts"),
        parts=tuple(meta["parts"]),
        prior=HeadsPrior(
            real("expression_prior_rows"),
            real("expression_prior"),
            tuple(real(f"albedo_prior_{key}") for key in ("w0", "b0", "w1", "b1")),
        ),
    )
