"""StyleGAN2 training as a method: regression warm start, then adversarial training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.optim import Adam, Optimizer

from gan3d_bench.assets.store import cache_dir
from gan3d_bench.distributed.processes import rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.generators.latents import sample_z, update_w_statistics
from gan3d_bench.generators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    load_discriminator,
    load_generator,
    ops,
)
from gan3d_bench.generators.stylegan2.generator import channel_table
from gan3d_bench.generators.stylegan2.latents import mix_styles, sample_images
from gan3d_bench.generators.stylegan2.layers import Linear
from gan3d_bench.heads.sampling import NUM_LATENTS
from gan3d_bench.losses.perceptual import build_perceptual
from gan3d_bench.methods.phases import Phase, PhasedMethod, Trainable
from gan3d_bench.methods.stylegan2 import data, losses
from gan3d_bench.methods.stylegan2.augment import adapt, apply, draw
from gan3d_bench.methods.stylegan2.config import NetworkConfig, StyleGAN2Config
from gan3d_bench.methods.stylegan2.figures import interpolation_sheet, style_sheet
from gan3d_bench.methods.stylegan2.scene import GeneratedHeads
from gan3d_bench.pictures.grids import unit_range
from gan3d_bench.pictures.scene_sheets import FACES, Sheet, faces
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.preview import Preview

Batch = tuple[Tensor, Tensor | None]
Network = TypeVar("Network", Generator, Discriminator)


class StyleGAN2(PhasedMethod):
    """Trains a generator and a discriminator (Karras et al. 2020, arXiv:1912.04958).

    Attributes:
        generator, discriminator: the networks in training.
        generator_ema: running average of the generator's weights; the one to use.

    Every process takes every `world`-th image of a batch that is drawn as a whole, so that the
    number of processes does not change what is trained.
    """

    config: StyleGAN2Config
    path_mean: Tensor
    augment_p: Tensor
    sign_sum: Tensor

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__(config)
        self.generator = build_generator(config.network)
        if config.regression.linear_mapping:
            make_mapping_linear(self.generator, config.regression.latent_scales)
        self.discriminator = build_discriminator(config.network)
        self.generator_ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        if config.regression.perceptual != "none" and self._uses_pairs:
            self._perceptual = [build_perceptual(config.regression.perceptual)]
        else:
            self._perceptual = []  # in a list: no part of the checkpoint
        self.register_buffer("path_mean", torch.zeros(()))
        self.register_buffer("augment_p", torch.zeros((), dtype=torch.float64))
        self.register_buffer("sign_sum", torch.zeros((), dtype=torch.float64))
        self._images: data.Images | None = None

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
        regression, adversarial = self.config.regression, self.config.adversarial
        path_interval = adversarial.path_interval if adversarial.path_weight > 0 else 0
        r1_interval = adversarial.r1_interval if adversarial.gamma > 0 else 0
        return [
            Phase(
                "regression",
                regression.steps,
                {
                    "generator": Trainable(
                        ("generator",),
                        self._generator_adam(regression.lr, (0.9, 0.99), regression.mapping_lr),
                        lambda step: (
                            min(1.0, (step + 1) / max(1, regression.warmup))
                            * _cosine(step, regression.steps, regression.lr_end)
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
                        self._generator_adam(
                            *lazy_adam(adversarial.generator_lr, path_interval),
                            adversarial.mapping_lr,
                        ),
                        self._generator_schedule,
                    ),
                    "discriminator": Trainable(
                        ("discriminator",),
                        _adam(*lazy_adam(adversarial.discriminator_lr, r1_interval)),
                        lambda step: _cosine(step, adversarial.steps, adversarial.lr_end),
                    ),
                },
                self._adversarial_step,
                end=self._refresh_statistics,
                batches=self._batches_from("adversarial"),
            ),
        ]

    def _generator_adam(
        self, lr: float, betas: tuple[float, float], mapping_lr: float
    ) -> Callable[[list[nn.Parameter]], Optimizer]:
        def build(parameters: list[nn.Parameter]) -> Optimizer:
            mapping = list(self.generator.mapping.parameters())
            inside = {id(p) for p in mapping}
            rest = [p for p in parameters if id(p) not in inside]
            groups = [{"params": rest}, {"params": mapping, "lr": lr * mapping_lr}]
            return Adam(groups, lr=lr, betas=betas, eps=1e-8)

        return build

    def _generator_schedule(self, step: int) -> float:
        config = self.config.adversarial
        ramp = min(1.0, (step - config.delay + 1) / max(1, config.warmup))
        return max(0.0, ramp) * _cosine(step, config.steps, config.lr_end)

    def _batches_from(self, phase: str) -> Callable[[int], Iterator[Batch]]:
        def read(start: int) -> Iterator[Batch]:
            _, processes = rank_and_size()
            if self.config.batch % processes:
                raise UserError(
                    f"batch={self.config.batch}: expected a multiple of {processes} processes"
                )
            images = self.images
            offset = self.config.regression.steps if phase == "adversarial" else 0
            order = data.batches(len(images), self.config.batch, start + offset, self.config.seed)
            for indices in order:
                pictures, latents = images.read(self._share(indices))
                yield pictures.to(self.device), None if latents is None else latents.to(self.device)

        return read

    def prepare_data(self) -> None:
        """Look through the pictures, or make what a data module makes; once a machine."""
        given = self.config.data
        data.prepare_images(given.path, self.image_size, given.name, given.count)

    @property
    def images(self) -> data.Images:
        """The real images; synthetic heads are rendered on first use."""
        if self._images is None:
            path, size = self.config.data.path, self.image_size
            name = self.config.data.name
            if not path and not name:
                z_dim, seed = self.generator.z_dim, self.config.seed
                count = self.config.data.count
                folder = data.heads_folder(cache_dir(), count, size, z_dim, seed)
                data.render_heads_once(folder, count, size, z_dim, seed)
                if rank_and_size()[1] > 1:
                    dist.barrier()
                path = str(folder)
            z_dim = self.generator.z_dim if self._uses_pairs else None
            self._images = data.open_images(path, size, z_dim, name, self.config.data.count)
        return self._images

    # -- steps ----------------------------------------------------------------------------------

    def _regression_step(self, batch: Batch) -> Mapping[str, Tensor]:
        images, latents = batch
        assert latents is not None
        fake = self.generator.synthesis(self.generator.mapping(latents), noise="none")
        terms = self.reconstruction_terms(fake, images)
        result = self.descend(terms, "generator")
        self.update_average()
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
            terms["edges"] = config.edges * losses.edge_loss(fake, images)
        for perceptual in self._perceptual:
            module = perceptual.to(fake.device) if isinstance(perceptual, nn.Module) else perceptual
            terms["perceptual"] = config.perceptual_weight * module(fake, images).mean()
        return terms

    def _adversarial_step(self, batch: Batch) -> Mapping[str, Tensor]:
        config = self.config.adversarial
        images, latents = batch
        if self.config.data.mirror:
            coin = torch.rand(self.config.batch, generator=self.rng("mirror")) < 0.5
            coin = self._share(coin).to(images.device)[:, None, None, None]
            images = torch.where(coin, images.flip(3), images)
        step = self.phase_step
        scalars = self._discriminator_update(images)
        if config.gamma > 0 and step % config.r1_interval == 0:
            scalars |= self._r1_update(images)
        if step >= config.delay:
            scalars |= self._generator_update(images, latents)
            if config.path_weight > 0 and step % config.path_interval == 0:
                scalars |= self._path_update()
        self.update_average()
        self._adapt_augmentation()
        scalars["augment_p"] = self.augment_p.clone()
        return scalars

    def _discriminator_update(self, images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.generator.synthesis(self._draw_ws("d"), noise=self._noise("d"))
        fake_logits = self.discriminator(self._augmented(fake, "fake"))
        real_logits = self.discriminator(self._augmented(images, "real"))
        signs = _mean_over_processes(real_logits.detach().sign().double().mean())
        self.sign_sum += signs
        scalars = self.descend(
            {"d": losses.discriminator_loss(real_logits, fake_logits)}, "discriminator"
        )
        return {**scalars, "real_sign": signs}

    def _r1_update(self, images: Tensor) -> dict[str, Tensor]:
        config = self.config.adversarial
        with torch.autocast(self.device.type, enabled=False):
            real = self._augmented(images, "real").detach().requires_grad_()
            penalty = losses.r1_penalty(self.discriminator(real), real)
            weight = config.gamma / 2 * config.r1_interval
            self.descend({"r1": penalty * weight}, "discriminator")
        return {"r1": penalty.detach()}

    def _generator_update(self, images: Tensor, latents: Tensor | None) -> dict[str, Tensor]:
        config = self.config.adversarial
        progress = self.phase_step / max(1, config.steps - 1)
        anchor = config.anchor * (1 + (config.anchor_end - 1) * progress)
        if anchor > 0:
            assert latents is not None
            w = self.generator.mapping(latents)
            ws = w[:, None].expand(-1, self.generator.num_ws, -1)
        else:
            ws = self._draw_ws("g", track=True)
        self.discriminator.requires_grad_(False)
        fake = self.generator.synthesis(ws, noise=self._noise("g"))
        logits = self.discriminator(self._augmented(fake, "g"))
        terms = {"g": losses.generator_loss(logits)}
        if anchor > 0:
            terms |= {
                f"anchor_{name}": anchor * value
                for name, value in self.reconstruction_terms(fake, images).items()
            }
        scalars = self.descend(terms, "generator")
        self.discriminator.requires_grad_(True)
        return scalars

    def _path_update(self) -> dict[str, Tensor]:
        config = self.config.adversarial
        count = max(1, self.config.batch // rank_and_size()[1] // config.path_shrink)
        with torch.autocast(self.device.type, enabled=False):
            ws = self._draw_ws("path")[:count]
            images = self.generator.synthesis(ws, noise=self._noise("path", count))
            direction = torch.randn(
                self.config.batch, *images.shape[1:], generator=self.rng("direction")
            )
            direction = self._share(direction)[:count].to(images.device)
            lengths = losses.path_lengths(images, ws, direction)
            average = lengths.mean()
            if rank_and_size()[1] > 1:
                average = all_reduce(average) / rank_and_size()[1]
            penalty, mean = losses.path_penalty(lengths, self.path_mean, config.path_decay, average)
            weight = config.path_weight * config.path_interval
            self.descend({"path": penalty * weight}, "generator")
        self.path_mean.copy_(mean)
        return {
            "path": _mean_over_processes(penalty.detach()),
            "path_length": self.path_mean.clone(),
        }

    @torch.no_grad()
    def update_average(self) -> None:
        """Move `generator_ema` towards the generator; buffers are copied.

        The half-life is counted in images, whatever the batch size.
        """
        config = self.config
        half_life = 1000 * config.ema_kimg
        if config.ema_rampup > 0:
            seen = (self.step + 1) * config.batch
            half_life = min(half_life, config.ema_rampup * seen)
        decay = 0.5 ** (config.batch / max(half_life, 1e-8))
        average, current = self.generator_ema, self.generator
        torch._foreach_lerp_(list(average.parameters()), list(current.parameters()), 1 - decay)
        for mean, value in zip(average.buffers(), current.buffers(), strict=True):
            mean.copy_(value)

    # -- parts of steps -------------------------------------------------------------------------

    def _share(self, batch: Tensor) -> Tensor:
        """This process's part of something drawn for the whole batch.

        Strided, because images B/4 apart share a minibatch standard deviation: the groups are then
        the same for any number of processes.
        """
        rank, processes = rank_and_size()
        return batch[rank::processes]

    def _draw_ws(self, key: str, track: bool = False) -> Tensor:
        """Draw stylecodes (B, num_ws, w_dim) with style mixing; `track` updates their mean."""
        generator, rng = self.generator, self.rng(f"z/{key}")
        z, z2 = (
            self._share(sample_z(self.config.batch, generator.z_dim, rng)).to(self.device)
            for _ in range(2)
        )
        w = generator.mapping(z)
        if track:
            mean = _mean_over_processes(w.detach().mean(0))
            generator.w_mean.lerp_(mean, 0.005)
        mixes = torch.rand((), generator=rng) < self.config.adversarial.mixing
        crossover = int(torch.randint(1, generator.num_ws, (), generator=rng))
        if mixes:
            return mix_styles(w, generator.mapping(z2), crossover, generator.num_ws)
        return w[:, None].expand(-1, generator.num_ws, -1)

    def _noise(self, key: str, count: int | None = None) -> list[Tensor]:
        rng = self.rng(f"noise/{key}")
        maps = (
            torch.randn(self.config.batch, 1, size, size, generator=rng)
            for size in self.generator.synthesis.noise_sizes
        )
        return [self._share(noise)[:count].to(self.device) for noise in maps]

    def _augmented(self, images: Tensor, key: str) -> Tensor:
        p = float(self.augment_p)
        if p == 0:
            return images
        drawn = draw(self.config.batch, p, self.image_size, self.rng(f"augment/{key}"))
        return apply(images, *(self._share(matrices) for matrices in drawn))

    def _adapt_augmentation(self) -> None:
        config = self.config.augment
        if not config.enabled or (self.phase_step + 1) % config.every:
            return
        mean = float(self.sign_sum) / config.every
        images = self.config.batch * config.every
        p = adapt(float(self.augment_p), mean, images, config.target, config.speed_kimg)
        self.augment_p.fill_(min(p, config.maximum))
        self.sign_sum.zero_()

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
        if not self._uses_pairs:
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
        if self._images is not None:
            real, latents = self._images.read(torch.arange(min(32, len(self._images))))
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

    def extra_metadata(self) -> Mapping[str, Any]:
        parameters = {
            name: sum(p.numel() for p in module.parameters())
            for name, module in self.named_children()
        }
        return {"parameters": parameters, "perceptual": self.config.regression.perceptual}


def build_generator(config: NetworkConfig) -> Generator:
    """Build a generator, or load the one that `config.generator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.generator:
        return _load(load_generator, "network.generator", config.generator, config.image_size)
    return Generator(
        GeneratorConfig(
            image_size=config.image_size,
            z_dim=config.z_dim,
            w_dim=config.w_dim,
            mapping_layers=config.mapping_layers,
            channels=_channels(config),
            conv_clamp=config.conv_clamp or None,
        )
    )


@torch.no_grad()
def make_mapping_linear(generator: Generator, scales: Sequence[Sequence[float]]) -> None:
    """Set the mapping network's weights so that w is the normalised z, each entry scaled.

    In a pair of layers [a I, -a I] the two leaky ReLUs cancel: lrelu(-a lrelu(a x)) = -x for
    either sign of x when 0.2 a^2 = 1. (So w = -z for an odd number of pairs.)

    Args:
        generator: its z_dim and w_dim must agree, its mapping layers be even in number.
        scales: [first, last, scale] of latent entries; 1 elsewhere.

    Raises:
        UserError: the sizes do not allow it.
    """
    config = generator.config
    layers = [layer for layer in generator.mapping.layers if isinstance(layer, Linear)]
    if config.z_dim != config.w_dim or config.mapping_layers % 2:
        raise UserError(
            f"regression.linear_mapping=true: z_dim {config.z_dim}, w_dim {config.w_dim}, "
            f"{config.mapping_layers} layers; expected equal sizes and an even number of layers"
        )
    size = 1 / math.sqrt(ops.SLOPE)  # the slope is met once in each pair
    for index, layer in enumerate(layers):
        sign = 1.0 if index % 2 == 0 else -1.0
        layer.weight.copy_(torch.eye(config.z_dim) * (sign * size / layer.weight_gain))
    for first, last, scale in scales:
        layers[0].weight[:, int(first) : int(last)] *= scale


def build_discriminator(config: NetworkConfig) -> Discriminator:
    """Build a discriminator, or load the one that `config.discriminator` names.

    Raises:
        UserError: the file is missing or unfit, or of another image size.
    """
    if config.discriminator:
        path = config.discriminator
        return _load(load_discriminator, "network.discriminator", path, config.image_size)
    return Discriminator(
        DiscriminatorConfig(
            image_size=config.image_size,
            channels=_channels(config),
            stddev_group=config.stddev_group,
            conv_clamp=config.conv_clamp or None,
        )
    )


def lazy_adam(lr: float, interval: int) -> tuple[float, tuple[float, float]]:
    """Return Adam's rate and betas for a network regularised every `interval` steps (0: never).

    Source: Karras et al. 2020, appendix B, lazy regularisation.
    """
    ratio = interval / (interval + 1) if interval else 1.0
    return lr * ratio, (0.0, 0.99**ratio)


def _adam(lr: float, betas: tuple[float, float]) -> Callable[[list[nn.Parameter]], Optimizer]:
    return lambda parameters: Adam(parameters, lr=lr, betas=betas, eps=ops.EPSILON)


def _channels(config: NetworkConfig) -> dict[int, int]:
    if config.channels:
        return dict(config.channels)
    return channel_table(config.image_size, config.channel_base, config.channel_max)


def _load(load: Callable[[Path], Network], key: str, path: str, image_size: int) -> Network:
    try:
        network = load(Path(path))
    except UserError as error:
        raise UserError(f"{key}={path}: {error}") from error
    if network.image_size != image_size:
        raise UserError(
            f"{key}={path}: makes images of {network.image_size} pixels, "
            f"expected network.image_size={image_size}"
        )
    return network.train().requires_grad_(True)


def _cosine(step: int, steps: int, end: float) -> float:
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))


def _mean_over_processes(value: Tensor) -> Tensor:
    if rank_and_size()[1] > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= rank_and_size()[1]
    return value
