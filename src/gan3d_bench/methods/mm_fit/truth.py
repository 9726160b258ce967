"""Heads whose truth is known: how far a fit is off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from jaxtyping import Float
from torch import Tensor

from gan3d_bench.datamodules.base import Item
from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.morphable_fit import FaceFit
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import HeadParameters
from gan3d_bench.metrics.vertices import vertex_error

ERRORS = ("vertex_error", "mean_error", "yaw_error")


class HeadTruth:
    """B heads of the data module ``heads``.

    Args:
        items: of that data module.

    Attributes:
        heads: what makes them.
        vertices: (B, V, 3) around the origin, scene units.
        view: B views.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        # the albedo's coefficients go by another name there, see `datamodules.heads`
        names = {f.name: "albedo_coefficients" if f.name == "albedo" else f.name
                 for f in fields(HeadParameters)}  # fmt: skip
        heads = HeadParameters(
            *(torch.stack([item[names[f.name]] for item in items]) for f in fields(HeadParameters))
        )
        model = MorphableModel.load_heads()
        self.heads = heads
        self.vertices = model.vertices(heads.identity, heads.expression)
        self.view: View = heads.view

    def errors(self, fit: FaceFit, space: FaceModel) -> dict[str, Float[Tensor, " B"]]:
        """How far fits are off, NaN where there is none.

        Args:
            fit: of these heads.
            space: the whole space of the bundled heads.

        Returns:
            ``vertex_error``: mean distance of the vertices at the canonical view, without the
            fitted size, in percent of the head's height; ``mean_error``: the same of the mean
            shape; ``yaw_error``: absolute difference in degrees.
        """
        fit, space = fit.to("cpu"), space.to("cpu")
        own = vertex_error(space.vertices(fit.shape), self.vertices)
        mean = vertex_error(space.mean[None], self.vertices).where(fit.found, torch.nan)
        yaw = (fit.view.yaw - self.view.yaw).abs()
        values = (own, mean, yaw)
        return dict(zip(ERRORS, values, strict=True))
