"""Where the canonical depth map shows the subject, when its mask in the input image is known.

D gives the background a surface too, which hangs behind a turned subject like a curtain. The
silhouette tells what of it is not the subject.
"""

from __future__ import annotations

import kornia.morphology as KM
import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.methods.gan2shape.factors import DEPTH_RANGE, Factors
from gan3d_bench.methods.gan2shape.photogeometry import mirror
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import render_depth, sample_texture, view_grid

# A point counts as seen when it lies no further than this behind the rendered surface (scene units;
# a fiftieth of the depth range).
SEEN_TOLERANCE = 0.004


def carve(mask: Tensor, depth: Tensor, view: View, camera: PinholeCamera) -> Tensor:
    """Carry object masks of input images to canonical depth maps.

    Args:
        mask: (B, 1, S, S) in [0, 1], in the input images.
        depth: (B, 1, S, S) canonical depth.
        view: B views of the input images.
        camera: camera of image size S.

    Returns:
        (B, 1, S, S): 1 where a canonical point projects into the silhouette, seen or hidden.
    """
    return sample_texture(mask, view_grid(depth, view, camera))


@torch.no_grad()
def subject_mask(mask: Tensor, factors: Factors, camera: PinholeCamera) -> Tensor:
    """Canonical masks of subjects, 1.0 or 0.0.

    A point belongs to the subject when it is seen in the silhouette, or its mirror image is
    (subjects are symmetric), or both are hidden behind it.

    Args:
        mask: (B, 1, S, S) in [0, 1], in the input images.
        factors: of B images.
        camera: camera of image size S.

    Returns:
        (B, 1, S, S).
    """
    inside, seen = _silhouette(mask, factors.depth, factors.view, camera)
    mirrored = _silhouette(mask, mirror(factors.depth), factors.view, camera)
    inside_mirrored, seen_mirrored = (mirror(x) for x in mirrored)
    shown = (inside & seen) | (inside_mirrored & seen_mirrored)
    whole = (shown | (inside & inside_mirrored)).float()
    return KM.opening(whole, torch.ones(3, 3, device=whole.device))  # no specks


def _silhouette(
    mask: Tensor, depth: Tensor, view: View, camera: PinholeCamera
) -> tuple[Tensor, Tensor]:
    """Whether canonical points project into the silhouette, and whether they are seen at all."""
    distance = view.transform(camera.backproject(depth))[..., 2][:, None]
    surface = render_depth(depth, view, camera, depth_range=DEPTH_RANGE)
    seen = distance < carve(surface, depth, view, camera) + SEEN_TOLERANCE
    return carve(mask, depth, view, camera) > 0.5, seen
