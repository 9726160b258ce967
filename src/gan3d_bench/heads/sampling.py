"""From standard normals to heads: fixed, smooth maps, so that a generator can be regressed on them.

Layout of the latent (`LAYOUT`; `NUM_LATENTS` entries, all standard normal):

=========== ====== ==================================================================
entries     number meaning
=========== ====== ==================================================================
identity    80     identity coefficients themselves
expression  16     levels of facial actions (smile, jaw, brows, gaze ...)
albedo      32     skin, lips, hair, hairline, brows, beard, eyes, clothes
view        6      yaw, pitch, roll, translation x, y, z
light       4      ambient, diffuse, direction x, y
background  8      brightness, colour (3), slopes in x and y, vignette, hue slope
=========== ====== ==================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import UVTexture, render_mesh
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight

_SIZES = (
    ("identity", 80), ("expression", 16), ("albedo", 32), ("view", 6), ("light", 4),
    ("background", 8),
)  # fmt: skip


def layout(sizes: Sequence[tuple[str, int]]) -> dict[str, slice]:
    """Where in a latent the parts of these names and sizes lie, one after another."""
    found, start = {}, 0
    for name, size in sizes:
        found[name] = slice(start, start + size)
        start += size
    return found


LAYOUT: dict[str, slice] = layout(_SIZES)
NUM_LATENTS: int = sum(size for _, size in _SIZES)

NEAR, FAR = 0.9, 1.1  # depth of everything visible, and of the background
CENTRE_DEPTH = 1.0
FIELD_OF_VIEW = 10.0

YAW = (20.0, 50.0)  # scale and bound, degrees
PITCH = (8.0, 25.0)
ROLL = (3.0, 10.0)
TRANSLATION = (0.0025, 0.0025, 0.003)  # scale, scene units; the image spans 0.175 at depth 1
AMBIENT = (0.2, 0.6)
DIFFUSE = (0.4, 0.8)


@dataclass(frozen=True)
class HeadParameters:
    """Everything that makes B pictures of heads.

    Attributes:
        identity: (B, 80) coefficients, one standard deviation each.
        expression: (B, 64) coefficients.
        albedo: (B, 48) coefficients.
        angles: (B, 3) yaw, pitch, roll in degrees.
        translation: (B, 3) scene units.
        ambient, diffuse: (B,) weights of the light.
        light_direction: (B, 3) unit, towards the light, camera space.
        background: (B, 8) coefficients of the background picture (`background`).
    """

    identity: Tensor
    expression: Tensor
    albedo: Tensor
    angles: Tensor
    translation: Tensor
    ambient: Tensor
    diffuse: Tensor
    light_direction: Tensor
    background: Tensor

    @property
    def view(self) -> View:
        """The views (B)."""
        yaw, pitch, roll = self.angles.unbind(1)
        return View(yaw, pitch, roll, self.translation, CENTRE_DEPTH)

    @property
    def light(self) -> LambertLight:
        """The lights (B)."""
        return LambertLight(self.ambient, self.diffuse, self.light_direction)

    def __len__(self) -> int:
        return self.identity.shape[0]

    def __getitem__(self, index: slice | Tensor) -> HeadParameters:
        """Choose some of the B heads."""
        return HeadParameters(*(getattr(self, f.name)[index] for f in fields(self)))

    def to(self, device: torch.device | str) -> HeadParameters:
        """The same parameters on another device."""
        return HeadParameters(*(getattr(self, f.name).to(device) for f in fields(self)))


def sample_heads(latents: Tensor, model: MorphableModel | None = None) -> HeadParameters:
    """Map standard normals to heads; smooth, and monotone in each latent of view and light.

    Args:
        latents: (B, >= NUM_LATENTS); further entries are not used.
        model: the head model; None loads the bundled one.

    Raises:
        ValueError: too few latents.
    """
    if latents.shape[1] < NUM_LATENTS:
        raise ValueError(f"expected at least {NUM_LATENTS} latents, got {latents.shape[1]}")
    model = model or MorphableModel.load_heads().to(latents.device)
    prior = model.prior
    if prior is None:
        raise ValueError(f"the model '{model.name}' has no prior to sample heads from")
    part = {name: latents[:, entries].float() for name, entries in LAYOUT.items()}
    view, light = part["view"], part["light"]
    angles = [
        bound * torch.tanh(view[:, i] * scale / bound)
        for i, (scale, bound) in enumerate((YAW, PITCH, ROLL))
    ]
    slopes = light[:, 2:4] * light.new_tensor([0.7, 0.45]) + light.new_tensor([0.0, -0.35])
    direction = torch.cat((slopes, -torch.ones_like(slopes[:, :1])), 1)
    return HeadParameters(
        identity=part["identity"],
        expression=prior.expression(part["expression"]),
        albedo=prior.albedo(part["albedo"]),
        angles=torch.stack(angles, 1),
        translation=3 * torch.tanh(view[:, 3:] / 3) * view.new_tensor(TRANSLATION),
        ambient=_between(light[:, 0], *AMBIENT),
        diffuse=_between(light[:, 1], *DIFFUSE),
        light_direction=F.normalize(direction, dim=1),
        background=part["background"],
    )


def _between(normal: Tensor, low: float, high: float) -> Tensor:
    """A standard normal to a uniform value between two bounds."""
    return low + (high - low) * 0.5 * (1 + torch.erf(normal / math.sqrt(2)))


def background(coefficients: Tensor, image_size: int) -> Tensor:
    """Soft colour gradients: (B, 8) coefficients -> (B, 3, S, S) in (-1, 1)."""
    line = torch.linspace(-1, 1, image_size, device=coefficients.device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    c = coefficients[:, :, None, None]
    hue = coefficients.new_tensor([1.0, 0.0, -1.0])[:, None, None]
    shade = 0.75 * c[:, :1] + 0.25 * c[:, 4:5] * x + 0.25 * c[:, 5:6] * y
    shade = shade + 0.2 * c[:, 6:7] * (x**2 + y**2 - 1)
    return torch.tanh(shade + 0.3 * c[:, 1:4] + 0.15 * c[:, 7:8] * x * hue)


def canonical_heads(
    parameters: HeadParameters, model: MorphableModel | None = None
) -> tuple[Tensor, Tensor, UVTexture]:
    """Heads as textured meshes where the camera sees them at the canonical view.

    Args:
        parameters: B heads.
        model: the head model; None loads the bundled one.

    Returns:
        vertices (B, V, 3) in camera space, faces (F, 3), and the albedo.

    Raises:
        ValueError: the model has no texture coordinates.
    """
    model = model or MorphableModel.load_heads().to(parameters.identity.device)
    if model.uvs is None or model.face_uvs is None:
        raise ValueError(f"the model '{model.name}' has no texture coordinates")
    vertices = model.vertices(parameters.identity, parameters.expression)
    texture = model.albedo(parameters.albedo).clamp(-1, 1)
    centre = vertices.new_tensor([0.0, 0.0, CENTRE_DEPTH])
    return vertices + centre, model.faces, UVTexture(model.uvs, model.face_uvs, texture)


def render_heads(
    parameters: HeadParameters,
    image_size: int = 64,
    supersample: int = 2,
    model: MorphableModel | None = None,
) -> dict[str, Tensor]:
    """Render heads with exact ground truth.

    Args:
        parameters: B heads.
        image_size: S.
        supersample: sub-pixels along each axis.
        model: the head model; None loads the bundled one.

    Returns:
        image: (B, 3, S, S) in [-1, 1], Lambert-lit head over the background.
        depth: (B, 1, S, S) within [0.9, 1.1]; exactly 1.1 where `mask` is below 0.5.
        normal: (B, 3, S, S) unit, towards the viewer; (0, 0, -1) off the head.
        albedo: (B, 3, S, S) in [-1, 1]; -1 off the head.
        mask: (B, 1, S, S), covered fraction of each pixel.
    """
    vertices, faces, surface = canonical_heads(parameters, model)
    rendering = render_mesh(
        parameters.view.transform(vertices),
        faces,
        surface,
        PinholeCamera(image_size, FIELD_OF_VIEW),
        light=parameters.light,
        supersample=supersample,
        cull_backfaces=True,
    )
    return exact_maps(rendering, background(parameters.background, image_size))


def exact_maps(rendering: Rendering, behind: Tensor) -> dict[str, Tensor]:
    """The maps of data with exact ground truth, see `render_heads`.

    Args:
        rendering: of B subjects, with depth, normals and albedo.
        behind: (B, 3, S, S) backgrounds in [-1, 1].
    """
    assert rendering.depth is not None
    assert rendering.normal is not None
    assert rendering.albedo is not None
    inside = rendering.mask >= 0.5
    facing = rendering.normal.new_tensor([0.0, 0.0, -1.0])[:, None, None]
    return {
        "image": rendering.over(behind).clamp(-1, 1),
        "depth": torch.where(inside, rendering.depth.clamp(NEAR, FAR), FAR),
        "normal": torch.where(inside, rendering.normal, facing),
        "albedo": torch.where(inside, rendering.albedo, -1.0),
        "mask": rendering.mask,
    }
