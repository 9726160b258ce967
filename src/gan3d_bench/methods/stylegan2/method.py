"""StyleGAN2 training as a method: regression warm start, then adversarial training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from gan3d_bench.adversarial.ema import ExponentialMovingAverage
from gan3d_bench.adversarial.optimizers import (
    discriminator_rate,
    generator_adam,
    generator_rate,
    lazy_adam,
)
from gan3d_bench.adversarial.step import AdversarialStep, Samples
from gan3d_bench.datamodules.epochs import shuffled_batches
from gan3d_bench.distributed.processes import mean_over_processes, rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.generators.latents import sample_z, update_w_statistics
from gan3d_bench.generators.stylegan2 import Generator, ops
from gan3d_bench.generators.stylegan2.checkpoint import save_network
from gan3d_bench.generators.stylegan2.latents import mix_styles, sample_images
from gan3d_bench.generators.stylegan2.teacher import DISCRIMINATOR, GENERATOR
from gan3d_bench.heads.sampling import NUM_LATENTS
from gan3d_bench.losses.perceptual import build_perceptual
from gan3d_bench.losses.photometric import edge_loss
from gan3d_bench.methods.phases import Phase, PhasedMethod, Trainable
from gan3d_bench.methods.stylegan2.config import StyleGAN2Config
from gan3d_bench.methods.stylegan2.data import Images
from gan3d_bench.methods.stylegan2.figures import interpolation_sheet, style_sheet
from gan3d_bench.methods.stylegan2.networks import (
    build_discriminator,
    build_generator,
    make_mapping_linear,
)
from gan3d_bench.methods.stylegan2.scene import GeneratedHeads
from gan3d_bench.methods.stylegan2.training_images import TrainingImages
from gan3d_bench.pictures.grids import unit_range
from gan3d_bench.pictures.scene_sheets import FACES, Sheet, faces
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.preview import Preview
from gan3d_bench.schedules import warmed_cosine

Batch = tuple[Tensor, Tensor | None]


class StyleGAN2(PhasedMethod):
    """Trains a generator and a discriminator (Karras et al. 2020, arXiv:1912.04958).

    Attributes:
        generator, discriminator: the networks in training.
        average: running average of the generator's weights.
        adversarial: what the steps against the discriminator carry over.

    Every process takes every `world`-th image of a batch that is drawn as a whole, so that the
    number of processes does not change what is trained.
    """

    config: StyleGAN2Config

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__(config)
        self.generator = build_generator(config.network)
        if config.regression.linear_mapping:
            make_mapping_linear(self.generator, config.regression.latent_scales)
        self.discriminator = build_discriminator(config.network)
        self.average = ExponentialMovingAverage(
            self.generator, config.batch, config.ema_kimg, config.ema_rampup
        )
        self.adversarial = AdversarialStep(
            config.adversarial, config.batch, config.augment, config.adversarial
        )
        if config.regression.perceptual != "none" and self._uses_pairs:
            name, size = config.regression.perceptual, self.image_size
            self._perceptual = [build_perceptual(name, image_size=size)]
        else:
            self._perceptual = []  # in a list: no part of the checkpoint

    @property
    def generator_ema(self) -> Generator:
        """The generator with averaged weights; the one to use."""
        network = self.average.module
        assert isinstance(network, Generator)
        return network

    @property
    def image_size(self) -> int:
        return self.generator.image_size

    @property
    def _uses_pairs(self) -> bool:
        return self.config.regression.steps > 0 or self.config.adversarial.anchor > 0

    @property
    def _turns(self) -> bool:
        return self._uses_pairs and self.generator.z_dim >= NUM_LATENTS

    # -- phases ---------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        first, regression = self.config.mapping, self.config.regression
        adversarial = self.config.adversarial
        path_interval = adversarial.path_interval if adversarial.path_weight > 0 else 0
        r1_interval = adversarial.r1_interval if adversarial.gamma > 0 else 0
        lr, betas = lazy_adam(adversarial.discriminator_lr, r1_interval)
        mapping = self.generator.mapping
        return [
            Phase(
                "mapping",
                first.steps,
                {
                    "mapping": Trainable(
                        ("generator.mapping",),
                        partial(Adam, lr=first.lr, betas=(0.9, 0.99), eps=ops.EPSILON),
                        lambda step: warmed_cosine(step, first.steps, 0.0, first.steps // 50),
                    )
                },
                self._mapping_step,
                end=self._average_begins,
            ),
            Phase(
                "regression",
                regression.steps,
                {
                    "generator": Trainable(
                        ("generator",),
                        generator_adam(mapping, regression.lr, (0.9, 0.99), regression.mapping_lr),
                        lambda step: warmed_cosine(
                            step, regression.steps, regression.lr_end, regression.warmup
                        ),
                    )
                },
                self._regression_step,
                end=self._refresh_statistics,
                batches=self._batches_from("regression"),
            ),
            Phase(
                "adversarial",
                adversarial.steps,
                {
                    "generator": Trainable(
                        ("generator",),
                        generator_adam(
                            mapping,
                            *lazy_adam(adversarial.generator_lr, path_interval),
                            adversarial.mapping_lr,
                        ),
                        partial(generator_rate, adversarial),
                    ),
                    "discriminator": Trainable(
                        ("discriminator",),
                        partial(Adam, lr=lr, betas=betas, eps=ops.EPSILON),
                        partial(discriminator_rate, adversarial),
                    ),
                },
                self._adversarial_step,
                end=self._refresh_statistics,
                batches=self._batches_from("adversarial"),
            ),
        ]

    def _batches_from(self, phase: str) -> Callable[[int], Iterator[Batch]]:
        def read(start: int) -> Iterator[Batch]:
            _, processes = rank_and_size()
            if self.config.batch % processes:
                raise UserError(
                    f"batch={self.config.batch}: expected a multiple of {processes} processes"
                )
            images = self.images
            offset = self.config.regression.steps if phase == "adversarial" else 0
            order = shuffled_batches(
                len(images), self.config.batch, start + offset, self.config.seed
            )
            for indices in order:
                pictures, latents = images.read(self.share(indices))
                yield pictures.to(self.device), None if latents is None else latents.to(self.device)

        return read

    def prepare_data(self) -> None:
        """Look through the pictures, or make what a data module makes; once a machine."""
        if self.config.mapping.steps:
            self._described(torch.zeros(1, self.generator.z_dim))
        self.training_images.prepare()

    @cached_property
    def training_images(self) -> TrainingImages:
        """What the run is trained on; nothing is read or rendered until it is needed."""
        return TrainingImages(
            self.config, self.image_size, self.generator.z_dim, paired=self._uses_pairs
        )

    @property
    def images(self) -> Images:
        """The real images."""
        return self.training_images.open()

    # -- steps ----------------------------------------------------------------------------------

    def _mapping_step(self, _: None) -> Mapping[str, Tensor]:
        count, generator = self.config.mapping.batch, self.generator
        z = self.share(sample_z(count, generator.z_dim, self.rng("mapping"))).to(self.device)
        shown = self._described(z)
        w = generator.mapping(z)
        target = F.pad(shown, (0, generator.w_dim - shown.shape[1]))
        # of all entries together, whatever w_dim
        loss = (w - target).square().sum() / count * rank_and_size()[1]
        return self.descend({"described": loss})

    def _average_begins(self) -> None:
        """The average of the weights begins with what the mapping network has learnt."""
        self.average.module.load_state_dict(self.generator.state_dict())

    def _described(self, z: Tensor) -> Tensor:
        """What pictures of latents (B, z_dim) show: (B, D), D at most w_dim.

        Raises:
            UserError: D is more.
        """
        module, w_dim = self.training_images.module, self.generator.w_dim
        assert module is not None
        shown = module.described(z.cpu()).to(z)
        if shown.shape[1] > w_dim:
            raise UserError(
                f"network.w_dim={w_dim}: expected at least {shown.shape[1]}, what is known of a "
                f"picture of data.name={self.config.data.name}, with mapping.steps > 0"
            )
        return shown

    def _regression_step(self, batch: Batch) -> Mapping[str, Tensor]:
        images, latents = batch
        assert latents is not None
        fake = self.generator.synthesis(self._pair_ws(latents), noise="none")
        terms = self.reconstruction_terms(fake, images)
        result = self.descend(terms, "generator")
        self.average.update_parameters(self.generator)
        with torch.no_grad():
            error = (fake.detach().float() - images).square().mean((1, 2, 3))
            result["psnr"] = (10 * torch.log10(4 / error)).mean()
        return result

    def reconstruction_terms(self, fake: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Weighted losses between generated and rendered images, (B, 3, S, S) each, by name."""
        config = self.config.regression
        fake = fake.float()
        terms = {"pixel": config.pixel * (fake - images).abs().mean()}
        if config.edges > 0:
            terms["edges"] = config.edges * edge_loss(fake, images)
        for perceptual in self._perceptual:
            module = perceptual.to(fake.device) if isinstance(perceptual, nn.Module) else perceptual
            terms["perceptual"] = config.perceptual_weight * module(fake, images).mean()
        return terms

    def _adversarial_step(self, batch: Batch) -> Mapping[str, Tensor]:
        images, latents = batch
        if self.config.data.mirror:
            coin = torch.rand(self.config.batch, generator=self.rng("mirror")) < 0.5
            coin = self.share(coin).to(images.device)[:, None, None, None]
            images = torch.where(coin, images.flip(3), images)
        anchor = self._anchor
        scalars = self.adversarial.run(
            self,
            self.discriminator,
            reals=lambda: [Samples(images)],
            fakes=partial(self._fakes, latents if anchor > 0 else None),
            terms=partial(self._anchor_terms, anchor, images) if anchor > 0 else None,
            path=self._path_images,
        )
        self.average.update_parameters(self.generator)
        return scalars

    @property
    def _anchor(self) -> float:
        """Weight of the warm start's loss at this step."""
        config = self.config.adversarial
        progress = self.phase_step / max(1, config.steps - 1)
        return config.anchor * (1 + (config.anchor_end - 1) * progress)

    def _fakes(self, latents: Tensor | None, key: str) -> list[Samples]:
        """Images of random latents, or, for the generator, of those of the real images."""
        if key == "g" and latents is not None:
            ws = self._pair_ws(latents)
        else:
            ws = self._draw_ws(key, track=key == "g")
        return [Samples(self.generator.synthesis(ws, noise=self._noise(key)))]

    def _anchor_terms(
        self, anchor: float, images: Tensor, fakes: Sequence[Samples]
    ) -> dict[str, Tensor]:
        terms = self.reconstruction_terms(fakes[0].parts[0], images)
        return {f"anchor_{name}": anchor * value for name, value in terms.items()}

    def _path_images(self, count: int) -> tuple[Tensor, Tensor]:
        ws = self._draw_ws("path")[:count]
        return self.generator.synthesis(ws, noise=self._noise("path", count)), ws

    # -- parts of steps -------------------------------------------------------------------------

    def _pair_ws(self, latents: Tensor) -> Tensor:
        """Stylecodes (B, num_ws, w_dim) of the images that belong to latents (B, z_dim).

        With `view_entries` the first inputs get those entries beside others' content, the rest the
        content beside others' view: each then has to learn its part from its own inputs.
        """
        generator, config = self.generator, self.config.regression
        if not config.view_entries:
            return generator.mapping(latents)[:, None].expand(-1, generator.num_ws, -1)
        other = sample_z(self.config.batch, generator.z_dim, self.rng("other"))
        other = self.share(other).to(latents)
        first, last = config.view_entries
        view = torch.zeros(generator.z_dim, dtype=torch.bool, device=latents.device)
        view[first:last] = True
        seen, content = (
            generator.mapping(torch.where(mine, latents, other)) for mine in (view, ~view)
        )
        return mix_styles(seen, content, config.view_layers, generator.num_ws)

    def _draw_ws(self, key: str, track: bool = False) -> Tensor:
        """Draw stylecodes (B, num_ws, w_dim) with style mixing; `track` updates their mean."""
        generator, rng = self.generator, self.rng(f"z/{key}")
        z, z2 = (
            self.share(sample_z(self.config.batch, generator.z_dim, rng)).to(self.device)
            for _ in range(2)
        )
        w = generator.mapping(z)
        if track:
            mean = mean_over_processes(w.detach().mean(0))
            generator.w_mean.lerp_(mean, 0.005)
        mixes = torch.rand((), generator=rng) < self.config.adversarial.mixing
        crossover = int(torch.randint(1, generator.num_ws, (), generator=rng))
        if self.config.regression.view_entries:
            crossover = self.config.regression.view_layers
        if mixes:
            return mix_styles(w, generator.mapping(z2), crossover, generator.num_ws)
        return w[:, None].expand(-1, generator.num_ws, -1)

    def _noise(self, key: str, count: int | None = None) -> list[Tensor]:
        rng = self.rng(f"noise/{key}")
        maps = [
            torch.randn(self.config.batch, 1, size, size, generator=rng)
            for size in self.generator.synthesis.noise_sizes
        ]
        return [noise[:count].to(self.device) for noise in self.share(maps)]

    def _refresh_statistics(self) -> None:
        for generator in (self.generator, self.generator_ema):
            update_w_statistics(generator, self.rng("w"), 4096)

    # -- what a run shows -----------------------------------------------------------------------

    def sample(self, n: int, generator: torch.Generator) -> Scene:
        """Draw `n` heads that turn when their latents are moved.

        Raises:
            UserError: the generator was not fitted to rendered heads, so that its latents have no
                known meaning.
        """
        if not self._turns:
            raise UserError(
                "method 'stylegan2' gives a scene only after a warm start on rendered heads "
                "(regression.steps > 0 or adversarial.anchor > 0)"
            )
        z = sample_z(n, self.generator.z_dim, generator).to(self.device)
        return GeneratedHeads(self.generator_ema, z)

    def preview(self) -> Preview:
        """Images of fixed latents, beside them the images that belong to those, and a scene."""
        z_dim = self.generator.z_dim
        # not the seed of the rendered heads, or these would be the training latents
        z = sample_z(32, z_dim, torch.Generator().manual_seed(self.config.seed + 1))
        shown = {"samples": sample_images(self.generator_ema, z.to(self.device)).cpu()}
        images = self.training_images.shown()
        if images is not None:
            real, latents = images.read(torch.arange(min(32, len(images))))
            shown["real"] = real
            if latents is not None and self._uses_pairs:
                shown["reconstructed"] = sample_images(
                    self.generator_ema, latents.to(self.device)
                ).cpu()
        scene = GeneratedHeads(self.generator_ema, z[:8].to(self.device)) if self._turns else None
        return Preview(shown, scene)

    def figures(
        self,
        count: int,
        generator: torch.Generator,
        images: Tensor | None = None,
        styles: Tensor | None = None,
    ) -> Mapping[str, Sheet]:
        """See `Method.figures`; and ``interpolation`` and ``style``. Sweeps are of heads only."""
        before = generator.get_state()
        network, size = self.generator_ema, self.generator.z_dim
        drawn = [sample_z(count, size, generator).to(self.device) for _ in range(FACES)]
        if self._turns or images is not None or styles is not None:
            generator.set_state(before)
            sheets = super().figures(count, generator, images, styles)
        else:
            sheets = {"faces": faces([unit_range(sample_images(network, z)) for z in drawn])}
        w, others = (network.mapping(z) for z in drawn[:2])
        chain = w if count > 1 else torch.cat((w, others))
        return {
            **sheets,
            "interpolation": interpolation_sheet(network, chain),
            "style": style_sheet(network, w[:1], others),
        }

    def write_results(self, folder: Path) -> None:
        """Write the networks: a folder that is a teacher (``teacher=RUN/results``)."""
        save_network(self.generator_ema, folder / GENERATOR, dtype=torch.float32)
        save_network(self.discriminator, folder / DISCRIMINATOR, dtype=torch.float32)

    def extra_metadata(self) -> Mapping[str, Any]:
        parameters = {
            name: sum(p.numel() for p in module.parameters())
            for name, module in self.named_children()
            if module is not self.adversarial
        }
        return {"parameters": parameters, "perceptual": self.config.regression.perceptual}
