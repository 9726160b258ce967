"""The phases of training: pictures, inverse graphics, the mapping network, fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.optim import Adam

from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.methods.phases import Phase, Trainable
from gan3d_bench.methods.stylegan_r.cameras import Orbit
from gan3d_bench.methods.stylegan_r.mapping import ContentCodes
from gan3d_bench.methods.stylegan_r.model import Seen, StyleGANRModel, without_object
from gan3d_bench.methods.stylegan_r.networks import Properties
from gan3d_bench.methods.stylegan_r.objective import cycle_terms, shape_terms, view_terms
from gan3d_bench.metrics.silhouette import MaskIoU
from gan3d_bench.schedules import cosine
from gan3d_bench.terminal import say

REPORTED = 64  # held-out objects whose silhouettes are compared


class StyleGANRTraining(StyleGANRModel):
    """How the networks are trained, phase by phase."""

    def phases(self) -> Sequence[Phase]:
        """See `PhasedMethod.phases`."""
        inverse, mapping, finetune = self.config.inverse, self.config.mapping, self.config.finetune
        camera_lr = inverse.lr * self.config.cameras.lr_factor

        def fall(step: int) -> float:
            return cosine(step, inverse.steps, inverse.lr_end)

        return [
            Phase(
                "pictures", self.pictures.shards, {}, self._pictures_step, end=self._end_pictures
            ),
            Phase(
                "inverse graphics",
                inverse.steps,
                {
                    "network": Trainable(("inverse_graphics",), partial(Adam, lr=inverse.lr), fall),
                    "cameras": Trainable(("cameras",), partial(Adam, lr=camera_lr), fall),
                },
                self._inverse_step,
                end=self._report_inverse,
            ),
            Phase(
                "mapping",
                mapping.steps,
                {"mapping": Trainable(("mapping",), partial(Adam, lr=mapping.lr))},
                self._mapping_step,
                begin=self._begin_mapping,
            ),
            Phase(
                "fine-tuning",
                finetune.steps,
                {"stylegan": Trainable(("stylegan", "mapping"), partial(Adam, lr=finetune.lr))},
                self._finetune_step,
                begin=self._begin_finetuning,
            ),
        ]

    # -- pictures -------------------------------------------------------------------------------

    def _pictures_step(self, _: None) -> Mapping[str, Tensor]:
        return self.pictures.make_shard(self.phase_step)

    def _end_pictures(self) -> None:
        """Say what was kept of all processes' pictures."""
        say(f"pictures: {self.pictures.summary}; masks: {self.pictures.masks_name}")

    def _drawn(self, name: str, key: str, batch: int, views: int) -> Tensor:
        """Numbers (b, views) of kept pictures of this process's part of a batch of objects."""
        processes = rank_and_size()[1]
        if batch % processes:
            raise UserError(f"{name}={batch}: expected a multiple of {processes} processes")
        rng, objects = self.rng(key), self.pictures.train
        chosen = objects[torch.randint(len(objects), (batch,), generator=rng)]
        return self.share(self.pictures.draw(chosen, rng, views))

    def _read(self, numbers: Tensor) -> tuple[Tensor, Tensor, Orbit]:
        """Images, masks and learnt cameras of pictures (B,), by number."""
        images, masks = self.pictures.read(numbers)
        _, views = self.pictures.split(numbers.to(self.device))
        return images.to(self.device), masks.to(self.device), self.cameras()[views]

    # -- inverse graphics -----------------------------------------------------------------------

    def _inverse_step(self, _: None) -> Mapping[str, Tensor]:
        """Eqs. 1 and 2: what is predicted from one view is compared in both."""
        config = self.config
        numbers = self._drawn("inverse.batch", "inverse", config.inverse.batch, 2)
        if not config.losses.multi_view:
            numbers = numbers[:, :1]
        images, masks, camera = self._read(numbers.t().flatten())
        own = self.inverse_graphics(images[: len(numbers)])
        again = own[torch.arange(numbers.numel(), device=self.device) % len(numbers)]
        late = self.phase_step >= config.inverse.warmup
        terms = view_terms(
            self.draw(again, camera),
            images,
            masks,
            config.losses,
            self.perceptual if late else None,
        )
        return self.descend({**terms, **shape_terms(own.move, self.template, config.losses)})

    def _report_inverse(self) -> None:
        """Log the IoU of silhouettes of held-out objects, in the own view and in another."""
        self.inverse_graphics.eval()
        objects = self.pictures.held_out[:REPORTED]
        numbers = self.pictures.draw(objects, self.rng("report", step=0))
        found: dict[str, list[Tensor]] = {"iou": [], "iou_other_view": [], "iou_sphere": []}
        overlap = MaskIoU()
        for pair in numbers.split(8):
            images, masks, camera = self._read(pair.t().flatten())
            own = self.inverse_graphics(images[: len(pair)])
            sphere = Properties(torch.zeros_like(own.move), own.texture)
            first, second = slice(0, len(pair)), slice(len(pair), None)
            for name, shape, where in (
                ("iou", own, first),
                ("iou_other_view", own, second),
                ("iou_sphere", sphere, first),
            ):
                drawn = self.draw(shape, camera[where]).mask
                found[name].append(overlap.instances(drawn, masks[where]))
        row = {f"val/{name}": torch.cat(parts).nanmean().item() for name, parts in found.items()}
        for logger in self.loggers:
            logger.log_metrics(row, step=self.step)

    # -- mapping network ------------------------------------------------------------------------

    def _begin_mapping(self) -> None:
        """Choose the numbers of the view code that the camera sets."""
        codes = self.style_codes(self.pictures.view_codes.to(self.device))
        self.mapping.choose(codes[:, : self.stylegan.view_size], self.cameras().detach())

    def _mapping_step(self, _: None) -> Mapping[str, Tensor]:
        """Eq. 5: the mapped code is to be StyleGAN's own, and each number of one property."""
        numbers = self._drawn("mapping.batch", "mapping", self.config.mapping.batch, 1)[:, 0]
        with torch.no_grad():
            seen = self._seen_at(numbers)
            target = self.style_codes(self.pictures.stylecodes(*self.pictures.split(numbers)))
        mapped = self.mapping(seen.camera, self.codes_of(seen))
        return self.descend(
            {
                "codes": self.mapping.error(mapped, target),
                "entropy": self.config.mapping.entropy * self.mapping.entropy(),
            }
        )

    def _seen_at(self, numbers: Tensor) -> Seen:
        images, masks, camera = self._read(numbers)
        return Seen(images, masks, self.inverse_graphics(images), camera.detach())

    # -- fine-tuning ----------------------------------------------------------------------------

    def _begin_finetuning(self) -> None:
        self.background_judge.load_state_dict(self.mapping.background.state_dict())

    def _finetune_step(self, _: None) -> Mapping[str, Tensor]:
        """Eq. 6: f must find in the synthesised pictures what they were made of.

        Two pictures have one background: of one object as it was sampled, of another before it.
        """
        batch = self.config.finetune.batch
        first, second = (
            self._drawn("finetune.batch", key, batch, 1)[:, 0] for key in ("first", "second")
        )
        with torch.no_grad():
            seen, other = self._seen_at(first), self._seen_at(second)
            background = self.background_judge(seen.background).float()
        codes, others = self.codes_of(seen), self.codes_of(other)
        properties = Properties.join((seen.properties, other.properties))
        camera = Orbit.join((seen.camera, other.camera))
        joined = ContentCodes(
            torch.cat((codes.shape, others.shape)),
            torch.cat((codes.texture, others.texture)),
            torch.cat((codes.background, codes.background)),
        )
        images = self.synthesise(camera, joined)
        found = self.inverse_graphics(images)
        behind = without_object(images, self.own_mask(found, camera))
        behind = self.background_judge(behind).float()
        one, two = behind.chunk(2)
        return self.descend(
            {
                **cycle_terms(properties, found),
                "background": (behind - background.repeat(2, 1)).square().mean(),
                "same_background": (one - two).square().mean(),
            }
        )
