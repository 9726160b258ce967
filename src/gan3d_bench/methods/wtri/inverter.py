"""The encoder E and how it is used: codes, refined by what is still wrong with their picture.

Source: Oh and Jo (W_tri), section 3.2; Alaluf et al. 2021 (ReStyle), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gan3d_bench.distributed.batch_norm import share_statistics
from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.volume import Jitter
from gan3d_bench.generators.encoders import BackboneEncoder, GradualStyleEncoder, MapToStyle
from gan3d_bench.generators.names import teacher_names
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.methods.wtri.codes import CodeSpace
from gan3d_bench.methods.wtri.config import WTRI, EncoderConfig, WTriConfig
from gan3d_bench.methods.wtri.offsets import PlaneOffsets
from gan3d_bench.rendering.images import resize


class Encoder(nn.Module):
    """Pictures and what has been made of them so far -> what is to be added to their codes.

    In W_tri the super-resolution's code has an encoder of its own: one code of a feature pyramid's
    finest level.

    Args:
        space: of the codes.
        w_dim: of a code.
        config: sizes of the networks.
    """

    def __init__(self, space: CodeSpace, w_dim: int, config: EncoderConfig) -> None:
        super().__init__()
        sizes = {
            "w_dim": w_dim,
            "image_size": config.image_size,
            "width": config.width,
            "depths": config.depths,
            "output_rate": config.output_rate,
        }
        separate = space.kind == WTRI
        self.backbone = BackboneEncoder(space.count - separate, **sizes)
        self.upscaling = None
        if separate:
            self.upscaling = GradualStyleEncoder(1, levels=[config.level], **sizes)
        if config.zero_output:
            for module in self.modules():
                if isinstance(module, MapToStyle):
                    nn.init.zeros_(module.linear.weight)
        share_statistics(self)

    def forward(self, targets: Tensor, made: Tensor) -> Tensor:
        """Pictures (B, 3, S, S), both in [-1, 1] and of `image_size` -> (B, count, w_dim)."""
        pictures = torch.cat((targets, made), 1)
        codes = self.backbone(pictures)
        return codes if self.upscaling is None else torch.cat((codes, self.upscaling(pictures)), 1)

    def take(self, trunk: dict[str, Tensor], rng: torch.Generator) -> None:
        """Start from the weights of a face recognition network, as released.

        The first convolution's channels of what was made are drawn from N(0, 1), unscaled.

        Args:
            trunk: of `IRSEEmbedding`, of this trunk's size.
            rng: draws those channels.

        Raises:
            RuntimeError: of another size.
        """
        own = {k: v for k, v in trunk.items() if k.startswith(("input_layer.", "body."))}
        first = own["input_layer.0.weight"]
        for encoder in (self.backbone, self.upscaling):
            if encoder is not None:
                drawn = torch.randn(first.shape, generator=rng)
                own["input_layer.0.weight"] = torch.cat((first, drawn), 1)
                encoder.load_state_dict(own, strict=False)


class Inverter:
    """A frozen generator, and the encoder that inverts it.

    Args:
        encoder: E.
        generator: EG3D.
        space: of the codes.
        image_size: S of the pictures that the encoder and the losses see, `seen` of larger ones.
        volume_size: side of the volume's picture; None for the generator's own.
        offsets: adds to the planes of the last codes; None: nothing is added.
    """

    def __init__(
        self,
        encoder: Encoder,
        generator: EG3DGenerator,
        space: CodeSpace,
        image_size: int,
        volume_size: int | None = None,
        offsets: PlaneOffsets | None = None,
    ) -> None:
        self.encoder, self.generator, self.space = encoder, generator, space
        self.image_size, self.volume_size = image_size, volume_size
        self.offsets = offsets

    def seen(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, T, T) at the size that encoder and losses work at, by means."""
        return resize(pictures, self.image_size)

    def picture(self, codes: Tensor, cameras: Tensor, jitter: Jitter | None = None) -> Tensor:
        """What cameras (B, 25) see of codes (B, count, w_dim), as of `seen`; with gradients."""
        planes = self.space.planes(self.generator.synthesis, codes)
        return self.look(planes, codes, cameras, jitter)

    def look(
        self, planes: Tensor, codes: Tensor, cameras: Tensor, jitter: Jitter | None = None
    ) -> Tensor:
        """What cameras (B, 25) see of planes, by the codes' super-resolution; see `picture`."""
        synthesis = self.generator.synthesis
        volume = synthesis.render(planes, cameras, volume_size=self.volume_size, rng=jitter)
        return self.seen(synthesis.upscale(volume.features, codes[:, -1]))

    def final_planes(self, targets: Tensor, codes: Tensor, made: Tensor) -> Tensor:
        """Planes (B, 3, C, P, P) of the last codes, and what is added to them.

        Args:
            targets: (B, 3, S, S) in [-1, 1], as of `seen`.
            codes: (B, count, w_dim) that refinement ended with.
            made: their picture, like the targets.
        """
        planes = self.space.planes(self.generator.synthesis, codes)
        if self.offsets is None:
            return planes
        return planes + self.offsets(targets, made.detach(), planes.detach())

    def steps(
        self,
        targets: Tensor,
        cameras: Tensor,
        start: Tensor,
        count: int,
        jitters: Sequence[Jitter] | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Refine codes step by step (ReStyle, Eq. 3): ``w_t = w_(t-1) + E([x, y_(t-1)])``.

        What a step starts from is cut from the graph, so that each has a backward pass of its own.

        Args:
            targets: (B, 3, S, S) in [-1, 1], as of `seen`.
            cameras: (B, 25) that they were taken by.
            start: (count, w_dim) codes of the average subject, whose picture is the first y.
            count: of steps.
            jitters: where samples lie along rays, for the first picture and each step's; None:
                in the middle of their bins.

        Yields:
            codes (B, count, w_dim) and their pictures (B, 3, S, S).
        """
        codes = start.expand(len(targets), -1, -1)
        with torch.no_grad():
            made = self.picture(codes, cameras, None if jitters is None else jitters[0])
        for step in range(count):
            codes = codes.detach() + self.encoder(targets, made.detach())
            made = self.picture(codes, cameras, None if jitters is None else jitters[step + 1])
            yield codes, made

    def encode_again(self, codes: Tensor, cameras: Tensor, start: Tensor, count: int = 1) -> Tensor:
        """``E(G(w, p))`` of Eq. 3: codes found in what other cameras see of codes.

        Found from the average, as those of a photograph are; nothing is cut from the graph but the
        pictures that are compared with. Were the picture itself the first y, no change at all
        would solve the cycle.

        Args:
            codes: (B, count, w_dim).
            cameras: (B, 25), p.
            start: (count, w_dim).
            count: of steps.

        Returns:
            (B, count, w_dim).
        """
        targets = self.picture(codes, cameras)
        found = start.expand(len(codes), -1, -1)
        for _ in range(count):
            with torch.no_grad():
                made = self.picture(found.detach(), cameras)
            found = found + self.encoder(targets, made)
        return found


def load_eg3d(config: WTriConfig) -> EG3DGenerator:
    """Return the teacher; a path alone is one of EG3D's family.

    Raises:
        UserError: missing, damaged, another generator, or images of another size.
    """
    name = config.teacher
    if name not in teacher_names() and ":" not in name:
        name = f"eg3d:{name}"
    generator = load_teacher(name, config.image_size, conditional=True).generator
    if not isinstance(generator, EG3DGenerator):
        raise UserError(f"teacher={config.teacher}: a {type(generator).__name__}, expected EG3D")
    if generator.image_size != config.image_size:
        raise UserError(
            f"image_size={config.image_size}: expected {generator.image_size}, the size of the "
            f"images of teacher={config.teacher}"
        )
    return generator
