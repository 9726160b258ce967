"""Shape, texture or background of one picture in the place of another's (Figures 10 and M)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gan3d_bench.methods.stylegan_r.mapping import ContentCodes
from gan3d_bench.methods.stylegan_r.masks import fill
from gan3d_bench.methods.stylegan_r.model import Seen, StyleGANRModel
from gan3d_bench.methods.stylegan_r.networks import Properties

What = Literal["shape", "texture", "background"]
Renderer = Literal["mesh", "neural", "mixing"]


def swapped(
    model: StyleGANRModel, own: Seen, other: Seen, what: What, renderer: Renderer
) -> Tensor:
    """Pictures (B, 3, R, S) in [-1, 1] with `what` of others, from the own cameras.

    Args:
        model: draws them.
        own: B pictures.
        other: B, or 1 for all.
        what: is swapped.
        renderer: ``neural``, or ``mesh``: before the background filled up (`masks.fill`).
    """
    count = len(own.images)
    if renderer == "neural":
        theirs = getattr(model.codes_of(other), what).expand(count, -1)
        codes: ContentCodes = model.codes_of(own)._replace(**{what: theirs})
        return model.synthesise(own.camera, codes).clamp(-1, 1)
    behind = other if what == "background" else own
    mine, theirs = own.properties, other.properties.expand(count)
    move = (theirs if what == "shape" else mine).move
    texture = (theirs if what == "texture" else mine).texture
    drawn = model.draw(Properties(move, texture), own.camera, supersample=2)
    return drawn.over(fill(behind.images, behind.mask)).clamp(-1, 1)


def mixed(model: StyleGANRModel, w: Tensor, others: Tensor, what: What) -> Tensor:
    """The baseline: the teacher's own style mixing.

    Of the styles w* those numbers are others' that s (Eq. 4) gives to `what` more than to the other
    two; the view code is the own.

    Args:
        model: whose teacher and s.
        w: (B, w_dim) stylecodes.
        others: (B or 1, w_dim).
        what: is swapped.

    Returns:
        (B, 3, R, S) in [-1, 1].
    """
    chosen = model.mapping.weights.argmax(0) == ContentCodes._fields.index(what)
    chosen = torch.cat((chosen.new_zeros(model.stylegan.view_size), chosen))
    codes = torch.where(chosen, model.style_codes(others), model.style_codes(w))
    return model.teacher_image(codes).clamp(-1, 1)
