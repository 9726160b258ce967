"""Morphable models as a fit wants them: camera axes, a colour a vertex, standard normal weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.geometry.uv_atlas import UVAtlas

PRIOR_SAMPLES = 4096
LEAST_DEVIATION = 0.1  # directions in which a prior varies less, in the model's units, are left out
FRONT = 0.85
"""Of the region's depth, from the tip of the nose, what counts: behind it lie ears and neck."""
REGION_WIDTH = 0.0976
"""Scene units from left to right of a mean face's region, that of the bundled heads."""


@dataclass(frozen=True)
class FaceModel:
    """Faces by standard normal weights, around the origin, in camera axes and scene units.

    Identity and expression weights are one vector: ``vertices = mean + shape @ shape_basis``.

    Attributes:
        name: of the morphable model.
        mean: vertices at zero weights.
        shape_basis: what one standard deviation of each weight moves.
        colour_mean, colour_basis: the same of the albedo at the vertices, sRGB in [-1, 1].
        faces: wound so that ``(b - a) x (c - a)`` points outward.
        in_region: faces of the face proper.
        on_skin: those of them that are skin.
        unit: scene units that one of the morphable model's own is.
    """

    name: str
    mean: Float[Tensor, "V 3"]
    shape_basis: Float[Tensor, "K V 3"]
    colour_mean: Float[Tensor, "V 3"]
    colour_basis: Float[Tensor, "A V 3"]
    faces: Int[Tensor, "F 3"]
    in_region: Bool[Tensor, " F"]
    on_skin: Bool[Tensor, " F"]
    unit: float = 1.0

    @classmethod
    def of(cls, model: MorphableModel) -> FaceModel:
        """The space of a model: the bundled heads, or a Basel Face Model (`geometry.basel`)."""
        mean, basis = model.mean, (model.identity_basis, model.expression_basis)
        colour, colour_basis = _vertex_colours(model)
        faces, unit = model.faces, 1.0
        if model.name == "basel":  # y up, z to the viewer, decimetres; winding as in the file
            across = mean[model.face_region, 0]
            size = REGION_WIDTH / (across.max() - across.min())
            turn, unit = mean.new_tensor([1.0, -1.0, -1.0]) * size, float(size)
            mean, basis = mean * turn, tuple(part * turn for part in basis)
            a, b, c = mean[faces].unbind(1)
            if torch.linalg.cross(b - a, c - a)[:, 2].sum() > 0:
                faces = faces.flip(1)
        identity, expression = basis
        if model.prior is not None:
            rng = torch.Generator().manual_seed(0)
            known = torch.randn(PRIOR_SAMPLES, model.prior.expression_latents, generator=rng)
            centre, directions = _whitened(model.prior.expression(known))
            mean = mean + torch.tensordot(centre, expression, 1)
            expression = torch.tensordot(directions, expression, 1)
            known = torch.randn(PRIOR_SAMPLES, model.prior.albedo_latents, generator=rng)
            centre, directions = _whitened(model.prior.albedo(known))
            colour = colour + torch.tensordot(centre, colour_basis, 1)
            colour_basis = torch.tensordot(directions, colour_basis, 1)
        depth = mean[model.face_region, 2]
        back = depth.min() + FRONT * (depth.max() - depth.min())
        in_region = (model.face_region & (mean[:, 2] < back))[faces].all(1)
        skin = in_region if model.face_parts is None else in_region & (model.face_parts == 0)
        return cls(
            model.name, mean, torch.cat((identity, expression)), colour, colour_basis, faces,
            in_region, skin, unit,
        )  # fmt: skip

    @property
    def fingerprint(self) -> str:
        """Hash of the mean and the directions of shape and colour."""
        key = hashlib.sha256(self.name.encode())
        for tensor in (self.mean, self.shape_basis, self.colour_mean, self.colour_basis):
            key.update(tensor.contiguous().cpu().numpy().tobytes())
        return key.hexdigest()

    @property
    def num_shape(self) -> int:
        return len(self.shape_basis)

    @property
    def num_colour(self) -> int:
        return len(self.colour_basis)

    def region(self) -> FaceModel:
        """The same faces without what lies outside of the face proper."""
        kept, faces = self.faces[self.in_region].unique(return_inverse=True)
        every = torch.ones(len(faces), dtype=torch.bool, device=faces.device)
        return FaceModel(
            self.name, self.mean[kept], self.shape_basis[:, kept], self.colour_mean[kept],
            self.colour_basis[:, kept], faces, every, self.on_skin[self.in_region], self.unit,
        )  # fmt: skip

    def vertices(self, shape: Float[Tensor, "B K"]) -> Float[Tensor, "B V 3"]:
        return self.mean + torch.tensordot(shape, self.shape_basis, 1)

    def colours(self, colour: Float[Tensor, "B A"]) -> Float[Tensor, "B V 3"]:
        """Albedo in [-1, 1], not clamped."""
        return self.colour_mean + torch.tensordot(colour, self.colour_basis, 1)

    def to(self, device: torch.device | str) -> FaceModel:
        """The same space on another device."""
        values = (getattr(self, field.name) for field in fields(self))
        moved = (x.to(device) if isinstance(x, Tensor) else x for x in values)
        return FaceModel(*cast("tuple", tuple(moved)))


def _whitened(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (E,) and directions (E', E) of a prior: one standard deviation each, largest first."""
    centre = samples.mean(0)
    _, deviation, directions = torch.linalg.svd(samples - centre, full_matrices=False)
    deviation = deviation / len(samples) ** 0.5
    kept = deviation > LEAST_DEVIATION
    return centre, deviation[kept, None] * directions[kept]


def _vertex_colours(model: MorphableModel) -> tuple[Tensor, Tensor]:
    """Mean (V, 3) and basis (A, V, 3) of the albedo at the vertices."""
    if model.uvs is None or model.face_uvs is None:
        return model.albedo_mean, model.albedo_basis
    # either side of a seam shows the same colour
    textures = torch.cat((model.albedo_mean[None], model.albedo_basis))
    colours = UVAtlas.of(model).at_vertices(textures)
    return colours[0], colours[1:]
