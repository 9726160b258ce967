"""StyleGAN2's generator and discriminator with labels and other channels than RGB."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.generators import base, teachers
from gan3d_bench.generators.inversion.config import InversionConfig
from gan3d_bench.generators.inversion.invert import invert
from gan3d_bench.generators.latents import update_w_statistics
from gan3d_bench.generators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    load_discriminator,
    load_generator,
    save_network,
)
from gan3d_bench.generators.stylegan2.discriminator import append_stddev
from gan3d_bench.generators.stylegan2.latents import mix_styles, sample_images
from gan3d_bench.generators.stylegan2.official import (
    convert_discriminator,
    export_discriminator,
    export_generator,
)
from gan3d_bench.generators.stylegan2.official_names import discriminator_names
from gan3d_bench.generators.stylegan2.teacher import DISCRIMINATOR, GENERATOR

CHANNELS = {4: 8, 8: 8, 16: 6}
LABELS = 5


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def labels(count: int, seed: int = 9) -> Tensor:
    return torch.randn(count, LABELS, generator=rng(seed))


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(GeneratorConfig(16, 12, 10, 2, CHANNELS, image_channels=6, label_dim=LABELS))


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(1)
    config = DiscriminatorConfig(
        16, CHANNELS, image_channels=6, label_dim=LABELS, cmap_dim=7, mapping_layers=3
    )
    network = Discriminator(config)
    for bias in (p for name, p in network.named_parameters() if name.endswith("bias")):
        nn.init.normal_(bias)
    return network


def mapped(network: nn.Module, x: Tensor) -> Tensor:
    """The released code's fully connected layers, written out."""
    for layer in network.layers:
        x = F.linear(x, layer.weight * 0.01 / math.sqrt(x.shape[1]), layer.bias * 0.01)
        x = F.leaky_relu(x, 0.2) * math.sqrt(2)
    return x


def embedded(network: nn.Module, given: Tensor) -> Tensor:
    x = F.linear(given, network.embed.weight / math.sqrt(LABELS), network.embed.bias)
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def test_stylecodes_of_labels(generator: Generator) -> None:
    z, given = torch.randn(3, 12, generator=rng()), labels(3)
    normalised = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    x = torch.cat([normalised, embedded(generator.mapping, given)], 1)
    expected = mapped(generator.mapping, x)
    torch.testing.assert_close(generator.mapping(z, given), expected)
    images = generator(z, 0.7, 2, given)
    assert images.shape == (3, 6, 16, 16)
    codes = generator.truncate(expected, 0.7, 2)
    torch.testing.assert_close(images, generator.synthesis(codes), rtol=1e-4, atol=1e-5)
    assert generator.image_channels == 6


def test_logits_of_labels(discriminator: Discriminator) -> None:
    """The released epilogue: dot product with the mapped label over sqrt(cmap_dim)."""
    images, given = torch.randn(4, 6, 16, 16, generator=rng()), labels(4)
    x = discriminator.conv(append_stddev(discriminator.features(images)[-1], 4))
    x = discriminator.fc(x.flatten(1))
    x = F.linear(x, discriminator.out.weight / math.sqrt(8), discriminator.out.bias)
    assert x.shape == (4, 7)
    cmap = mapped(discriminator.mapping, embedded(discriminator.mapping, given))
    product = (x * cmap).sum(1, keepdim=True)
    torch.testing.assert_close(discriminator(images, given), product / math.sqrt(7))
    other = discriminator(images, labels(4, 10))
    assert not torch.allclose(other, discriminator(images, given))


