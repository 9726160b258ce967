"""One step of training a generator against a discriminator.

The updates and their order are those of stylegan2-ada-pytorch, training/loss.py and
training/training_loop.py: discriminator, its R1 penalty, generator, its path-length penalty, each a
descent of its own, the penalties only every so many updates and weighted accordingly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from gan3d_bench.adversarial import augment as ada
from gan3d_bench.adversarial import losses
from gan3d_bench.adversarial.config import AdversarialConfig, AugmentConfig, PathLengthConfig
from gan3d_bench.distributed.processes import mean_over_processes, rank_and_size, share

Scalars = dict[str, Tensor]
Made = TypeVar("Made", bound="Samples")
"""What `fakes` makes and `terms` is given; a subclass may carry more."""


@dataclass(frozen=True)
class Samples:
    """Images that the discriminator judges in one call, of this process.

    Attributes:
        images: (B, C, S, S), RGB in [-1, 1], any number of channels (`augment.apply` says which
            are tinted). Or a tuple of such, of any sides, which the discriminator takes together
            (dual discrimination); its sides then take part in the R1 penalty one by one.
        labels: (B, L) what the discriminator is told beside them (a camera); None: nothing.
        weight: of these samples' losses, where several views are judged.
    """

    images: Tensor | tuple[Tensor, ...]
    labels: Tensor | None = None
    weight: float = 1.0

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The images as a tuple, also where they are one tensor."""
        return (self.images,) if isinstance(self.images, Tensor) else self.images

    def call(self, discriminator: Callable[..., Tensor], parts: Sequence[Tensor]) -> Tensor:
        """Logits (B, 1) of these samples, with `parts` in the place of their images."""
        images = parts[0] if isinstance(self.images, Tensor) else tuple(parts)
        if self.labels is None:
            return discriminator(images)
        return discriminator(images, self.labels)


class Host(Protocol):
    """What a step needs of the training it is part of; a `PhasedMethod` is such."""

    @property
    def phase_step(self) -> int:
        """Step of the phase, from 0."""
        ...

    def descend(self, terms: Mapping[str, Tensor], name: str, /) -> Scalars:
        """Take a step down the terms' sum with the optimiser of that name; return the terms."""
        ...

    def rng(self, key: str, /) -> torch.Generator:
        """Return a CPU generator that depends on the seed, the step and the key."""
        ...


