"""State of a run: frozen teacher, five networks, instances and projected samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.names import teacher_hash
from gan3d_bench.generators.stylegan2.discriminator import Discriminator
from gan3d_bench.generators.stylegan2.generator import Mapping as MappingNetwork
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.geometry.views import View
from gan3d_bench.losses.perceptual import PerceptualLoss, build_perceptual
from gan3d_bench.methods.gan2shape.checkpoint import ENTRIES, States, read_start
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.data import load_instances
from gan3d_bench.methods.gan2shape.factors import (
    OFFICIAL_NORMAL_EPSILON,
    Factors,
    light_from_raw,
    view_from_raw,
)
from gan3d_bench.methods.gan2shape.latents import LatentOffset, Latents
from gan3d_bench.methods.gan2shape.losses import Reconstruction, photogeometric
from gan3d_bench.methods.gan2shape.networks import (
    AutoEncoder,
    InstanceNetwork,
    OffsetEncoder,
    Regressor,
)
from gan3d_bench.methods.gan2shape.sampling import load_statistics
from gan3d_bench.methods.phases import PhasedMethod
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals
from gan3d_bench.rendering.images import frame
from gan3d_bench.rendering.shading import LambertLight


class GAN2ShapeModel(PhasedMethod):
    """Networks, teacher and buffers, and what one forward pass of them gives.

    N instances are trained in groups of at most K. With independent weights, instance i of a
    group has slot i of every network; with shared weights there is one slot.

    Raises:
        UserError: the teacher or the perceptual network is missing or does not fit the config.
    """

    config: GAN2ShapeConfig
    depth_net: InstanceNetwork
    albedo_net: InstanceNetwork
    view_net: InstanceNetwork
    light_net: InstanceNetwork
    encoder: InstanceNetwork
    targets: Tensor  # (N, 3, S, S)
    originals: Tensor  # (N, 3, T, T) uint8
    masks: Tensor  # (N, 1, S, S), or (0, 1, S, S) without masks
    loaded: Tensor
    view_mean: Tensor  # (6,) raw
    light_mean: Tensor  # (4,) raw
    w_deviation: Tensor
    projected: Tensor  # (K, P, 3, S, S) float16, of the current group
    projected_masks: Tensor  # (K, P, 1, S, S) bool
    directions: Tensor  # (w_dim, 10) offsets of w for raw views and lights, of the warm-up
    group_index: Tensor
    fitted: Tensor  # (N,) bool: whether the factors below are there
    fitted_depth: Tensor  # (N, 1, S, S)
    fitted_albedo: Tensor  # (N, 3, S, S)
    fitted_view: Tensor  # (N, 6) raw, mean added
    fitted_light: Tensor  # (N, 4) raw, mean added

    def __init__(self, config: GAN2ShapeConfig) -> None:
        super().__init__(config)
        teacher = load_teacher(config.teacher, self.whole_size)
        generator = teacher.generator
        if teacher.discriminator is None and config.projection == "discriminator":
            raise UserError(
                f"projection=discriminator: teacher={config.teacher} has none; expected "
                "projection=perceptual"
            )
        self._check_teacher(generator)
        self.frozen["generator"] = generator
        if teacher.discriminator is not None:
            self.frozen["discriminator"] = teacher.discriminator
        self.camera = PinholeCamera(config.image_size)
        for name, network in self._networks(config.group_size).items():
            setattr(self, name, network)
        n, k, s = config.instances, config.group_size, config.image_size
        p = config.samples_per_instance
        self.latents = Latents(n, generator.w_dim)
        buffers = {
            "targets": torch.zeros(n, 3, s, s),
            "originals": torch.zeros(
                n, 3, generator.image_size, generator.image_size, dtype=torch.uint8
            ),
            "masks": torch.zeros(n if config.masks else 0, 1, s, s),
            "loaded": torch.zeros((), dtype=torch.bool),
            "view_mean": torch.zeros(6),
            "light_mean": torch.zeros(4),
            "w_deviation": torch.zeros(()),
            "projected": torch.zeros(k, p, 3, s, s, dtype=torch.float16),
            "projected_masks": torch.zeros(k, p, 1, s, s, dtype=torch.bool),
            "directions": torch.zeros(generator.w_dim, 10),
            "group_index": torch.zeros((), dtype=torch.int64),
            "fitted": torch.zeros(n, dtype=torch.bool),
            "fitted_depth": torch.ones(n, 1, s, s),
            "fitted_albedo": torch.zeros(n, 3, s, s),
            "fitted_view": torch.zeros(n, 6),
            "fitted_light": torch.zeros(n, 4),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)
        self._cache: dict[tuple[int, str], Any] = {}

    @property
    def whole_size(self) -> int:
        """Side of whole images of the teacher, before the crop."""
        return self.config.original_size if self.config.crop else self.config.image_size

    def _check_teacher(self, generator: Generator) -> None:
        if self.config.image_size > generator.image_size:
            raise UserError(
                f"image_size={self.config.image_size}: expected at most {generator.image_size}, "
                f"the size of the images of teacher={self.config.teacher}"
            )
        if not isinstance(generator.mapping, MappingNetwork):
            raise UserError(
                f"teacher={self.config.teacher}: expected StyleGAN's mapping network, of which F1 "
                "is a part"
            )
        layers, depth = len(generator.mapping.layers), self.config.offset.depth
        if not 0 <= depth <= layers:
            raise UserError(
                f"offset.depth={depth}: expected 0 to {layers}, the layers of the teacher's "
                "mapping network"
            )

    def _networks(self, instances: int) -> dict[str, InstanceNetwork]:
        """Fresh networks for a number of instances, by attribute name."""
        size, width = self.config.image_size, self.config.width
        teacher = self.generator
        whole = self.config.offset.depth == len(self.mapping.layers)
        mapped = self.config.offset.regularise == "mapping"
        code = teacher.z_dim if mapped and whole else teacher.w_dim
        shape, pose = width.shape or None, width.pose or None

        def copies(network: str) -> int:
            shared = self.config.weights == "shared" or network in self.config.share
            return 1 if shared else instances

        return {
            "depth_net": AutoEncoder(size, 1, width=shape, instances=copies("depth")),
            "albedo_net": AutoEncoder(size, 3, width=shape, tanh=True, instances=copies("albedo")),
            "view_net": Regressor(size, 6, width=pose, instances=copies("view")),
            "light_net": Regressor(size, 4, width=pose, instances=copies("light")),
            "encoder": OffsetEncoder(
                size, code, width=width.encoder or None, instances=copies("encoder")
            ),
        }

    # -- frozen networks ------------------------------------------------------------------------

    @property
    def generator(self) -> Generator:
        return self.frozen["generator"]  # type: ignore[return-value]

    @property
    def mapping(self) -> MappingNetwork:
        return self.generator.mapping  # type: ignore[return-value]

    @property
    def projection_discriminator(self) -> Discriminator | None:
        """Whose features compare pseudo and projected samples; None: the perceptual loss does."""
        if self.config.projection == "perceptual":
            return None
        return self.frozen["discriminator"]  # type: ignore[return-value]

    def perceptual(self, name: str = "") -> PerceptualLoss:
        """The perceptual loss called `name` (by default the run's), built once.

        Raises:
            UserError: its asset is missing.
        """
        name = name or self.config.perceptual
        key = f"perceptual {name}"
        if key not in self.frozen:
            loss = build_perceptual(name, self.frozen.get("discriminator"))  # type: ignore[arg-type]
            self.frozen[key] = loss.to(self.device)  # type: ignore[attr-defined]
        return self.frozen[key]  # type: ignore[return-value]

    # -- loading --------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Load instances and statistics, unless a checkpoint has brought them.

        Raises:
            UserError: something the config names is missing or damaged.
        """
        for name in {self.config.perceptual, self.config.inversion.perceptual} - {""}:
            self.perceptual(name)
        if self.loaded:
            return
        config = self.config
        instances = load_instances(config, self.generator)
        self.targets.copy_(instances.images)
        self.originals.copy_(instances.originals)
        if instances.masks is not None:
            self.masks.copy_(instances.masks)
        if instances.latents is not None:
            self.latents.w.data.copy_(instances.latents)
        self.view_mean.copy_(load_statistics(config.view.statistics, 6).mean)
        self.light_mean.copy_(load_statistics(config.light.statistics, 4).mean)
        self.initial_states  # noqa: B018  (read now, so that a wrong `start` is found now)
        self.loaded.fill_(True)

    @functools.cached_property
    def initial_states(self) -> States:
        """Weights every slot starts from, by attribute name."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            networks = self._networks(1)
        if self.config.start:
            return read_start(self.config.start, networks)
        return {name: network.state_dict() for name, network in networks.items()}

    def reset_networks(self) -> None:
        """Return all networks to the start."""
        for name in ENTRIES.values():
            getattr(self, name).load_each(self.initial_states[name])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._cache.clear()

    # -- groups and shards ----------------------------------------------------------------------

    @property
    def groups(self) -> list[range]:
        """Instances trained at once, group by group."""
        n, k = self.config.instances, self.config.group_size
        return [range(start, min(start + k, n)) for start in range(0, n, k)]

    def slots(self, instances: Sequence[int]) -> list[int]:
        """Positions of instances in their group."""
        return [i % self.config.group_size for i in instances]

    def instance_rng(self, key: str, instance: int, step: int | None = None) -> torch.Generator:
        """Random generator of one instance and step (of the phase), whatever its group.

        The same on every process, and the same in a run of this instance alone.
        """
        phase = "" if self.finished else self.phase.name.removeprefix(self.group_prefix)
        key = f"{key}/{phase}/{self.config.first + instance}"
        return self.rng(key, self.phase_step if step is None else step)

    @property
    def group_prefix(self) -> str:
        """What the names of the current group's phases begin with."""
        return group_prefix(int(self.group_index), len(self.groups))

    def cached(self, key: str, compute: Callable[[], Any]) -> Any:
        """A value that does not change within the current phase, computed once."""
        place = (self.phase_index, key)
        if place not in self._cache:
            self._cache = {k: v for k, v in self._cache.items() if k[0] == self.phase_index}
            self._cache[place] = compute()
        return self._cache[place]

    # -- forward passes -------------------------------------------------------------------------

    @property
    def normal_epsilon(self) -> float:
        return OFFICIAL_NORMAL_EPSILON if self.config.compat.normal_epsilon else 0.0

    def raw_view(self, images: Tensor, slots: Sequence[int]) -> Tensor:
        """Raw views (B, 6) of images, instance-major, mean added."""
        return self.view_net(images, slots).float() + self.view_mean

    def raw_light(self, images: Tensor, slots: Sequence[int]) -> Tensor:
        """Raw lights (B, 4) of images, instance-major, mean added."""
        return self.light_net(images, slots).float() + self.light_mean

    def factors(self, images: Tensor, slots: Sequence[int]) -> Factors:
        """The four factors of one image a slot (or any images with shared weights)."""
        return Factors.from_raw(
            self.depth_net(images, slots),
            self.albedo_net(images, slots),
            self.raw_view(images, slots),
            self.raw_light(images, slots),
            camera=self.camera,
            normal_epsilon=self.normal_epsilon,
        )

    def fitted_factors(self, instances: Sequence[int]) -> Factors:
        """Stored factors of instances whose training has ended."""
        index = list(instances)
        depth = self.fitted_depth[index]
        return Factors(
            depth,
            self.fitted_albedo[index],
            depth_normals(depth, self.camera, epsilon=self.normal_epsilon),
            view_from_raw(self.fitted_view[index]),
            light_from_raw(self.fitted_light[index]),
        )

    def render(
        self, factors: Factors, view: View | None = None, light: LambertLight | None = None
    ) -> Reconstruction:
        """Re-render factors at their own view and light, or at others."""
        return photogeometric(
            factors.depth,
            factors.albedo,
            factors.normal,
            view or factors.view,
            light or factors.light,
            self.camera,
            supersample=self.config.supersample,
            half_pixel=self.config.compat.half_pixel,
        )

    def generated(self, w: Tensor) -> Tensor:
        """Images (B, 3, S, S) of stylecodes (B, w_dim) in the frame of the targets."""
        return self.framed(self.generator.synthesis(w).float().clamp(-1, 1))

    def framed(self, pictures: Tensor) -> Tensor:
        """See `Method.framed`: the centre crop that `crop` asks for."""
        config = self.config
        return frame(pictures, config.image_size, config.crop, config.original_size)

    @property
    def offset(self) -> LatentOffset:
        """Codes of E to offsets of w."""
        config = self.config.offset
        depth = config.depth if config.regularise == "mapping" else None
        return LatentOffset(self.mapping, depth)

    def project(
        self, pseudo: Tensor, w: Tensor, reference: Tensor, slots: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Project pseudo samples onto the image manifold (eq. 2).

        Args:
            pseudo: (k * m, 3, S, S), m samples an instance.
            w: (k, w_dim) stylecodes of the instances.
            reference: (k, 3, S, S) generated targets G(w).
            slots: the k instances' slots.

        Returns:
            projected samples (k * m, 3, S, S) in [-1, 1] and offsets (k * m, w_dim).
        """
        offset = self.find_offset(pseudo, reference, slots)
        return self.generated(w.repeat_interleave(len(pseudo) // len(w), 0) + offset), offset

    def find_offset(self, pseudo: Tensor, reference: Tensor, slots: Sequence[int]) -> Tensor:
        """The offsets (k * m, w_dim) of `project`, without what they generate."""
        code = self.encoder(pseudo, slots)
        if not self.config.offset.relative:
            return self.offset(code)
        centre = self.encoder(reference, slots)
        return self.offset(code, centre.repeat_interleave(len(pseudo) // len(reference), 0))

    def extra_metadata(self) -> Mapping[str, Any]:
        """The teacher, with its hash, and the perceptual network."""
        return {
            "teacher": self.config.teacher,
            "teacher_sha256": teacher_hash(self.config.teacher),
            "perceptual": self.config.perceptual,
            "data": f"{self.config.data} {self.config.split}".strip(),
        }


def group_prefix(index: int, groups: int) -> str:
    """What the names of a group's phases begin with."""
    return f"group {index + 1}/{groups}, " if groups > 1 else ""