def test_mapped_labels_have_the_released_size() -> None:
    network = Discriminator(DiscriminatorConfig(16, {4: 3, 8: 8, 16: 6}, label_dim=LABELS))
    assert network.out.weight.shape == (3, 3)
    assert len(network.mapping.layers) == 8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"labels: none given, expected 5 numbers for each sample"),
        (labels(2), r"labels: \(2, 5\), expected \(3, 5\)"),
        (labels(3)[:, :4], r"labels: \(3, 4\), expected \(3, 5\)"),
        (torch.zeros(3), r"labels: \(3,\), expected \(3, 5\)"),
    ],
    ids=["none", "another batch", "another size", "numbers of classes"],
)
def test_wrong_labels(
    generator: Generator, discriminator: Discriminator, given: Tensor | None, message: str
) -> None:
    z = torch.randn(3, 12)
    for call in (
        lambda: generator.mapping(z, given),
        lambda: generator(z, labels=given),
        lambda: sample_images(generator, z, labels=given),
        lambda: discriminator(torch.zeros(3, 6, 16, 16), given),
        lambda: update_w_statistics(generator, rng(), 3, given),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_labels_where_none_are_taken() -> None:
    plain = Generator(GeneratorConfig(16, 12, 10, 2, CHANNELS))
    judge = Discriminator(DiscriminatorConfig(16, CHANNELS))

    class Other(base.Generator):
        mapping = nn.Identity()

        def style_weights(self) -> list[Tensor]:
            return []

    for call in (
        lambda: plain.mapping(torch.zeros(2, 12), labels(2)),
        lambda: plain(torch.zeros(2, 12), labels=labels(2)),
        lambda: judge(torch.zeros(2, 3, 16, 16), labels(2)),
        lambda: Other(12, 12).stylecodes(torch.zeros(2, 12), labels(2)),
    ):
        with pytest.raises(UserError, match="labels: given to a network that takes none"):
            call()


def test_many_images_statistics_and_mixing(generator: Generator) -> None:
    z, given = torch.randn(5, 12, generator=rng()), labels(5)
    expected = generator(z, labels=given).clamp(-1, 1)
    images = sample_images(generator, z, batch=2, labels=given)
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-5)
    update_w_statistics(generator, rng(), 2000, labels(1))
    w = generator.mapping(torch.randn(2000, 12, generator=rng(3)), labels(1).expand(2000, -1))
    torch.testing.assert_close(generator.w_mean, w.mean(0), rtol=0, atol=0.1)
    assert (generator.w_mean - generator.mapping(z, given).mean(0)).abs().max() > 0.1
    ws = mix_styles(w[:2], w[2:4], 2, generator.num_ws)
    assert generator.synthesis(ws).shape == (2, 6, 16, 16)


def test_files(generator: Generator, discriminator: Discriminator, tmp_path: Path) -> None:
    save_network(generator, tmp_path / GENERATOR, dtype=torch.float32)
    save_network(discriminator, tmp_path / DISCRIMINATOR, dtype=torch.float32)
    z, given, x = torch.randn(2, 12), labels(2), torch.randn(2, 6, 16, 16)
    loaded = load_generator(tmp_path / GENERATOR)
    assert torch.equal(loaded(z, labels=given), generator(z, labels=given))
    judge = load_discriminator(tmp_path / DISCRIMINATOR)
    assert torch.equal(judge(x, given), discriminator(x, given))
    with pytest.raises(UserError, match=r"teacher=.*labels of 5 numbers.*expected one without"):
        teachers.load_teacher(str(tmp_path))
    with pytest.raises(UserError, match=r"images of 6 channels, expected 3"):
        teachers.load_teacher(str(tmp_path), conditional=True)
    teacher = teachers.load_teacher(str(tmp_path), conditional=True, image_channels=6)
    assert teacher.generator.label_dim == LABELS
    with pytest.raises(UserError, match="takes labels of 5 numbers; inversion expected"):
        invert(teacher, torch.zeros(1, 6, 16, 16), InversionConfig(), rng())


def test_official_names_there_and_back(discriminator: Discriminator) -> None:
    state, layers = discriminator.state_dict(), discriminator.config.mapping_layers
    names = discriminator_names(16, layers, conditional=True)
    official = {name.nvidia: state[name.ours] for name in names}
    assert {"mapping.embed.bias", "mapping.fc2.weight", "b16.fromrgb.weight"} <= official.keys()
    found = convert_discriminator(official)
    assert found.config == discriminator.config
    for key, value in state.items():
        assert torch.equal(found.state_dict()[key], value), key


def test_rosinality_has_neither(generator: Generator, discriminator: Discriminator) -> None:
    for call in (lambda: export_generator(generator), lambda: export_discriminator(discriminator)):
        with pytest.raises(UserError, match="labels of 5 numbers and 6 image channels"):
            call()
