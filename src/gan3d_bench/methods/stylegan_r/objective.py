"""The losses: of the inverse graphics network (Eqs. 1 and 2) and of fine-tuning (Eq. 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from gan3d_bench.losses.meshes import flat_loss, iou_loss, laplacian_loss, move_loss
from gan3d_bench.losses.perceptual import PerceptualLoss
from gan3d_bench.methods.stylegan_r.config import LossConfig
from gan3d_bench.methods.stylegan_r.networks import Properties
from gan3d_bench.methods.stylegan_r.template import SphereTemplate
from gan3d_bench.rendering.mesh import MeshRendering


def shape_terms(move: Tensor, template: SphereTemplate, losses: LossConfig) -> dict[str, Tensor]:
    """The terms of Eq. 1 that keep shapes well behaved, weighted.

    Args:
        move: (B, V, 3), see `Properties`.
        template: the sphere that they start from.
        losses: the weights.
    """
    topology = template.topology
    return {
        "laplacian": losses.laplacian * laplacian_loss(move, topology),
        "flat": losses.flat * flat_loss(template.vertices + move, topology),
        "move": losses.move * move_loss(move),
    }


def view_terms(
    rendering: MeshRendering,
    images: Tensor,
    masks: Tensor,
    losses: LossConfig,
    perceptual: PerceptualLoss | None,
) -> dict[str, Tensor]:
    """The terms of Eq. 1 that compare a rendering with a picture, weighted.

    Renderings have no background: colours are compared within the mask, those in [0, 1].

    Args:
        rendering: of B meshes, with a soft silhouette.
        images: (B, 3, R, S) in [-1, 1].
        masks: (B, 1, R, S) in [0, 1].
        losses: the weights.
        perceptual: None leaves it out.
    """
    assert rendering.silhouette is not None
    rgb = rendering.over(0.0).float()
    terms = {
        "iou": losses.iou * iou_loss(rendering.silhouette.float(), masks),
        "colour": losses.colour * colour_error(rgb, images, masks).mean(),
    }
    if perceptual is not None:
        terms["perceptual"] = losses.perceptual * perceptual(rgb, images, masks).mean()
    return terms


def colour_error(rendered: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """Mean absolute difference (B,) of colours within the mask, over all pixels.

    Args:
        rendered, images: (B, 3, R, S) in [-1, 1]; differences count half, as of [0, 1].
        masks: (B, 1, R, S) in [0, 1].
    """
    return ((rendered - images).abs() * masks).mean((1, 2, 3)) / 2


def disagreement(
    rendering: MeshRendering, images: Tensor, masks: Tensor, losses: LossConfig
) -> Tensor:
    """How far each rendering (B,) is from its picture in silhouette and colours, weighted.

    The arguments are those of `view_terms`, whose terms it has one by one.
    """
    assert rendering.silhouette is not None
    outlines = [
        iou_loss(drawn[None].float(), mask[None])
        for drawn, mask in zip(rendering.silhouette, masks, strict=True)
    ]
    colours = colour_error(rendering.over(0.0).float(), images, masks)
    return losses.iou * torch.stack(outlines) + losses.colour * colours


def cycle_terms(given: Properties, found: Properties) -> dict[str, Tensor]:
    """The first two terms of Eq. 6: means of the squared differences of shapes and textures."""
    return {
        "shape": (given.move - found.move).square().mean(),
        "texture": (given.texture - found.texture).square().mean(),
    }
