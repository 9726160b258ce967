"""Measures pictures of cars in which one property was swapped against the true swapped cars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from torch import Tensor

from gan3d_bench.benchmarks.cars import CarsMeasure, covered
from gan3d_bench.benchmarks.measure import Settings, Values
from gan3d_bench.benchmarks.rendered import lpips_net
from gan3d_bench.cars.sampling import CarParameters
from gan3d_bench.errors import UserError
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.images import psnr
from gan3d_bench.metrics.lpips import MeanLPIPS
from gan3d_bench.metrics.silhouette import MaskIoU
from gan3d_bench.rendering.images import resize
from gan3d_bench.spec import RECONSTRUCT

Property = Literal["shape", "texture", "background"]
PROPERTIES: tuple[Property, ...] = get_args(Property)
NO_SWAP = "Input image, not swapped"
OTHER = "The other's image"
_SPARE = 16  # test cars beyond twice those measured: not all can be swapped


@runtime_checkable
class Swaps(Protocol):
    """What a method of table `swap` can do."""

    def swap(self, images: Tensor, others: Tensor, what: Property, renderer: str) -> Tensor:
        """Draw subjects with one property of others, all else their own.

        Args:
            images: (B, 3, S, S) in [-1, 1], the subjects.
            others: (B, 3, S, S), who gives the property.
            what: which.
            renderer: ``mesh``, for the kind of scene that `Method.reconstruct` gives; for any
                other kind (`MethodSpec.rows`) its name, such as ``neural`` or ``mixing``.

        Returns:
            (B, 3, S, S) in [-1, 1], at the subjects' cameras.
        """
        ...


class SwapMeasure(CarsMeasure):
    """Swapped pictures beside the true ones; both cars of a pair are painted ones.

    The colours of a car as it was made belong to its shape: they cannot be put on another one.
    """

    baselines = (NO_SWAP, OTHER)
    exchangeable = ("lpips",)

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        super().__init__(settings, test_size=2 * settings.samples + _SPARE, **kwargs)
        self.lpips = MeanLPIPS(lpips_net(settings.networks)).to(settings.device)
        self.iou = MaskIoU()

    def protocol(self) -> Mapping[str, Any]:
        return {**super().protocol(), "networks": {"lpips": self.lpips.name}}

    def items(self) -> list[int]:
        """The first painted test cars."""
        super().items()
        return self._painted()[: self.settings.samples]

    def other(self, item: int) -> int:
        """The next painted test car of another shape and in another paint.

        Raises:
            UserError: there is none.
        """
        cars = self.split("test").parameters
        for other in self._painted():
            apart = cars.shape[other] != cars.shape[item] and cars.look[other] != cars.look[item]
            if other > item and apart:
                return other
        raise UserError(f"test car {item}: no later one to swap with; expected more --samples")

    def method(self, method: Method, kind: str, items: Sequence[int]) -> Values:
        if not isinstance(method, Swaps):
            raise UserError(
                f"method '{method.config.method}' swaps nothing between images, which table 'swap' "
                "measures; expected one that does"
            )
        renderer = "mesh" if kind in ("", RECONSTRUCT) else kind
        images, others = (self.batch(chosen)["image"] for chosen in (items, self._others(items)))
        drawn = {what: method.swap(images, others, what, renderer) for what in PROPERTIES}
        shown = {what: resize(picture, self.image_size) for what, picture in drawn.items()}
        # pictures have no masks: the method's own view of where their cars are
        masks = {
            what: self.in_input_view(method.reconstruct(picture)).mask
            for what, picture in drawn.items()
        }
        return self._compared(items, shown, masks)

    def baseline(self, row: str, items: Sequence[int]) -> Values:
        """One picture, with its true mask, in the place of all three."""
        batch = self.batch(items if row == NO_SWAP else self._others(items))
        return self._compared(
            items,
            dict.fromkeys(PROPERTIES, batch["image"]),
            dict.fromkeys(PROPERTIES, batch["mask"]),
        )

    def _painted(self) -> list[int]:
        return self.split("test").parameters.look.nonzero().flatten().tolist()

    def _others(self, items: Sequence[int]) -> list[int]:
        return [self.other(item) for item in items]

    def _compared(
        self,
        items: Sequence[int],
        shown: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
    ) -> Values:
        cars, others = (self.parameters(chosen) for chosen in (items, self._others(items)))
        values: Values = {}
        pictures = []
        for what in PROPERTIES:
            truth, own = self.truth(swapped(cars, others, what)), shown[what]
            target = covered(truth["mask"])
            values[f"psnr_{what}"] = psnr(own, truth["image"]).tolist()
            values[f"lpips_{what}"] = self.lpips.instances(own, truth["image"]).tolist()
            mask = covered(masks[what]).to(target)
            values[f"iou_{what}"] = self.iou.instances(mask, target).tolist()
            pictures.append((truth["image"], own))
        self.keep(pictures)
        return values


def swapped(cars: CarParameters, others: CarParameters, what: Property) -> CarParameters:
    """Cars (B) with one property of others (B): the shape with its stretch, the paint, or the
    background; camera and light are their own."""
    if what == "shape":
        return replace(cars, shape=others.shape, stretch=others.stretch)
    if what == "texture":
        return replace(cars, look=others.look)
    return replace(cars, background=others.background)
