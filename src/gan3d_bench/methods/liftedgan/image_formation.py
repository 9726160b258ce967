"""From a stylecode to a textured, lit 3D subject and its picture (LiftedGAN, sections 3.1, 3.1.1).

Light and view come out of the networks as `raw` numbers in (-1, 1): light (ambient, diffuse, x, y),
view (three angles, then x, y, z), in the order of the released ``netSD`` (models/networks.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from kornia.filters import filter2d_separable
from torch import Tensor, nn

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals, interpolate_in_view
from gan3d_bench.rendering.shading import LambertLight, diffuse_shading, lit_texture

ROTATION_RANGE = 60.0  # degrees of a raw angle of 1
# scene units of a raw translation of 1; the paper says 0.1 thrice
TRANSLATION_RANGE = (0.1, 0.1, 0.01)
BORDER_COLUMNS = 2  # on either side, held at the border depth
FOREGROUND_MARGIN = 0.01  # how much nearer than the border foreground is
BACKGROUND = 1.0  # white
RELEASED_NORMAL_EPSILON = 1e-7
RELATIVE_ROUNDING = 1e-6  # of a gradient map's largest entry

Generate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Stylecodes (B, w_dim) -> images (B, 3, S, S), not clamped, and last features (B, C, S, S)."""


@dataclass(frozen=True)
class Geometry:
    """Fixed quantities of shape and rendering (Shi et al. 2021, section 3.1.1).

    Values are those of the released config/ffhq_256.py and models/renderers/renderer.py.

    Attributes:
        image_size: S.
        near, far: range of canonical depth, scene units.
        border: depth of the outermost columns, scene units.
        blur_radius: of the Gaussian that smooths the transformation map, pixels.
        blur_sigma: its standard deviation, pixels. (The released code's sigma is this over root 2.)
        released: rasterize and shade as the released code, see `interpolate_in_view` and
            `depth_normals`; else vertices lie at pixel centres, colours are interpolated in space
            and normals have length 1.
        clip_contours: no gradient to the depth at the borders of where there is any.
    """

    image_size: int
    near: float = 0.9
    far: float = 1.1
    border: float = 1.05
    blur_radius: int = 10
    blur_sigma: float = 4 * 2**0.5
    released: bool = False
    clip_contours: bool = True

    @property
    def camera(self) -> PinholeCamera:
        return PinholeCamera(self.image_size)


@dataclass(frozen=True)
class CanonicalFactors:
    """B subjects seen from the front.

    Attributes:
        w: (B, w_dim) stylecodes of the neutral pictures.
        neutral: (B, 3, S, S) what the teacher makes of them, not clamped.
        depth: (B, 1, S, S) scene units.
        normal: (B, 3, S, S) towards the viewer, camera space.
        albedo: (B, 3, S, S) the neutral pictures without their light, nominally in [-1, 1].
        blend: (B, 1, S, S) in [0, 1], the transformation map T; None to move every pixel.
    """

    w: Tensor
    neutral: Tensor
    depth: Tensor
    normal: Tensor
    albedo: Tensor
    blend: Tensor | None

    def mirrored(self, geometry: Geometry) -> CanonicalFactors:
        """Depth and albedo flipped left to right; the transformation map stays, as released."""
        depth = self.depth.flip(3)
        normal = canonical_normals(depth, geometry)
        return replace(self, depth=depth, normal=normal, albedo=self.albedo.flip(3))


@dataclass(frozen=True)
class RenderedImages:
    """Rendered subjects: rgb (B, 3, S, S), white where the mask (B, 1, S, S) is 0; not clamped."""

    rgb: Tensor
    mask: Tensor


def view_from_raw(raw: Tensor) -> View:
    """Views of raw numbers (B, 6)."""
    scale = raw.new_tensor([*(ROTATION_RANGE,) * 3, *TRANSLATION_RANGE])
    x, y, z, *shift = (raw * scale).unbind(1)
    return View(-y, -x, z, torch.stack(shift, 1))


def view_to_raw(view: View) -> Tensor:
    """Inverse of `view_from_raw`."""
    angles = torch.stack((-view.pitch, -view.yaw, view.roll), 1) / ROTATION_RANGE
    return torch.cat((angles, view.translation / view.translation.new_tensor(TRANSLATION_RANGE)), 1)


def light_from_raw(raw: Tensor) -> LambertLight:
    """Lights of raw numbers (B, 4); ambient and diffuse weights lie in (0, 1)."""
    ambient, diffuse, x, y = raw.unbind(1)
    return LambertLight.from_slopes(ambient / 2 + 0.5, diffuse / 2 + 0.5, x, y)


def neutral_light(raw: Tensor) -> Tensor:
    """L0: the same ambient and diffuse light from the front (B, 4).

    The paper calls L0 a default; the released code keeps the sample's own weights.
    """
    return raw * raw.new_tensor([1.0, 1.0, 0.0, 0.0])


def depth_from_raw(raw: Tensor, geometry: Geometry) -> Tensor:
    """Canonical depth of D_S's output, both (B, 1, S, S): centred, squashed, fixed at the sides."""
    squashed = torch.tanh(raw - raw.mean((2, 3), keepdim=True))
    near, far = geometry.near, geometry.far
    depth = (near + far) / 2 + (far - near) / 2 * squashed
    inner = depth[..., BORDER_COLUMNS:-BORDER_COLUMNS]
    return F.pad(inner, (BORDER_COLUMNS, BORDER_COLUMNS), value=geometry.border)


