"""Phase 1: the teacher's pictures of many objects, each from every view, with masks.

Section 3.1: pictures with more than one object, or with a mask below 10 % of the area, are left
out. They are left out one by one; an object is used if two of its pictures are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.files.shard_store import ShardStore
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.methods.stylegan_r.config import CLASSES, StyleGANRConfig
from gan3d_bench.methods.stylegan_r.masks import Masks, MaskSource
from gan3d_bench.methods.stylegan_r.style_space import VIEW_ROWS
from gan3d_bench.methods.stylegan_r.subjects import SUBJECTS, require_class, shown_by
from gan3d_bench.methods.stylegan_r.views import (
    ViewSet,
    content_stylecodes,
    fingerprint,
    view_stylecodes,
)
from gan3d_bench.rendering.images import central_rows, from_uint8, to_uint8

SHARD = 64  # pictures a file
VERSION = 1  # of what is in the files
KEPT, EMPTY, SMALL, SEVERAL = range(4)
"""What became of a picture: kept; left out without an object, with a small mask, with several."""


class Pictures:
    """Pictures by number: that of object n from view k of K is number n K + k.

    Kept in the cache folder, and shared by the runs of a teacher with the same views, masks and
    filters.

    Args:
        config: of the run.
        generator: the teacher.
        views: the view codes.
        masks: finds objects where truth is not known.
    """

    def __init__(
        self, config: StyleGANRConfig, generator: Generator, views: ViewSet, masks: MaskSource
    ) -> None:
        self.config, self.generator, self.views, self.masks = config, generator, views, masks
        self.exact, kind = config.masks in CLASSES, config.masks
        if self.exact:
            require_class(kind, generator, f"masks={kind}: teacher={config.teacher}")
        self.masks_name = f"true silhouettes of the latents' {kind}" if self.exact else masks.name

    @cached_property
    def store(self) -> ShardStore:
        """Where they are kept."""
        config = self.config
        known = (
            VERSION,
            fingerprint(config.teacher),
            config.truncation,
            self.views.numbers,
            self.masks_name if self.exact else self.masks.fingerprint,
            config.dataset.least_area,
            config.dataset.batch,
            *((f"{config.image_rows} rows",) if config.image_rows else ()),
        )
        name = hashlib.sha256(" ".join(map(str, known)).encode()).hexdigest()[:16]
        return ShardStore(cache_dir() / "multi-view-pictures" / name, name, SHARD)

    @property
    def count(self) -> int:
        """Pictures, those included that are left out."""
        return self.config.dataset.objects * len(self.views)

    @property
    def shards(self) -> int:
        """Files, one a step of the phase."""
        return -(-self.count // SHARD)

    # -- making ---------------------------------------------------------------------------------

    def make_shard(self, step: int) -> Mapping[str, Tensor]:
        """Make the next shard of this process's that is missing; return what to log.

        That is of the shard that one process would make at this step, see `Pairs.make_shard` of
        ``uv3dmm``.
        """
        self.store.run(self.count, self._make, most=1)
        shown = self.store.shards(self.count)[step]
        if not self.store.has(shown):
            return {}
        fate = self.store.read(shown)["fate"]
        return {"kept": (fate == KEPT).float().mean()}

    def _make(self, items: range) -> dict[str, Tensor]:
        size, parts = self.config.dataset.batch, []
        for start in range(items.start, items.stop, size):
            numbers = range(start, min(start + size, items.stop))
            objects, views = self.split(torch.tensor(numbers))
            images, found = self.picture(objects, views)
            parts.append(
                {
                    "image": to_uint8(images),
                    "mask": (found.mask * 255).round().to(torch.uint8),
                    "fate": fates(found, self.config.dataset.least_area),
                }
            )
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @torch.no_grad()
    def picture(self, objects: Tensor, views: Tensor) -> tuple[Tensor, Masks]:
        """The teacher's pictures (B, 3, R, S) of objects from views (B,) of the K, with masks."""
        images = self.generator.synthesis(self.stylecodes(objects, views)).float().clamp(-1, 1)
        if not self.exact:
            return images, self.masks(images)
        numbers = [self.views.numbers[view] for view in views.tolist()]
        shown = shown_by(self.config.masks, self.generator, numbers, objects.tolist())
        mask = SUBJECTS[self.config.masks].render(shown, self.config.image_size)["mask"]
        one = torch.ones(len(mask), dtype=torch.int64)
        return images, Masks(central_rows(mask, self.config.rows), one)

    def split(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (B,) of pictures -> those of their objects, and of their views among the K."""
        return numbers // len(self.views), numbers % len(self.views)

    def stylecodes(self, objects: Tensor, views: Tensor) -> Tensor:
        """Stylecodes (B, num_ws, w_dim) of objects from views (B,) of the K."""
        truncation = self.config.truncation
        content = content_stylecodes(self.generator, objects.tolist(), truncation)
        view = self.view_codes.to(content)[views]
        return mix_styles(view, content, VIEW_ROWS, self.generator.num_ws)

    @cached_property
    def view_codes(self) -> Tensor:
        """Stylecodes (K, w_dim) of the views."""
        return view_stylecodes(self.generator, self.views.numbers, self.config.truncation)

    # -- what is trained on ---------------------------------------------------------------------

    @cached_property
    def fate(self) -> Tensor:
        """(objects, K) what became of each picture; all processes must ask for it."""
        self.store.run(self.count, self._make)  # none, unless the cache was cleared
        if rank_and_size()[1] > 1:
            dist.barrier()
        return self.store.load(self.count, ["fate"])["fate"].view(-1, len(self.views))

    @property
    def summary(self) -> str:
        """In words what was kept and why the rest was not."""
        left_out = {
            "without an object": EMPTY,
            f"with a mask below {self.config.dataset.least_area:.0%}": SMALL,
            "with several objects": SEVERAL,
        }
        said = [f"{(self.fate == fate).sum()} {what}" for what, fate in left_out.items()]
        usable = len(self.train) + len(self.held_out)
        return (
            f"{(self.fate == KEPT).sum()} of {self.count} pictures kept ({', '.join(said)} left "
            f"out); {usable} of {len(self.fate)} objects seen from two views or more"
        )

    @cached_property
    def _usable(self) -> Tensor:
        """Numbers of objects with two kept pictures.

        Raises:
            UserError: too few of them.
        """
        usable = ((self.fate == KEPT).sum(1) >= 2).nonzero()[:, 0]
        if len(usable) < 3:
            kept = int((self.fate == KEPT).sum())
            raise UserError(
                f"dataset.objects={len(self.fate)}: {kept} of {self.count} pictures kept, "
                f"{len(usable)} objects with two of them; expected at least 3 such objects (see "
                "dataset.least_area, masks and views)"
            )
        return usable

    @property
    def train(self) -> Tensor:
        """Numbers (N,) of the objects that are trained on."""
        return self._usable[: -self._held_out]

    @property
    def held_out(self) -> Tensor:
        """Those that are not: the last."""
        return self._usable[-self._held_out :]

    @property
    def _held_out(self) -> int:
        return max(1, round(self.config.dataset.held_out * len(self._usable)))

    def draw(self, objects: Tensor, rng: torch.Generator, views: int = 2) -> Tensor:
        """Numbers (B, views) of kept pictures, different ones, of each object (B,).

        Of an object with fewer some are drawn twice.
        """
        kept = (self.fate[objects] == KEPT).float()
        scores = torch.rand(kept.shape, generator=rng) - 2 * (1 - kept)
        order = scores.argsort(1, descending=True)
        place = torch.arange(views) % kept.sum(1, keepdim=True).clamp(min=1).long()
        return objects[:, None] * len(self.views) + order.gather(1, place)

    def read(self, numbers: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, R, S) in [-1, 1] and masks (B, 1, R, S) in [0, 1] by number."""
        rows = self.store.rows(self.count, torch.as_tensor(numbers).tolist())
        return from_uint8(rows["image"]), rows["mask"].float() / 255


def fates(found: Masks, least_area: float) -> Tensor:
    """What becomes of pictures (B,), int64: `KEPT` or why not."""
    area = found.mask.mean((1, 2, 3)).cpu()
    instances = found.instances.cpu()
    fate = torch.where(area < least_area, SMALL, KEPT)
    fate = torch.where(instances > 1, SEVERAL, fate)
    return torch.where((instances == 0) | (area == 0), EMPTY, fate)
