"""Pictures whose codes are known, for the warm start: the generator's own subjects, made once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from gan3d_bench.distributed.processes import rank_and_size, share
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.methods.wtri.inverter import Inverter
from gan3d_bench.progress import tracked


@dataclass(frozen=True)
class KnownPictures:
    """What each of C cameras sees of G subjects of its own and, last, of the average.

    Of two pictures by the same camera the difference of their codes is known, whichever of them is
    the target and whichever what has been made so far: G + 1 pictures make G^2 such pairs.

    Attributes:
        pictures: (C, G + 1, 3, S, S), as the encoder sees them.
        codes: (C, G + 1, count, w_dim).
    """

    pictures: Tensor
    codes: Tensor

    @classmethod
    @torch.no_grad()
    def make(
        cls, inverter: Inverter, start: Tensor, cameras: Tensor, group: int, rng: torch.Generator
    ) -> KnownPictures:
        """Make them; processes share the cameras out, and all of them get all pictures.

        Args:
            inverter: of the generator.
            start: (count, w_dim) codes of the average.
            cameras: (C, 25).
            group: G.
            rng: draws the subjects.
        """
        generator = inverter.generator
        frontal = generator.config.orbit.frontal(group).to(start)
        latents = sample_z(len(cameras) * group, generator.z_dim, rng).unflatten(0, (-1, group))
        own, codes = [], []
        # a camera at a time: a picture is the same to the bit, whoever makes it
        mine = list(zip(share(latents), share(cameras), strict=True))
        first = rank_and_size()[0] == 0
        for z, camera in tracked(mine, "making pictures", len(mine)) if first else mine:
            w = generator.mapping(z.to(start), frontal)
            codes.append(torch.cat((w[:, None].expand(-1, len(start), -1), start[None])))
            own.append(inverter.picture(codes[-1], camera.expand(group + 1, -1).to(start)))
        size = inverter.image_size
        return cls(
            _all(own, (len(cameras), group + 1, 3, size, size), start),
            _all(codes, (len(cameras), group + 1, *start.shape), start),
        )

    def pairs(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw pairs: cameras, targets and what has been made so far, (count,) each.

        The latter is the average in one half, another subject in the other.
        """
        cameras, subjects = self.pictures.shape[0], self.pictures.shape[1] - 1
        camera = torch.randint(cameras, (count,), generator=rng)
        target = torch.randint(subjects, (count,), generator=rng)
        step = torch.randint(1, max(2, subjects), (count,), generator=rng)
        average = torch.rand(count, generator=rng) < 0.5
        return camera, target, torch.where(average, subjects, (target + step) % subjects)


def _all(own: list[Tensor], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Put together what every process has made of its share."""
    rank, processes = rank_and_size()
    whole = like.new_zeros(shape)
    if own:
        whole[rank::processes] = torch.stack(own)
    if processes > 1:
        dist.all_reduce(whole)  # sums with zeros: nothing is rounded
    return whole