def blend_from_raw(raw: Tensor, depth: Tensor, geometry: Geometry) -> Tensor:
    """The transformation map of D_T's output, both (B, 1, S, S), for a canonical depth.

    What lies nearer than the border moves entirely, whatever D_T says; the map is smoothed and the
    border does not move.
    """
    moving = torch.sigmoid(raw + 5)
    foreground = (depth.detach() <= geometry.border - FOREGROUND_MARGIN).to(moving)
    moving = blur(foreground + (1 - foreground) * moving, geometry)
    inner = moving[..., 1:-1, BORDER_COLUMNS:-BORDER_COLUMNS]
    return F.pad(inner, (BORDER_COLUMNS, BORDER_COLUMNS, 1, 1))


def blur(maps: Tensor, geometry: Geometry) -> Tensor:
    """Gaussian blur of maps (B, C, S, S), mirrored at the border."""
    radius = geometry.blur_radius
    x = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-x.square() / (2 * geometry.blur_sigma**2))
    kernel = (kernel / kernel.sum())[None]
    with torch.autocast(maps.device.type, enabled=False):
        return filter2d_separable(maps, kernel, kernel, border_type="reflect")


def canonical_normals(depth: Tensor, geometry: Geometry) -> Tensor:
    """Normals (B, 3, S, S) of canonical depth, those of the border copied from within."""
    epsilon = RELEASED_NORMAL_EPSILON if geometry.released else 0.0
    return depth_normals(depth, geometry.camera, epsilon=epsilon, border="nearest")


def remove_shading(neutral: Tensor, normal: Tensor, light: LambertLight) -> Tensor:
    """Divide a frontally lit picture by its shading: pictures and albedo (B, 3, S, S)."""
    ambient, diffuse = (x[:, None, None, None] for x in (light.ambient, light.diffuse))
    frontal = normal.new_tensor([[0.0, 0.0, -1.0]])
    shading = ambient + diffuse * diffuse_shading(normal, frontal)
    return (neutral + 1) / (shading + 1e-8) - 1


def clip_contours(gradient: Tensor) -> Tensor:
    """Zero a gradient map (B, 1, S, S) where its support begins or ends."""
    # Where T is 0 the gradient is zero but for rounding. The released code asks for exact zeros,
    # so that chance decides what it keeps beside the border.
    size = gradient.abs()
    support = (size > RELATIVE_ROUNDING * size.amax((2, 3), keepdim=True)).to(gradient)
    padded = F.pad(support, (1, 1, 1, 1), mode="reflect")
    around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1]
    around = around + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    return gradient * (around == 4 * support)


def render(
    canonical: CanonicalFactors, light: Tensor, view: Tensor, geometry: Geometry
) -> RenderedImages:
    """Pictures of subjects under raw lights (B, 4) at raw views (B, 6): R(A, S, T, V, L).

    The light is fixed to the subject: shading is computed before it turns.
    """
    depth = canonical.depth
    if geometry.clip_contours and depth.requires_grad:
        depth = depth.view_as(depth)  # normals' gradients are not clipped
        depth.register_hook(clip_contours)
    with torch.autocast(depth.device.type, enabled=False):
        shading = light_from_raw(light).shade(canonical.normal)
        texture = lit_texture(canonical.albedo, shading)
        seen = interpolate_in_view(
            texture,
            depth,
            view_from_raw(view),
            geometry.camera,
            blend=canonical.blend,
            compat_corners=geometry.released,
        )
    mask = seen.mask.detach()
    return RenderedImages(seen.image + BACKGROUND * (1 - mask), mask)


class Lifter(nn.Module):
    """The five networks of G_3D around a frozen teacher.

    Args:
        depth: D_S, ``(w, features) -> (B, 1, S, S)``.
        transformation: D_T, ``w -> (B, 1, S, S)``; None moves every pixel (no map).
        decomposition: D_L and D_V, ``w -> (light (B, 4), view (B, 6))``, raw.
        manipulation: M, ``(w, light, view) -> w``.
        generate: the teacher.
        geometry: fixed quantities.
    """

    def __init__(
        self,
        depth: nn.Module,
        transformation: nn.Module | None,
        decomposition: nn.Module,
        manipulation: nn.Module,
        generate: Generate,
        geometry: Geometry,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.transformation = transformation
        self.decomposition = decomposition
        self.manipulation = manipulation
        self.generate = generate
        self.geometry = geometry

    def manipulate(self, w: Tensor, light: Tensor, view: Tensor) -> Tensor:
        """Stylecodes (B, w_dim) of the same subjects under other raw lights and views: M."""
        return self.manipulation(w, light, view).float()

    def canonical(self, w: Tensor, light: Tensor) -> CanonicalFactors:
        """Subjects of stylecodes (B, w_dim) that are lit by raw lights (B, 4).

        ``w0 = M(w, L0, V0)``; the teacher's picture of w0 without its light is the albedo.
        """
        front = neutral_light(light)
        w0 = self.manipulate(w, front, w.new_zeros(len(w), 6))
        return self.factors(w0, *self.generate(w0), front)

    def factors(
        self, w0: Tensor, neutral: Tensor, features: Tensor, front: Tensor
    ) -> CanonicalFactors:
        """Subjects of neutral pictures under frontal raw lights; shape is read from `w0` too."""
        depth = depth_from_raw(self.depth(w0, features).float(), self.geometry)
        blend = None
        if self.transformation is not None:
            blend = blend_from_raw(self.transformation(w0).float(), depth, self.geometry)
        normal = canonical_normals(depth, self.geometry)
        neutral = neutral.float()
        albedo = remove_shading(neutral, normal, light_from_raw(front))
        return CanonicalFactors(w0, neutral, depth, normal, albedo, blend)

    def decompose(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Raw light (B, 4) and raw view (B, 6) of stylecodes, in float32."""
        light, view = self.decomposition(w)
        return light.float(), view.float()
