"""SIDE and MAD: how far a predicted depth map is from the true one.

Source: Wu et al. 2020 (Unsup3D), section 4.1, used by GAN2Shape (Pan et al. 2021), Tables 1 and 2;
masks as in the released code (facts of GAN2Shape, section 6).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.metrics.instances import InstanceMean
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals

RELEASED_NORMAL_EPSILON = 1e-7
"""What GAN2Shape's and Unsup3D's code adds to the length of a normal before dividing by it.

Beside the lengths of 3e-5 met at 64 pixels it is not small: their normals are up to 0.3 % short, so
that their MAD is about 6.5 degrees for a perfect depth map and 16.3 for a true 15.
"""


def erode(mask: Tensor) -> Tensor:
    """Erode a mask (B, 1, H, W) in [0, 1] by one pixel; returns 0 or 1 in the input's dtype.

    A pixel stays when the mean of its 3x3 neighbourhood exceeds 0.99, zeros lying outside the
    image: the outermost ring never stays.
    """
    return (F.avg_pool2d(mask.float(), 3, stride=1, padding=1) > 0.99).to(mask.dtype)


def foreground(depth: Tensor) -> Tensor:
    """Mask (B, 1, H, W) of the pixels nearer than the farthest one of their depth map."""
    return (depth < depth.amax(dim=(1, 2, 3), keepdim=True)).to(depth.dtype)


def comparison_mask(valid: Tensor, target: Tensor) -> Tensor:
    """Return where two depth maps are compared, (B, 1, H, W) of 0 and 1.

    Args:
        valid: (B, 1, H, W) in [0, 1], where the prediction was rendered.
        target: (B, 1, H, W) true depth, background at its maximum.
    """
    return erode(valid.float()) * erode(foreground(target.float()))


def scale_invariant_depth_error(depth: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """SIDE per image: root of the variance of ``log depth - log target`` over the mask.

    Args:
        depth, target: (B, 1, H, W), positive inside the mask.
        mask: (B, 1, H, W) of 0 and 1.

    Returns:
        (B,), dimensionless (the papers print it times 100); NaN where the mask is empty.
    """
    inside = mask > 0
    # the logarithm outside the mask may be infinite; where() keeps it out of the sums
    error = torch.where(inside, depth.float().log() - target.float().log(), 0.0)
    centred = torch.where(inside, error - _masked_mean(error, mask)[:, None, None, None], 0.0)
    return _masked_mean(centred.square(), mask).sqrt()


def mean_angle_deviation(
    depth: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    fov: float = 10.0,
    normal_epsilon: float = 0.0,
) -> Tensor:
    """MAD per image: mean angle between the normals of two depth maps over the mask.

    Normals are central differences of the back-projected maps at their own size.

    Args:
        depth, target: (B, 1, H, W), scene units.
        mask: (B, 1, H, W) of 0 and 1.
        fov: horizontal field of view of both, degrees.
        normal_epsilon: 0 for unit normals; `RELEASED_NORMAL_EPSILON` for the papers' numbers.

    Returns:
        (B,), degrees; NaN where the mask is empty.
    """
    camera = PinholeCamera((depth.shape[2], depth.shape[3]), fov)
    predicted, true = (
        depth_normals(x.float(), camera, epsilon=normal_epsilon) for x in (depth, target)
    )
    angle = torch.rad2deg(torch.acos((predicted * true).sum(1, keepdim=True).clamp(-1, 1)))
    return _masked_mean(torch.where(mask > 0, angle, 0.0), mask)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))


class SIDE(InstanceMean):
    """Scale-invariant depth error x 100, averaged over images; 0 is perfect."""

    higher_is_better = False

    def instances(self, depth: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return SIDE x 100 per image, (B,); NaN without a comparable pixel."""
        mask = comparison_mask(valid, target)
        return 100 * scale_invariant_depth_error(depth, target, mask)

    def update(self, depth: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch.

        Args:
            depth: (B, 1, H, W) predicted depth in the input view.
            target: (B, 1, H, W) true depth, background at its maximum.
            valid: (B, 1, H, W) in [0, 1], where the prediction was rendered.
        """
        super().update(self.instances(depth, target, valid))


class MAD(InstanceMean):
    """Mean angle deviation of normals in degrees, averaged over images; 0 is perfect.

    Args:
        fov: horizontal field of view of the depth maps, degrees.
        normal_epsilon: see `mean_angle_deviation`.
    """

    higher_is_better = False

    def __init__(self, fov: float = 10.0, normal_epsilon: float = 0.0, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.fov = fov
        self.normal_epsilon = normal_epsilon

    def instances(self, depth: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return MAD in degrees per image, (B,); NaN without a comparable pixel."""
        mask = comparison_mask(valid, target)
        return mean_angle_deviation(
            depth, target, mask, fov=self.fov, normal_epsilon=self.normal_epsilon
        )

    def update(self, depth: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch; arguments as for `SIDE.update`."""
        super().update(self.instances(depth, target, valid))