class AdversarialStep(nn.Module):
    """The updates of one step, and what they carry over to the next (in buffers).

    The phase must have optimisers named ``generator`` and ``discriminator``. Every process works on
    its `share` of a batch that is drawn as a whole, in equal parts.

    Attributes:
        augment_p: () probability of each augmentation.
        sign_sum: () sum of the mean signs of D(real) since the last adjustment of `augment_p`.
        path_mean: () moving average of the path lengths.

    Args:
        config: rates of the updates and weight of R1.
        batch: images a step, over all processes.
        augment: adaptive augmentation of what the discriminator sees; None: none.
        path: path-length regularisation; None: none.
    """

    augment_p: Tensor
    sign_sum: Tensor
    path_mean: Tensor

    def __init__(
        self,
        config: AdversarialConfig,
        batch: int,
        augment: AugmentConfig | None = None,
        path: PathLengthConfig | None = None,
    ) -> None:
        super().__init__()
        self.config, self.batch = config, batch
        self.augment = augment if augment and augment.enabled else None
        self.path = path if path and path.path_weight > 0 else None
        self.register_buffer("augment_p", torch.zeros((), dtype=torch.float64))
        self.register_buffer("sign_sum", torch.zeros((), dtype=torch.float64))
        self.register_buffer("path_mean", torch.zeros(()))

    def run(
        self,
        host: Host,
        discriminator: nn.Module,
        *,
        reals: Callable[[], Sequence[Samples]],
        fakes: Callable[[str], Sequence[Made]],
        terms: Callable[[Sequence[Made]], Mapping[str, Tensor]] | None = None,
        path: Callable[[int], tuple[Tensor, Tensor]] | None = None,
    ) -> Scalars:
        """Do the updates that are due at this step of the phase.

        Args:
            host: the training this is part of.
            discriminator: called with images, and labels where the samples have any; gives
                logits (B, 1). Its gradients are off while the generator trains.
            reals: what is real, one entry for each view that is judged. Called where the
                discriminator is due.
            fakes: makes images, one entry for each view. Called with the key ``"d"`` (without
                gradient) or ``"g"``, for random numbers that differ.
            terms: further weighted loss terms of the generator's descent (reconstruction,
                regularisers), given what `fakes` has just made.
            path: makes that many images (N, C, S, S), and the stylecodes (N, num_ws, w_dim) they
                depend on, with gradient. Needed where there is path-length regularisation.

        Returns:
            scalars for the log, of the updates that were done.
        """
        config, step = self.config, host.phase_step
        scalars: Scalars = {}
        update, rest = divmod(step, config.discriminator_every)
        discriminator_due = not rest
        if discriminator_due:
            real = reals()
            scalars |= self.update_discriminator(host, discriminator, real, fakes)
            if config.gamma > 0 and update % config.r1_interval == 0:
                scalars |= self.penalise_discriminator(host, discriminator, real)
        if step >= config.delay and step % config.generator_every == 0:
            scalars |= self.update_generator(host, discriminator, fakes, terms)
            due = step // config.generator_every
            if self.path is not None and due % self.path.path_interval == 0:
                if path is None:
                    raise ValueError("path-length regularisation without `path` to make images")
                scalars |= self.penalise_paths(host, self.path, path)
        if self.augment is not None:
            if discriminator_due and (update + 1) % self.augment.every == 0:
                self._adapt(self.augment)
            scalars["augment_p"] = self.augment_p.clone()
        return scalars

    # -- updates --------------------------------------------------------------------------------

    def update_discriminator(
        self,
        host: Host,
        discriminator: nn.Module,
        reals: Sequence[Samples],
        fakes: Callable[[str], Sequence[Samples]],
    ) -> Scalars:
        """Let the discriminator tell real from generated images."""
        with torch.no_grad():
            made = fakes("d")
        fake_logits = self._judge(host, discriminator, made, "fake")
        real_logits = self._judge(host, discriminator, reals, "real")
        loss = _weighted(losses.called_real, reals, real_logits)
        loss = loss + _weighted(losses.called_fake, made, fake_logits)
        signs = torch.cat([logits.detach() for logits in real_logits]).sign().double().mean()
        signs = mean_over_processes(signs)
        self.sign_sum += signs
        return {**host.descend({"d": loss}, "discriminator"), "real_sign": signs}

    def penalise_discriminator(
        self, host: Host, discriminator: nn.Module, reals: Sequence[Samples]
    ) -> Scalars:
        """R1: keep the discriminator flat at real images; in float32."""
        device = reals[0].parts[0].device
        with torch.autocast(device.type, enabled=False):
            penalties = []
            for index, samples in enumerate(reals):
                seen = self._augmented(host, samples.parts, _key("real", index))
                leaves = [images.detach().requires_grad_() for images in seen]
                logits = samples.call(discriminator, leaves)
                penalties.append(samples.weight * losses.r1_penalty(logits, leaves))
            penalty = torch.stack(penalties).sum()
            weight = self.config.gamma / 2 * self.config.r1_interval
            host.descend({"r1": penalty * weight}, "discriminator")
        return {"r1": penalty.detach()}

    def update_generator(
        self,
        host: Host,
        discriminator: nn.Module,
        fakes: Callable[[str], Sequence[Made]],
        terms: Callable[[Sequence[Made]], Mapping[str, Tensor]] | None = None,
    ) -> Scalars:
        """Let the generator be taken for real, with its further terms."""
        with without_gradients(discriminator):
            made = fakes("g")
            logits = self._judge(host, discriminator, made, "g")
            loss = {"g": _weighted(losses.called_real, made, logits)}
            if terms is not None:
                loss |= terms(made)
            return host.descend(loss, "generator")

    def penalise_paths(
        self,
        host: Host,
        config: PathLengthConfig,
        make: Callable[[int], tuple[Tensor, Tensor]],
    ) -> Scalars:
        """Keep the lengths of the generator's Jacobians near their average; in float32."""
        count = max(1, self.batch // rank_and_size()[1] // config.path_shrink)
        with torch.autocast(self.path_mean.device.type, enabled=False):
            images, ws = make(count)
            rng = host.rng("direction")
            direction = share(torch.randn(self.batch, *images.shape[1:], generator=rng))[:count]
            lengths = losses.path_lengths(images, ws, direction.to(images.device))
            average = mean_over_processes(lengths.mean())
            penalty, mean = losses.path_penalty(lengths, self.path_mean, config.path_decay, average)
            weight = config.path_weight * config.path_interval
            host.descend({"path": penalty * weight}, "generator")
        self.path_mean.copy_(mean)
        return {
            "path": mean_over_processes(penalty.detach()),
            "path_length": self.path_mean.clone(),
        }

    # -- parts ----------------------------------------------------------------------------------

    def _judge(
        self, host: Host, discriminator: nn.Module, samples: Sequence[Samples], key: str
    ) -> list[Tensor]:
        return [
            view.call(discriminator, self._augmented(host, view.parts, _key(key, index)))
            for index, view in enumerate(samples)
        ]

    def _augmented(self, host: Host, parts: Sequence[Tensor], key: str) -> Sequence[Tensor]:
        """The images of one `Samples`, transformed alike."""
        p = float(self.augment_p)
        if p == 0:
            return parts
        whole, size = len(parts[0]) * rank_and_size()[1], parts[0].shape[-1]
        warp, tint = share(ada.draw(whole, p, size, host.rng(f"augment/{key}")))
        return [ada.apply(x, ada.resized(warp, size, x.shape[-1]), tint) for x in parts]

    def _adapt(self, config: AugmentConfig) -> None:
        mean, images = float(self.sign_sum) / config.every, self.batch * config.every
        p = ada.adapt(float(self.augment_p), mean, images, config.target, config.speed_kimg)
        self.augment_p.fill_(min(p, config.maximum))
        self.sign_sum.zero_()


@contextmanager
def without_gradients(network: nn.Module) -> Iterator[None]:
    """Keep a network's weights out of the gradients; what goes in still gets its own."""
    trained = [p for p in network.parameters() if p.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _weighted(
    loss: Callable[[Tensor], Tensor], samples: Sequence[Samples], logits: Sequence[Tensor]
) -> Tensor:
    """Weighted sum of the views' losses."""
    values = [view.weight * loss(x) for view, x in zip(samples, logits, strict=True)]
    return torch.stack(values).sum()


def _key(name: str, view: int) -> str:
    """Key of a view's random numbers."""
    return f"{name}/{view}" if view else name
