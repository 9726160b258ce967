"""Pictures whose codes are known, for the warm start: the generator's own subjects, made once."""

from __future__ import annotations

from collections.abc import Callable
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
    """What each of C cameras sees of P codes.

    Of two pictures by the same camera the difference of their codes is known, whichever of them is
    the target and whichever what has been made so far.

    Attributes:
        pictures: (C, P, 3, S, S), as the encoder sees them.
        codes: (C, P, count, w_dim).
    """

    pictures: Tensor
    codes: Tensor

    @classmethod
    @torch.no_grad()
    def make(cls, inverter: Inverter, codes: Tensor, cameras: Tensor) -> KnownPictures:
        """Make the pictures; processes share the cameras out, and all of them get everything.

        Args:
            inverter: of the generator.
            codes: (C, P, count, w_dim).
            cameras: (C, 25).
        """
        # a camera at a time: a picture is the same to the bit, whoever makes it
        mine = list(zip(share(codes), share(cameras.to(codes)), strict=True))
        first = rank_and_size()[0] == 0
        own = [
            inverter.picture(each, camera.expand(len(each), -1))
            for each, camera in (tracked(mine, "making pictures", len(mine)) if first else mine)
        ]
        size = inverter.image_size
        return cls(_all(own, (*codes.shape[:2], 3, size, size), codes), codes)


@torch.no_grad()
def subject_codes(
    inverter: Inverter, count: int, cameras: int, group: int, rng: torch.Generator
) -> Tensor:
    """Draw codes (cameras, group, count, w_dim) of the generator's subjects, one for all layers."""
    generator = inverter.generator
    frontal = generator.config.orbit.frontal(group)
    latents = sample_z(cameras * group, generator.z_dim, rng).unflatten(0, (-1, group))
    device = generator.w_mean.device
    w = torch.stack([generator.mapping(z.to(device), frontal.to(device)) for z in latents])
    return w[:, :, None].expand(-1, -1, count, -1)


@dataclass(frozen=True)
class KnownPairs:
    """Pairs of a subject and what an encoder is shown beside it: the average, or a guess.

    From the average an encoder learns to tell who is seen; from guesses, which are right in parts
    as its own are, to tell what is still wrong.

    Attributes:
        subjects: G of each camera.
        guesses: a guess of each of them, by the same cameras.
        average: the average, by the same cameras.
    """

    subjects: KnownPictures
    guesses: KnownPictures
    average: KnownPictures

    @classmethod
    @torch.no_grad()
    def make(
        cls,
        inverter: Inverter,
        subjects: KnownPictures,
        start: Tensor,
        cameras: Tensor,
        guess: Callable[[Tensor], Tensor],
    ) -> KnownPairs:
        """Make the pictures beside those of subjects.

        Args:
            inverter: of the generator.
            subjects: (C, G) of them.
            start: (count, w_dim) codes of the average.
            cameras: (C, 25).
            guess: pictures (B, 3, S, S) -> (B, w_dim) what their codes might be.
        """
        count = len(start)
        codes = torch.stack([guess(each) for each in subjects.pictures])
        guesses = codes[:, :, None].expand(-1, -1, count, -1)
        average = start.expand(len(cameras), 1, -1, -1)
        made = KnownPictures.make(inverter, torch.cat((guesses, average), 1), cameras)
        parts = [
            KnownPictures(made.pictures[:, part], made.codes[:, part])
            for part in (slice(None, -1), slice(-1, None))
        ]
        return cls(subjects, *parts)

    def draw(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw pairs, (count,) each: cameras, subjects, and whether a guess stands beside them."""
        cameras, subjects = self.subjects.pictures.shape[:2]
        camera = torch.randint(cameras, (count,), generator=rng)
        subject = torch.randint(subjects, (count,), generator=rng)
        return camera, subject, torch.rand(count, generator=rng) < 0.5

    def pairs(
        self, camera: Tensor, subject: Tensor, guessed: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What was drawn: targets and what stands beside them (B, 3, S, S), and their codes."""

        def beside(name: str) -> Tensor:
            guess = getattr(self.guesses, name)[camera, subject]
            average = getattr(self.average, name)[camera, 0]
            chosen = guessed.to(guess.device).view(-1, *[1] * (guess.ndim - 1))
            return torch.where(chosen, guess, average)

        targets = self.subjects.pictures[camera, subject], self.subjects.codes[camera, subject]
        return targets[0], beside("pictures"), targets[1], beside("codes")


def _all(own: list[Tensor], shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Put together what every process has made of its share."""
    rank, processes = rank_and_size()
    whole = like.new_zeros(shape)
    if own:
        whole[rank::processes] = torch.stack(own)
    if processes > 1:
        dist.all_reduce(whole)  # sums with zeros: nothing is rounded
    return whole
