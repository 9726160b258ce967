"""The phases of training: an ellipsoid, regression onto heads from exact cameras, adversarial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial

import torch
import torch.distributed as dist
from torch import Tensor
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
from gan3d_bench.datamodules.specs import OnBad
from gan3d_bench.distributed.processes import mean_over_processes, rank_and_size
from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d import EG3DGenerator, Pictures
from gan3d_bench.generators.eg3d.cameras import mirrored
from gan3d_bench.generators.eg3d.discriminator import raw_of
from gan3d_bench.generators.eg3d.volume import Jitter
from gan3d_bench.generators.latents import sample_z, update_w_statistics
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.linear_mapping import make_linear
from gan3d_bench.methods.eg3d import data
from gan3d_bench.methods.eg3d.conditioning import blurred, fade, swapped, volume_size
from gan3d_bench.methods.eg3d.config import EG3DTrainingConfig, VolumeFade
from gan3d_bench.methods.eg3d.data import Posed
from gan3d_bench.methods.eg3d.density import density_loss, draw_points
from gan3d_bench.methods.eg3d.ellipsoid import draw_around, ellipsoid_loss
from gan3d_bench.methods.eg3d.networks import build_discriminator, build_generator
from gan3d_bench.methods.eg3d.objective import Reconstruction
from gan3d_bench.methods.phases import Phase, PhasedMethod, Trainable
from gan3d_bench.schedules import warmed_cosine

W_MEAN_RATE = 0.002  # of the running mean of w: 1 - 0.998, as released
W_SAMPLES = 4096


class EG3DTraining(PhasedMethod):
    """Trains a generator of tri-planes and a dual discriminator (Chan et al. 2022).

    Attributes:
        generator, discriminator: the networks in training.
        average: running average of the generator's weights.
        adversarial: what the steps against the discriminator carry over.

    Every process takes every `world`-th subject of a batch that is drawn as a whole, so that the
    number of processes does not change what is trained.
    """

    config: EG3DTrainingConfig

    def __init__(self, config: EG3DTrainingConfig) -> None:
        super().__init__(config)
        self.generator = build_generator(config.network)
        if config.regression.linear_mapping and not config.network.generator:
            make_linear(self.generator.mapping)  # w = (z, part of the camera's embedding)
        self.generator.synthesis.points_at_once = config.network.points_at_once
        self.discriminator = build_discriminator(config.network)
        self.average = ExponentialMovingAverage(
            self.generator, config.batch, config.ema_kimg, config.ema_rampup
        )
        self.adversarial = AdversarialStep(config.adversarial, config.batch, config.augment)
        self._images: data.Images | None = None

    @property
    def generator_ema(self) -> EG3DGenerator:
        """The generator with averaged weights; the one to use."""
        network = self.average.module
        assert isinstance(network, EG3DGenerator)
        return network

    @cached_property
    def reconstruction(self) -> Reconstruction:
        """The warm start's losses."""
        return Reconstruction(self.config.regression, self.generator.image_size)

    # -- phases ---------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        regression, adversarial = self.config.regression, self.config.adversarial
        density_interval = adversarial.density_interval if adversarial.density > 0 else 0
        r1_interval = adversarial.r1_interval if adversarial.gamma > 0 else 0
        g_lr, g_betas = lazy_adam(adversarial.generator_lr, density_interval)
        d_lr, d_betas = lazy_adam(adversarial.discriminator_lr, r1_interval)
        adam = partial(Adam, eps=ops.EPSILON)
        return [
            Phase(
                "ellipsoid",
                self.config.ellipsoid.steps,
                {
                    "generator": Trainable(
                        ("generator",),
                        partial(adam, lr=self.config.ellipsoid.lr, betas=(0.9, 0.99)),
                    )
                },
                self._ellipsoid_step,
            ),
            Phase(
                "regression",
                regression.steps,
                {
                    "generator": Trainable(
                        ("generator",),
                        generator_adam(
                            self.generator.mapping,
                            regression.lr,
                            (0.9, 0.99),
                            regression.mapping_lr,
                        ),
                        lambda step: warmed_cosine(
                            step, regression.steps, regression.lr_end, regression.warmup
                        ),
                    )
                },
                self._regression_step,
                end=self._refresh_statistics,
                batches=partial(self._batches, 0),
            ),
            Phase(
                "adversarial",
                adversarial.steps,
                {
                    "generator": Trainable(
                        ("generator",),
                        partial(adam, lr=g_lr, betas=g_betas),
                        partial(generator_rate, adversarial),
                    ),
                    "discriminator": Trainable(
                        ("discriminator",),
                        partial(adam, lr=d_lr, betas=d_betas),
                        partial(discriminator_rate, adversarial),
                    ),
                },
                self._adversarial_step,
                end=self._refresh_statistics,
                batches=partial(self._batches, regression.steps),
            ),
        ]

    def _batches(self, offset: int, start: int) -> Iterator[Posed]:
        _, processes = rank_and_size()
        if self.config.batch % processes:
            raise UserError(
                f"batch={self.config.batch}: expected a multiple of {processes} processes"
            )
        images = self.images
        for indices in shuffled_batches(
            len(images), self.config.batch, start + offset, self.config.seed
        ):
            yield images.read(self.share(indices)).to(self.device)

    # -- data -----------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Look through the pictures, or render heads; once a machine."""
        if self.config.uses_pairs:
            _ = self.reconstruction  # a network that is missing is said before anything is rendered
        if self.config.uses_heads:
            self._heads.render()
        else:
            self._photographs()

    @property
    def images(self) -> data.Images:
        """The real images; synthetic heads are rendered on first use."""
        if self._images is None:
            if self.config.uses_heads:
                self._heads.render()
                if rank_and_size()[1] > 1:
                    dist.barrier()
                self._images = data.HeadViews(self._heads.folder)
            else:
                self._images = self._photographs()
        return self._images

    def _photographs(self) -> data.Photographs:
        given = self.config.data
        on_bad: OnBad = "skip" if given.on_bad == "skip" else "refuse"
        return data.Photographs(given.path, self.generator.image_size, on_bad)

    @property
    def _heads(self) -> data.RenderedHeads:
        generator = self.generator
        size, orbit = generator.image_size, generator.config.orbit
        return data.RenderedHeads(self.config.data, orbit, size, generator.z_dim, self.config.seed)

    # -- ellipsoid ------------------------------------------------------------------------------

    def _ellipsoid_step(self, _: None) -> Mapping[str, Tensor]:
        """Make the volumes of drawn latents the ellipsoid, whatever the latent."""
        told = self._draw_cameras("ellipsoid")[1]
        w = self.generator.mapping(self._draw_z("ellipsoid"), told)
        planes = self.generator.synthesis.planes(w, "none")
        config, box = self.config.ellipsoid, self.generator.config.volume.box_warp
        points = self.share(draw_around(self.config.batch, config, box, self.rng("points")))
        loss = ellipsoid_loss(self.generator, planes, points, config)
        result = self.descend({"ellipsoid": loss}, "generator")
        self.average.update_parameters(self.generator)
        return result

    # -- regression -----------------------------------------------------------------------------

    def _regression_step(self, batch: Posed) -> Mapping[str, Tensor]:
        size = self._volume_size(self.config.regression)
        made, images = self._reconstruct(batch, size, self.config.regression.views)
        result = self.descend(self.reconstruction(made, images), "generator")
        self.average.update_parameters(self.generator)
        with torch.no_grad():
            error = (made.image.detach().float() - images).square().mean((1, 2, 3))
            result["psnr"] = (10 * torch.log10(4 / error)).mean()
        return result

    def _reconstruct(self, batch: Posed, size: int, views: int) -> tuple[Pictures, Tensor]:
        """Make the heads of a batch as some of their cameras see them.

        Args:
            batch: heads of this process.
            size: of the volume's picture.
            views: K, cameras of each.

        Returns:
            what is made, and what it should look like (B K, 3, S, S).
        """
        assert batch.latents is not None
        shape = (self.config.batch, batch.cameras.shape[1])
        order = torch.rand(shape, generator=self.rng("views")).argsort(1)
        chosen = self.share(order[:, :views]).to(self.device)
        rows = torch.arange(len(chosen), device=self.device)[:, None]
        images, cameras = (x[rows, chosen].flatten(0, 1) for x in (batch.images, batch.cameras))
        # the camera that a head was lit for: its light, not its shape, depends on it
        w = self.generator.mapping(batch.latents, batch.cameras[:, 0])
        planes = self.generator.synthesis.planes(w, "none").repeat_interleave(views, 0)
        codes = w.repeat_interleave(views, 0)
        return self._seen(planes, codes, cameras, size, "reconstruct", views), images

    # -- adversarial ----------------------------------------------------------------------------

    def _adversarial_step(self, batch: Posed) -> Mapping[str, Tensor]:
        config = self.config.adversarial
        size = self._volume_size(config)
        anchor = self._anchor
        scalars = self.adversarial.run(
            self,
            self.discriminator,
            reals=partial(self._reals, batch, size),
            fakes=partial(self._fakes, size),
            terms=partial(self._anchor_terms, anchor, batch, size) if anchor > 0 else None,
        )
        update, rest = divmod(self.phase_step, config.generator_every)
        trained = self.phase_step >= config.delay and not rest
        if config.density > 0 and trained and update % config.density_interval == 0:
            scalars |= self._regularise_density()
        self.average.update_parameters(self.generator)
        return scalars

    @property
    def _images_seen(self) -> int:
        """Images of this phase before this step, over all processes."""
        return self.phase_step * self.config.batch

    @property
    def _anchor(self) -> float:
        """Weight of the warm start's losses at this step."""
        config = self.config.adversarial
        progress = self.phase_step / max(1, config.steps - 1)
        return config.anchor * (1 + (config.anchor_end - 1) * progress)

    @property
    def _swap(self) -> float:
        """Probability that the generator is told another camera, at this step."""
        config = self.config.adversarial
        return fade(1.0, config.swap, self._images_seen, config.swap_fade_kimg)

    def _blur(self, images: Tensor) -> Tensor:
        config = self.config.adversarial
        return blurred(images, fade(config.blur, 0.0, self._images_seen, config.blur_fade_kimg))

    def _reals(self, batch: Posed, size: int) -> list[Samples]:
        """What the subjects' own cameras took; image and raw image are blurred alike."""
        images, cameras = batch.images[:, 0], batch.cameras[:, 0]
        coin = self.share(self._coin("real")).to(self.device)
        images = torch.where(coin[:, :, None, None], images.flip(3), images)
        cameras = torch.where(coin, mirrored(cameras), cameras)
        parts = (self._blur(images), self._blur(raw_of(images, size)))
        return [Samples(parts, cameras)]

    def _fakes(self, size: int, key: str) -> list[Samples]:
        """Pictures of new latents by cameras of the data; the raw ones are not blurred."""
        cameras, told = self._draw_cameras(key)
        w = self.generator.mapping(self._draw_z(key), told)
        if key == "g":
            mean = mean_over_processes(w.detach().mean(0))
            self.generator.w_mean.lerp_(mean, W_MEAN_RATE)
        planes = self.generator.synthesis.planes(w, self._noise(key))
        made = self._seen(planes, w, cameras, size, key)
        return [Samples((self._blur(made.image.float()), made.volume.raw), cameras)]

    def _anchor_terms(
        self, anchor: float, batch: Posed, size: int, _: Sequence[Samples]
    ) -> dict[str, Tensor]:
        views = self.config.adversarial.anchor_views
        terms = self.reconstruction(*self._reconstruct(batch, size, views))
        return {f"anchor_{name}": anchor * value for name, value in terms.items()}

    def _regularise_density(self) -> dict[str, Tensor]:
        config = self.config.adversarial
        _, told = self._draw_cameras("density", together=True)
        w = self.generator.mapping(self._draw_z("density"), told)
        planes = self.generator.synthesis.planes(w, self._noise("density"))
        points = self.share(draw_points(self.config.batch, config, self.rng("points")))
        loss = density_loss(self.generator, planes, *points)
        self.descend({"density": loss * config.density * config.density_interval}, "generator")
        return {"density": mean_over_processes(loss.detach())}

    # -- parts of steps -------------------------------------------------------------------------

    def _volume_size(self, config: VolumeFade) -> int:
        return volume_size(config, self.generator.config.volume_size, self._images_seen)

    def _seen(
        self, planes: Tensor, w: Tensor, cameras: Tensor, size: int, key: str, views: int = 1
    ) -> Pictures:
        """Pictures (B K) of planes as cameras see them, samples along rays jittered."""
        synthesis, whole = self.generator.synthesis, self.config.batch
        jitter = Jitter.draw(
            whole * views, size**2, synthesis.config.volume, self.rng(f"rays/{key}")
        )
        # all of a subject's views go to the same process
        coarse, fine = (self.share(x.unflatten(0, (whole, views))).flatten(0, 1) for x in jitter)
        volume = synthesis.render(planes, cameras, volume_size=size, rng=Jitter(coarse, fine))
        return Pictures(synthesis.upscale(volume.features, w), volume)

    def _draw_cameras(self, key: str, *, together: bool = False) -> tuple[Tensor, Tensor]:
        """Cameras (B, 25) that samples are seen by, and those that the generator is told."""
        images, batch, rng = self.images, self.config.batch, self.rng(f"cameras/{key}")
        cameras = images.cameras[torch.randint(len(images), (batch,), generator=rng)]
        cameras = torch.where(self._coin(key), mirrored(cameras), cameras)
        told = swapped(cameras, self._swap, self.rng(f"swap/{key}"), together=together)
        cameras, told = self.share((cameras, told))
        return cameras.to(self.device), told.to(self.device)

    def _coin(self, key: str) -> Tensor:
        """(B, 1) of the whole batch: which samples are mirrored."""
        drawn = torch.rand(self.config.batch, 1, generator=self.rng(f"mirror/{key}"))
        return (drawn < 0.5) & torch.tensor(self.config.data.mirror)

    def _draw_z(self, key: str) -> Tensor:
        z = sample_z(self.config.batch, self.generator.z_dim, self.rng(f"z/{key}"))
        return self.share(z).to(self.device)

    def _noise(self, key: str) -> list[Tensor]:
        rng, sizes = self.rng(f"noise/{key}"), self.generator.synthesis.backbone.noise_sizes
        maps = [torch.randn(self.config.batch, 1, size, size, generator=rng) for size in sizes]
        return [noise.to(self.device) for noise in self.share(maps)]

    def _refresh_statistics(self) -> None:
        """Set mean and deviation of w over latents and the cameras of the data."""
        rng = self.rng("w/cameras")
        cameras = self.images.cameras
        labels = cameras[torch.randint(len(cameras), (W_SAMPLES,), generator=rng)]
        for generator in (self.generator, self.generator_ema):
            update_w_statistics(generator, self.rng("w"), W_SAMPLES, labels)
