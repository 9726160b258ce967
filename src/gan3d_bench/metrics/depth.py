"""How far a predicted depth map is from the true one: SIDE, MAD and the normalised depth error.

SIDE and MAD: Wu et al. 2020 (Unsup3D), section 4.1, used by GAN2Shape (Pan et al. 2021), Tables 1
and 2; masks as in GAN2Shape's released gan2shape/model.py. Normalised depth error: LiftedGAN
(Shi et al. 2021), Table 2.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from gan3d_bench.metrics.instances import InstanceMean, masked_mean
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


def filled(depth: Tensor, valid: Tensor) -> Tensor:
    """Continue depth maps to where they were not rendered, by the nearest pixel that was.

    Metrics then count what a scene leaves out: leaving out what is hard is no way to a better
    score.

    Args:
        depth: (B, 1, H, W).
        valid: (B, 1, H, W) in [0, 1], where it was rendered; half of a pixel is enough.

    Returns:
        (B, 1, H, W); 1 everywhere where nothing was rendered.
    """
    result = depth.clone()
    for index, missing in enumerate((valid < 0.5).squeeze(1).cpu().numpy()):
        if missing.all():
            result[index] = 1.0
        elif missing.any():
            found = np.zeros((2, *missing.shape), dtype=np.int32)
            distance_transform_edt(
                missing, return_distances=False, indices=found, return_indices=True
            )
            rows, columns = torch.from_numpy(found).long()
            result[index, 0] = depth[index, 0, rows, columns]
    return result


def left_out(valid: Tensor, subject: Tensor) -> Tensor:
    """Percent (B,) of a subject's pixels (B, 1, H, W of 0 and 1) that were not rendered."""
    return 100 * masked_mean((valid < 0.5).float(), subject)


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
    centred = error - masked_mean(error, mask)[:, None, None, None]
    return masked_mean(centred.square(), mask).sqrt()


def mean_angle_deviation(
    depth: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    fov: float = 10.0,
    predicted_fov: float | None = None,
    normal_epsilon: float = 0.0,
) -> Tensor:
    """MAD per image: mean angle between the normals of two depth maps over the mask.

    Normals are central differences of the back-projected maps at their own size.

    Args:
        depth, target: (B, 1, H, W), scene units.
        mask: (B, 1, H, W) of 0 and 1.
        fov: horizontal field of view of the target, degrees.
        predicted_fov: that of `depth`; None is the target's.
        normal_epsilon: 0 for unit normals; `RELEASED_NORMAL_EPSILON` for the papers' numbers.

    Returns:
        (B,), degrees; NaN where the mask is empty.
    """
    size = (depth.shape[2], depth.shape[3])
    predicted, true = (
        depth_normals(x.float(), PinholeCamera(size, angle), epsilon=normal_epsilon)
        for x, angle in ((depth, predicted_fov or fov), (target, fov))
    )
    angle = torch.rad2deg(torch.acos((predicted * true).sum(1, keepdim=True).clamp(-1, 1)))
    return masked_mean(angle, mask)


def overlap(valid: Tensor, target: Tensor) -> Tensor:
    """Return where both depth maps show the subject, (B, 1, H, W) of 0 and 1; not eroded.

    Args as for `comparison_mask`; pixels rendered in part do not count.
    """
    return (valid > 0.99).to(target.dtype) * foreground(target)


def normalised_depth_error(depth: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Root mean square difference of two depth maps, each normalised over the mask, per image.

    Each map is shifted and scaled to zero mean and unit standard deviation. The paper says "L2
    distance on the overlap" and publishes no script: that mean and deviation are taken on the
    overlap too, and that the root is taken, is our reading.

    Args:
        depth, target: (B, 1, H, W), any unit.
        mask: (B, 1, H, W) of 0 and 1.

    Returns:
        (B,), dimensionless, ``sqrt(2 - 2 r)`` with Pearson's r: 0 is perfect, 2 inverted relief.
        A constant depth map, which has no deviation, gets 1. NaN where the mask is empty.
    """
    a, b = (_normalised(x.double(), mask) for x in (depth, target))
    return masked_mean((a - b).square(), mask).sqrt().float()


def _normalised(depth: Tensor, mask: Tensor) -> Tensor:
    mean = masked_mean(depth, mask)[:, None, None, None]
    deviation = masked_mean((depth - mean).square(), mask).sqrt()[:, None, None, None]
    # a constant map has rounding errors only: it stays flat
    return (depth - mean) / torch.where(deviation > 1e-7 * mean.abs(), deviation, torch.inf)


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
        fov: horizontal field of view of the true depth maps, degrees; of the predicted ones too,
            unless `instances` is told otherwise.
        normal_epsilon: see `mean_angle_deviation`.
    """

    higher_is_better = False

    def __init__(self, fov: float = 10.0, normal_epsilon: float = 0.0, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.fov = fov
        self.normal_epsilon = normal_epsilon

    def instances(
        self, depth: Tensor, target: Tensor, valid: Tensor, fov: float | None = None
    ) -> Tensor:
        """Return MAD in degrees per image, (B,); NaN without a comparable pixel.

        `fov` is that of the predicted depth maps, where their camera is another one.
        """
        return mean_angle_deviation(
            depth,
            target,
            comparison_mask(valid, target),
            fov=self.fov,
            predicted_fov=fov,
            normal_epsilon=self.normal_epsilon,
        )

    def update(self, depth: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch; arguments as for `SIDE.update`."""
        super().update(self.instances(depth, target, valid))


class NormalisedDepthError(InstanceMean):
    """Normalised depth error (LiftedGAN, Table 2), averaged over images; 0 is perfect.

    Compared on `overlap`; see `normalised_depth_error` for what the paper leaves open.
    """

    higher_is_better = False

    def instances(self, depth: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Return the error per image, (B,); NaN without a comparable pixel."""
        return normalised_depth_error(depth, target, overlap(valid, target))

    def update(self, depth: Tensor, target: Tensor, valid: Tensor) -> None:
        """Add a batch; arguments as for `SIDE.update`."""
        super().update(self.instances(depth, target, valid))
