"""Does a method see the person? Other subjects' shapes in the place of a subject's own.

A shape that scores well may still be one shape for all. So each subject's shape is compared, at the
same view and on the same pixels, with shapes that the same run gives to other subjects, and with
the mean of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.metrics.depth import comparison_mask
from gan3d_bench.metrics.instances import masked_mean
from gan3d_bench.scenes.base import Scene

REFERENCES = 17
"""Subjects of a run that stand in for others: at least 16 for each."""

Error = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Depth, true depth, where the first was rendered, (B, 1, S, S) each -> errors (B,)."""


@dataclass(frozen=True)
class Shape:
    """Depth maps (K, 1, S, S) and where they were rendered, (K, 1, S, S) in [0, 1]."""

    depth: Tensor
    mask: Tensor

    def __getitem__(self, index: int) -> Shape:
        """One of the K."""
        return Shape(self.depth[index][None], self.mask[index][None])


class OtherSubjects:
    """Some subjects of a run, shown in the place of others.

    Args:
        scene: of the first subjects of a run, which gives depth.
        items: their test items.
        views: (K) true views of these items. Scenes whose frame is the input picture's
            (`Scene.canonical` is false) are turned as their subjects would have to be.
    """

    def __init__(self, scene: Scene, items: Sequence[int], views: View) -> None:
        self.scene = scene
        self.items = list(items)
        self.views = views

    def in_place_of(self, item: int, view: View, true_view: View, image_size: int) -> Shape:
        """Show the subjects, but for `item` itself, as it would be shown.

        Args:
            item: a test item.
            view: (1) at which the run's scene shows it.
            true_view: (1) at which it truly is there.
            image_size: S.
        """
        if not self.scene.canonical:
            view = View.between(self.views, true_view)
        shown = self.scene.render(view, image_size=image_size)
        assert shown.depth is not None
        kept = [index for index, other in enumerate(self.items) if other != item]
        return Shape(shown.depth[kept], shown.mask[kept])

    def compare(
        self,
        own: Shape,
        items: Sequence[int],
        view: View,
        true_view: View,
        target: Tensor,
        *,
        error: Error,
        average: Tensor | None = None,
        average_there: Shape | None = None,
    ) -> dict[str, list[float]]:
        """Compare B subjects' shapes with others in their place.

        Args:
            own: their depth maps.
            items: their test items.
            view: (B) at which the run's scene shows them.
            true_view: (B) at which they truly are there.
            target: (B, 1, S, S) true depth, background at its maximum.
            error: smaller is better.
            average: (B, 1, S, S) depth of the average subject at the true views, likewise.
            average_there: the average subject at `view`.

        Returns:
            one number each: ``lead_others``, ``lead_run_mean`` and ``lead_mean_head``, by how much
            other subjects, their mean and the average subject at the scene's view are worse, see
            `lead`; ``individual``, see `individual_correlation`. In scenes without a canonical
            frame the view says nothing, and ``lead_mean_head`` is left out. So is what needs an
            average subject where none is given.
        """
        values: dict[str, list[float]] = {"lead_others": [], "lead_run_mean": []}
        if average_there is not None and self.scene.canonical:
            values["lead_mean_head"] = []
        if average is not None:
            values["individual"] = []
        for index, item in enumerate(items):
            shape, true = own[index], target[index][None]
            others = self.in_place_of(item, view[index], true_view[index], target.shape[-1])
            mean = mean_shape(others)
            values["lead_others"].append(lead(shape, others, true, error))
            values["lead_run_mean"].append(lead(shape, mean, true, error))
            if average_there is not None and self.scene.canonical:
                values["lead_mean_head"].append(lead(shape, average_there[index], true, error))
            if average is not None:
                values["individual"].append(
                    individual_correlation(shape, mean, true, average[index][None])
                )
        return values


def mean_shape(others: Shape) -> Shape:
    """Mean depth map (1, 1, S, S), where at least half of the subjects were rendered."""
    rendered = (others.mask > 0.99).to(others.depth)
    count = rendered.sum(0, keepdim=True)
    total = torch.where(rendered > 0, others.depth, 0.0).sum(0, keepdim=True)
    enough = count >= len(rendered) / 2
    return Shape(torch.where(enough, total / count.clamp(min=1), 0.0), enough.to(others.mask))


def lead(own: Shape, instead: Shape, target: Tensor, error: Error) -> float:
    """By how much other shapes are worse than a subject's own, on the pixels that both show.

    Args:
        own: one depth map.
        instead: K depth maps at the same view.
        target: (1, 1, S, S) true depth, background at its maximum.
        error: smaller is better.

    Returns:
        mean over the K of their error less the own one; positive if the own shape is the better
        one. NaN where no pixel can be compared.
    """
    count = len(instead.depth)
    both = own.mask * instead.mask
    true = target.expand(count, -1, -1, -1)
    differences = error(instead.depth, true, both) - error(
        own.depth.expand(count, -1, -1, -1), true, both
    )
    return differences.nanmean().item()


def individual_correlation(own: Shape, mean: Shape, target: Tensor, average: Tensor) -> float:
    """Correlation of what is a subject's own in a shape with what truly is.

    Args:
        own: one depth map.
        mean: the run's mean shape at the same view.
        target: (1, 1, S, S) true depth, background at its maximum.
        average: (1, 1, S, S) depth of the average subject at the true view, likewise.

    Returns:
        Pearson's correlation over pixels of ``own - mean`` with ``target - average``, in [-1, 1];
        NaN where no pixel can be compared or one of them is constant.
    """
    whole = torch.ones_like(target)
    mask = comparison_mask(own.mask * mean.mask, target) * comparison_mask(whole, average)
    parts = []
    for difference in (own.depth - mean.depth, target - average):
        inside = torch.where(mask > 0, difference.double(), 0.0)
        centred = inside - masked_mean(inside, mask)[:, None, None, None]
        parts.append(torch.where(mask > 0, centred, 0.0))
    ours, true = parts
    spread = (ours.square().sum() * true.square().sum()).sqrt()
    # a difference of rounding errors is no individual part
    least = 1e-12 * mask.sum()
    if min(ours.square().sum(), true.square().sum()) <= least:
        return float("nan")
    return ((ours * true).sum() / spread).item()
