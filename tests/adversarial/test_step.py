"""The adversarial step: its updates by hand, its order and ratios, labels, views, its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.adversarial import augment as ada
from gan3d_bench.adversarial.config import AdversarialConfig, AugmentConfig, PathLengthConfig
from gan3d_bench.adversarial.step import AdversarialStep, Samples
from gan3d_bench.errors import UserError

BATCH, SIZE = 4, 8


class Training:
    """What a step is part of: two optimisers, and a note of each descent."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module) -> None:
        self.phase_step = 0
        self.generator, self.discriminator = generator, discriminator
        self.optimizers = {
            "generator": torch.optim.SGD(generator.parameters(), lr=0.1),
            "discriminator": torch.optim.SGD(discriminator.parameters(), lr=0.1),
        }
        self.descents: list[tuple[int, str]] = []

    def rng(self, key: str = "") -> torch.Generator:
        seed = sum((i + 1) * ord(letter) for i, letter in enumerate(key)) + 1000 * self.phase_step
        return torch.Generator().manual_seed(seed)

    def descend(self, terms: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
        self.descents.append((self.phase_step, "+".join(terms)))
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        for other, optimizer in self.optimizers.items():
            grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
            assert other == name or all(grad is None for grad in grads), f"gradients of {other}"
        self.optimizers[name].step()
        return {key: value.detach() for key, value in terms.items()}


class Generator(nn.Module):
    """Stylecodes (B, 2, 5) -> images (B, C, S, S)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.fc = nn.Linear(10, channels * SIZE * SIZE)
        self.channels = channels

    def forward(self, ws: Tensor) -> Tensor:
        return torch.tanh(self.fc(ws.flatten(1))).view(-1, self.channels, SIZE, SIZE)


class Discriminator(nn.Module):
    """Images, several of any sides or one, and labels -> logits (B, 1)."""

    def __init__(self, channels: int = 3, labels: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3)
        self.out = nn.Linear(6 + labels, 1)

    def forward(self, images: Tensor | tuple[Tensor, ...], labels: Tensor | None = None) -> Tensor:
        if not isinstance(images, Tensor):
            side = images[0].shape[-1]
            images = torch.cat([F.interpolate(x, size=(side, side)) for x in images], 1)
        features = F.softplus(self.conv(images)).mean((2, 3))
        return self.out(features if labels is None else torch.cat((features, labels), 1))


def training(channels: int = 3, seen: int = 3, labels: int = 0) -> Training:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Training(Generator(channels), Discriminator(seen, labels))


def codes(host: Training, key: str) -> Tensor:
    return torch.randn(BATCH, 2, 5, generator=host.rng(key))


def images(seed: int = 0, channels: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(BATCH, channels, SIZE, SIZE, generator=rng) * 2 - 1


def weights(host: Training) -> list[Tensor]:
    networks = (host.generator, host.discriminator)
    return [p.detach().clone() for network in networks for p in network.parameters()]


def run(step: AdversarialStep, host: Training, **others: object) -> dict[str, Tensor]:
    def fakes(key: str) -> list[Samples]:
        return [Samples(host.generator(codes(host, key)))]

    def path(count: int) -> tuple[Tensor, Tensor]:
        ws = codes(host, "path")[:count].requires_grad_()
        return host.generator(ws), ws

    parts = {"reals": lambda: [Samples(images())], "fakes": fakes, "path": path, **others}
    return step.run(host, host.discriminator, **parts)  # type: ignore[arg-type]


def test_a_step_is_its_four_updates_written_out() -> None:
    """As in stylegan2-ada-pytorch, training/loss.py, with augmentation, to the bit."""
    config, path = AdversarialConfig(gamma=3.0, r1_interval=16), PathLengthConfig()
    host, p = training(), 0.7
    step = AdversarialStep(config, BATCH, AugmentConfig(enabled=True), path)
    step.augment_p.fill_(p)
    step.path_mean.fill_(0.2)
    scalars = run(step, host)

    def seen(x: Tensor, key: str) -> Tensor:
        return ada.apply(x, *ada.draw(BATCH, p, SIZE, hand.rng(f"augment/{key}")))

    hand = training()
    generator, discriminator = hand.generator, hand.discriminator
    fake = generator(codes(hand, "d")).detach()
    real_logits = discriminator(seen(images(), "real"))
    fake_logits = discriminator(seen(fake, "fake"))
    loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
    hand.descend({"d": loss}, "discriminator")
    real = seen(images(), "real").requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    hand.descend(
        {"r1": slope.square().sum((1, 2, 3)).mean() * (config.gamma / 2 * 16)}, "discriminator"
    )
    discriminator.requires_grad_(False)
    fake = generator(codes(hand, "g"))
    hand.descend({"g": F.softplus(-discriminator(seen(fake, "g"))).mean()}, "generator")
    discriminator.requires_grad_(True)
    ws = codes(hand, "path")[: BATCH // 2].requires_grad_()
    direction = torch.randn(BATCH, 3, SIZE, SIZE, generator=hand.rng("direction"))[: BATCH // 2]
    length = (generator(ws) * (direction / SIZE)).sum()
    (slope,) = torch.autograd.grad(length, ws, create_graph=True)
    lengths = slope.square().sum(2).mean(1).sqrt()
    mean = 0.2 + 0.01 * (lengths.mean() - torch.tensor(0.2))
    hand.descend({"path": (lengths - mean).square().mean() * 8.0}, "generator")

    for found, expected in zip(weights(host), weights(hand), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(step.path_mean, mean.detach())
    assert float(scalars["real_sign"]) == float(real_logits.detach().sign().mean())
    assert step.sign_sum == scalars["real_sign"]


def test_updates_come_in_their_ratios() -> None:
    config = AdversarialConfig(discriminator_every=3, r1_interval=2, delay=2)
    step = AdversarialStep(config, BATCH, path=PathLengthConfig(path_interval=4))
    host = training()
    for host.phase_step in range(9):
        run(step, host)
    assert host.descents == [
        (0, "d"), (0, "r1"),
        (2, "g"),
        (3, "d"), (3, "g"),
        (4, "g"), (4, "path"),
        (5, "g"),
        (6, "d"), (6, "r1"), (6, "g"),
        (7, "g"),
        (8, "g"), (8, "path"),
    ]  # fmt: skip
    host = training()
    step = AdversarialStep(AdversarialConfig(generator_every=2, gamma=0), BATCH)
    for host.phase_step in range(4):
        run(step, host, path=None)
    assert host.descents == [(0, "d"), (0, "g"), (1, "d"), (2, "d"), (2, "g"), (3, "d")]
    with pytest.raises(UserError, match=r"a.discriminator_every=2: expected one of them to be 1"):
        AdversarialConfig(generator_every=2, discriminator_every=2).validate("a")


def test_two_renders_of_one_map_and_further_terms_in_the_same_descent() -> None:
    """A generator of 6 channels, judged by what is rendered of it in two views."""

    def renders(host: Training, key: str) -> list[Samples]:
        maps = host.generator(codes(host, key))
        front, turned = maps[:, :3] + maps[:, 3:], maps[:, :3].flip(3) * 0.5
        return [Samples(front), Samples(turned, weight=0.75)]

    def reals() -> list[Samples]:
        return [Samples(images(1)), Samples(images(2), weight=0.75)]

    def reconstruction(made: Sequence[Samples]) -> dict[str, Tensor]:
        return {"rec": 10 * (made[0].parts[0] - images(1)).square().mean()}

    host, hand = training(channels=6), training(channels=6)
    step = AdversarialStep(AdversarialConfig(discriminator_every=5), BATCH)
    found = run(step, host, reals=reals, fakes=lambda key: renders(host, key), terms=reconstruction)
    assert host.descents == [(0, "d"), (0, "r1"), (0, "g+rec")]
    assert all(p.requires_grad for p in host.discriminator.parameters())

    judge = hand.discriminator
    with torch.no_grad():
        made = renders(hand, "d")
    losses, penalties = [], []
    for real, fake in zip(reals(), made, strict=True):
        loss = F.softplus(-judge(real.images)).mean() + F.softplus(judge(fake.images)).mean()
        losses.append(real.weight * loss)
    hand.descend({"d": torch.stack(losses).sum()}, "discriminator")
    for real in reals():
        x = real.parts[0].requires_grad_()
        (slope,) = torch.autograd.grad(judge(x).sum(), x, create_graph=True)
        penalties.append(real.weight * slope.square().sum((1, 2, 3)).mean())
    hand.descend({"r1": 80 * torch.stack(penalties).sum()}, "discriminator")
    judge.requires_grad_(False)
    made = renders(hand, "g")
    values = [view.weight * F.softplus(-judge(view.images)).mean() for view in made]
    hand.descend({"g": torch.stack(values).sum(), **reconstruction(made)}, "generator")
    for got, expected in zip(weights(host), weights(hand), strict=True):
        torch.testing.assert_close(got, expected)
    assert set(found) == {"d", "real_sign", "r1", "g", "rec"}


def test_labelled_pairs_of_two_sizes() -> None:
    """Dual discrimination: an image and a smaller one, with a camera; R1 is of both."""
    labels = torch.randn(BATCH, 25, generator=torch.Generator().manual_seed(3))

    def pair(x: Tensor) -> tuple[Tensor, Tensor]:
        return x, F.avg_pool2d(x, 2)

    def reals() -> list[Samples]:
        return [Samples(pair(images()), labels)]

    def fakes(key: str) -> list[Samples]:
        return [Samples(pair(host.generator(codes(host, key))), labels.flip(0))]

    host = training(seen=6, labels=25)
    step = AdversarialStep(AdversarialConfig(), BATCH)
    hand = training(seen=6, labels=25)
    real, fake = reals()[0], pair(hand.generator(codes(hand, "d")).detach())
    loss = F.softplus(-hand.discriminator(real.images, labels)).mean()
    loss = loss + F.softplus(hand.discriminator(fake, labels.flip(0))).mean()
    hand.descend({"d": loss}, "discriminator")
    leaves = [x.requires_grad_() for x in real.parts]
    logits = hand.discriminator(tuple(leaves), labels)
    slopes = torch.autograd.grad(logits.sum(), leaves)
    expected = sum(slope.square().sum((1, 2, 3)) for slope in slopes).mean()
    scalars = run(step, host, reals=reals, fakes=fakes)
    torch.testing.assert_close(scalars["d"], loss.detach())
    torch.testing.assert_close(scalars["r1"], expected)
    # augmented alike, whatever their sides
    step.augment_p.fill_(0.9)
    small = step._augmented(host, pair(images()), "real")[1]
    assert small.shape[-1] == SIZE // 2 and not torch.equal(small, pair(images())[1])
    scalars = run(step, host, reals=reals, fakes=fakes)
    assert all(torch.isfinite(value) for value in scalars.values())


def test_augmentation_adapts_and_goes_on_after_loading() -> None:
    config = AdversarialConfig(discriminator_every=2, gamma=0)
    augment = AugmentConfig(enabled=True, every=3, target=-1.0, speed_kimg=0.04, maximum=0.5)
    whole, host = AdversarialStep(config, BATCH, augment), training()
    nn.init.constant_(host.discriminator.out.bias, 5.0)  # sure of the real images
    seen = []
    for host.phase_step in range(12):
        seen.append(float(run(whole, host)["augment_p"]))
        if host.phase_step == 6:
            rest, later = AdversarialStep(config, BATCH, augment), training()
            rest.load_state_dict(whole.state_dict())
            for network in ("generator", "discriminator"):
                getattr(later, network).load_state_dict(getattr(host, network).state_dict())
    # after three updates of four images: 12 / 40; then held at the maximum
    assert seen == pytest.approx([0.0] * 4 + [0.3] * 6 + [0.5] * 2)
    assert float(whole.sign_sum) == 0.0
    for later.phase_step in range(7, 12):
        run(rest, later)
    for found, expected in zip(weights(later), weights(host), strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(rest.augment_p, whole.augment_p)
