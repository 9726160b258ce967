"""The real images of a run: a data module's, a folder's, or heads that are rendered for it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch.distributed as dist

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.datamodules.base import DataModule
from gan3d_bench.datamodules.rendered_arrays import is_rendered
from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError, named
from gan3d_bench.methods.stylegan2 import data
from gan3d_bench.methods.stylegan2.config import StyleGAN2Config


class TrainingImages:
    """Opens the images that a config names, once they are asked for.

    Args:
        config: of the run.
        image_size: side of the images.
        z_dim: of the generator.
        paired: whether images must come with their latents.
    """

    def __init__(
        self, config: StyleGAN2Config, image_size: int, z_dim: int, *, paired: bool
    ) -> None:
        self.config, self.image_size, self.z_dim = config, image_size, z_dim
        self.paired = z_dim if paired else None
        self._images: data.Images | None = None

    @cached_property
    def module(self) -> DataModule | None:
        """The data module of the images, if one gives them.

        Raises:
            UserError: nothing usable where the config says.
        """
        with named(self._key):
            return data.open_module(self.config.data, self.image_size, self.paired)

    def prepare(self) -> None:
        """Look through the pictures, or make what a data module makes; once a machine.

        Raises:
            UserError: pictures that cannot be used, or no space.
        """
        if self.module is not None:
            with named(self._key):
                self.module.prepare("train")
        else:
            self._render_heads()

    def open(self) -> data.Images:
        """The images; synthetic heads are rendered on first use.

        Raises:
            UserError: they are missing or damaged.
        """
        if self._images is None:
            folder, size = self._render_heads(), self.image_size
            if folder is not None and rank_and_size()[1] > 1:
                dist.barrier()
            if self.module is None:
                given = self.config.data
                given = given if folder is None else replace(given, path=str(folder))
                self._images = data.open_images(given, size, self.paired)
            else:
                with named(self._key):
                    self._images = data.ModuleImages(self.module, self.paired)
        return self._images

    def shown(self) -> data.Images | None:
        """The images, unless they are gone or have to be rendered first."""
        if self._images is None and self._rendered and not is_rendered(self._rendered):
            return None
        try:
            return self.open()
        except UserError:
            return None

    @property
    def _key(self) -> str:
        """What errors call the data."""
        return "data.path" if self.config.data.path else f"data.name={self.config.data.name}"

    def _render_heads(self) -> Path | None:
        """Render what the cache lacks of the synthetic heads, if they are asked for."""
        folder = self._rendered
        if folder is not None:
            count, seed = self.config.data.count, self.config.seed
            data.render_heads_once(folder, count, self.image_size, self.z_dim, seed)
        return folder

    @property
    def _rendered(self) -> Path | None:
        """Where synthetic heads are rendered to; None where the config names other images."""
        given = self.config.data
        if given.path or given.name:
            return None
        return data.heads_folder(
            cache_dir(), given.count, self.image_size, self.z_dim, self.config.seed
        )
