"""What every method is: a LightningModule that samples or reconstructs scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from gan3d_bench.config import RunConfig
from gan3d_bench.errors import UserError
from gan3d_bench.pictures.scene_sheets import FACES, Sheet, faces, portraits, scene_sheets
from gan3d_bench.rendering.images import resize
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.preview import Preview
from gan3d_bench.spec import RECONSTRUCT


class Method(L.LightningModule):
    """Base of all methods.

    A subclass takes its config object as the only argument of ``__init__``, builds its networks
    there (loading teachers named in the config), and implements `sample`, `reconstruct` or both,
    as its spec's `scenes` say.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.config = config
        # networks that are used but not trained, by name: they move between devices with the
        # method and are no part of its modules, parameters and checkpoints
        self.frozen: dict[str, nn.Module] = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Method:
        for network in self.frozen.values():
            network._apply(fn)
        return super()._apply(fn, recurse)

    def sample(self, n: int, generator: torch.Generator) -> Scene:
        """Draw `n` subjects.

        Raises:
            UserError: the method does not sample.
        """
        raise UserError(f"method '{self.config.method}' reconstructs images, it does not sample")

    def reconstruct(self, images: Tensor) -> Scene:
        """Lift `images` (B, 3, S, S) in [-1, 1] to a scene with `input_view` set.

        Raises:
            UserError: the method does not reconstruct, or the image size is not its own.
        """
        raise UserError(f"method '{self.config.method}' samples scenes, it does not reconstruct")

    def framed(self, pictures: Tensor) -> Tensor:
        """Whole pictures (B, 3, T, T), as a teacher makes them, as `reconstruct` takes them.

        The middle of the picture, where a method works on that; the whole of it otherwise.
        """
        return resize(pictures, self.config.image_size)  # type: ignore[attr-defined]

    def row_scene(self, kind: str, images: Tensor) -> Scene:
        """The scene that fills a row of a table, of the kind that `MethodSpec.rows` names.

        Methods that show a subject in several ways override it, for kinds of their own.

        Raises:
            UserError: as `reconstruct`, or the method has no such kind.
        """
        if kind != RECONSTRUCT:
            raise UserError(f"method '{self.config.method}' gives no scene of kind '{kind}'")
        return self.reconstruct(images)

    def items(self) -> list[int] | None:
        """Indices of the test items this run can be measured on; None when any will do.

        Instance-specific methods (GAN2Shape) return the items they were fitted to.
        """
        return None

    def row_items(self, kind: str) -> list[int] | None:
        """Likewise of those items that `row_scene` has scenes of a kind of."""
        return self.items()

    def preview(self) -> Preview:
        """Return what to show at this point of training. Must not change any random state."""
        return Preview()

    def write_results(self, folder: Path) -> None:
        """Write what a run is for besides its weights, if anything, into `folder`.

        Called once training has ended, on rank zero, without gradient and in evaluation mode; again
        if the run was killed meanwhile.

        Raises:
            UserError: a file cannot be written, or data is missing.
        """

    def figures(
        self,
        count: int,
        generator: torch.Generator,
        images: Tensor | None = None,
        styles: Tensor | None = None,
    ) -> Mapping[str, Sheet]:
        """The method's figures by the names of their files, for `gan3d-bench figures`.

        Of any scene: yaw and pitch sweeps and relighting; random faces where the method samples.
        Methods whose latents show more add to these. Called without gradient, in evaluation mode.

        Args:
            count: subjects, where they are sampled.
            generator: draws them.
            images: (B, 3, S, S) in [-1, 1] to show instead, as `reconstruct` takes them.
            styles: (K, 3, S, S) alike, whose style the subjects are given.

        Raises:
            UserError: the method has no scene, does not reconstruct, or transfers no style.
        """
        if styles is not None:
            raise UserError(f"method '{self.config.method}' transfers no style between images")
        if images is not None:
            return scene_sheets(self.reconstruct(images))
        if type(self).sample is not Method.sample:
            scenes = [self.sample(count, generator) for _ in range(FACES)]
            shown = faces([portraits(scene) for scene in scenes])
            return {"faces": shown, **scene_sheets(scenes[0])}
        scene = self.preview().scene
        if scene is None:
            raise UserError(f"method '{self.config.method}' has no scene to show")
        return scene_sheets(scene)

    def extra_metadata(self) -> Mapping[str, Any]:
        """Facts to store with the run (teacher hash, perceptual network, ...)."""
        return {}


def require_images(images: Tensor, size: int, rows: int | None = None) -> None:
    """Raise a `UserError` unless images are (B, 3, rows, size); rows are `size` if not given."""
    rows = size if rows is None else rows
    if images.dim() != 4 or tuple(images.shape[1:]) != (3, rows, size):
        raise UserError(
            f"images of shape {tuple(images.shape)}: this run takes (B, 3, {rows}, {size})"
        )
