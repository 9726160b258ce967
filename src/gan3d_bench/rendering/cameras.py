"""The pinhole camera of depth maps, and the one place where axes are converted for PyTorch3D.

Camera space: x right, y down, z forward (depth). Pixel coordinates (u, v) are 0-based indices,
u = 0..W-1 to the right and v = 0..H-1 down, so that integer coordinates are pixel centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Division by depth is bounded here; the rasterizer does not draw what lies behind the camera.
_LEAST_DEPTH = 1e-6


@dataclass(frozen=True)
class PinholeCamera:
    """A pinhole camera looking along +z, principal point at the image centre, square pixels.

    The field of view spans from the first to the last pixel centre of a row:
    ``f = (W - 1) / (2 tan(fov / 2))``, ``c = ((W - 1) / 2, (H - 1) / 2)`` (GAN2Shape; facts
    section 5).

    Args:
        image_size: (H, W), or one number for a square image.
        fov: full horizontal field of view in degrees.
    """

    image_size: int | tuple[int, int]
    fov: float = 10.0

    @classmethod
    def from_focal(cls, image_size: int | tuple[int, int], focal: float) -> PinholeCamera:
        """The camera with a focal length in pixels."""
        width = image_size if isinstance(image_size, int) else image_size[1]
        return cls(image_size, math.degrees(2 * math.atan((width - 1) / (2 * focal))))

    @property
    def height(self) -> int:
        return self.image_size if isinstance(self.image_size, int) else self.image_size[0]

    @property
    def width(self) -> int:
        return self.image_size if isinstance(self.image_size, int) else self.image_size[1]

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return (self.width - 1) / (2 * math.tan(math.radians(self.fov) / 2))

    @property
    def centre(self) -> tuple[float, float]:
        """Principal point (c_u, c_v) in pixels."""
        return (self.width - 1) / 2, (self.height - 1) / 2

    def resized(self, width: int) -> PinholeCamera:
        """The same field of view on images of another width, the height in proportion."""
        if isinstance(self.image_size, int):
            return PinholeCamera(width, self.fov)
        return PinholeCamera((round(self.height * width / self.width), width), self.fov)

    def intrinsics(self, device: torch.device | str | None = None) -> Tensor:
        """(3, 3): K, with ``(u, v, 1) ~ K P``."""
        u, v = self.centre
        return torch.tensor(
            [[self.focal, 0.0, u], [0.0, self.focal, v], [0.0, 0.0, 1.0]], device=device
        )

    def rays(self, like: Tensor, *, border: float = 0.0) -> Tensor:
        """``K^-1 (u, v, 1)`` of every pixel.

        Args:
            like: tensor whose dtype and device the result takes.
            border: if positive, add one ring of points this many pixels outside the image.

        Returns:
            (H, W, 3), or (H + 2, W + 2, 3) with a border; the third coordinate is 1.
        """
        axes = []
        for size, centre in zip((self.width, self.height), self.centre, strict=True):
            position = torch.arange(size, dtype=like.dtype, device=like.device)
            if border:
                position = torch.cat((position[:1] - border, position, position[-1:] + border))
            axes.append((position - centre) / self.focal)
        y, x = torch.meshgrid(axes[1], axes[0], indexing="ij")
        return torch.stack((x, y, torch.ones_like(x)), -1)

    def backproject(self, depth: Tensor) -> Tensor:
        """Points seen by each pixel: depth (B, 1, H, W) to camera space (B, H, W, 3)."""
        return depth.squeeze(1)[..., None] * self.rays(depth)

    def project(self, points: Tensor) -> Tensor:
        """Pixel coordinates (..., 2), (u, v), of camera-space points (..., 3)."""
        z = points[..., 2:].clamp(min=_LEAST_DEPTH)
        return points[..., :2] / z * self.focal + points.new_tensor(self.centre)

    def pixels_to_grid(self, pixels: Tensor) -> Tensor:
        """Pixel coordinates (..., 2) to `grid_sample` coordinates with ``align_corners=True``."""
        extent = pixels.new_tensor([self.width - 1, self.height - 1])
        return 2 * pixels / extent - 1

    def to_ndc(self, points: Tensor, *, pixel_shift: float = 0.0) -> Tensor:
        """Camera-space points (..., 3) to what the rasterizer takes.

        PyTorch3D's NDC: +x left, +y up, the shorter image side spans [-1, 1], pixel i of S has
        its centre at 1 - (2 i + 1) / S. z stays the depth in scene units. The same NDC serve an
        image k times as large: its k x k sub-pixels lie symmetrically about each pixel centre.

        Args:
            points: (..., 3).
            pixel_shift: added to both pixel coordinates (see `render_depth`).
        """
        size = points.new_tensor([self.width, self.height])
        pixels = self.project(points) + pixel_shift
        xy = (size - 1 - 2 * pixels) / min(self.width, self.height)
        return torch.cat((xy, points[..., 2:]), -1)
