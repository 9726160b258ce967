"""EG3D's generator and dual discriminator: what drives what, sizes, files, gradients."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from gan3d_bench.adversarial.losses import r1_penalty
from gan3d_bench.errors import UserError
from gan3d_bench.files.weights import open_weights
from gan3d_bench.generators.eg3d import (
    RELEASED,
    DualDiscriminator,
    EG3DConfig,
    EG3DGenerator,
    load_discriminator,
    load_generator,
    save_discriminator,
    save_generator,
)
from gan3d_bench.generators.eg3d.checkpoint import config_of
from gan3d_bench.generators.eg3d.discriminator import raw_of
from gan3d_bench.generators.eg3d.superresolution import VARIANTS, SuperResolution
from gan3d_bench.generators.eg3d.teacher import random_pair
from gan3d_bench.generators.stylegan2 import DiscriminatorConfig
from gan3d_bench.generators.stylegan2 import checkpoint as stylegan2
from gan3d_bench.generators.stylegan2.generator import channel_table

GENERATOR, DISCRIMINATOR = random_pair()
ORBIT = GENERATOR.config.orbit
FRONT = ORBIT.frontal(2)
SIDE = ORBIT.look_at(torch.tensor([0.4, -0.3]), torch.tensor([0.1, -0.2]))
Z = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))


# -- what drives what ---------------------------------------------------------------------------


@torch.no_grad()
def test_images_and_what_they_are_made_from() -> None:
    image, volume = GENERATOR.synthesis.run(GENERATOR.stylecodes(Z, FRONT), SIDE)
    assert image.shape == (2, 3, 64, 64)
    assert volume.features.shape == (2, 8, 32, 32)
    for picture in (volume.distance, volume.depth, volume.opacity):
        assert picture.shape == (2, 1, 32, 32)
    assert volume.raw.abs().max() <= 1.01
    assert (image.abs() < 1.5).float().mean() > 0.9
    assert (volume.depth < volume.distance).all()
    seen = volume.distance.squeeze(1)
    assert seen.min() >= 2.25 and seen.max() <= 3.3 + 0.1
    larger = GENERATOR.synthesis.run(GENERATOR.stylecodes(Z, FRONT), SIDE, volume_size=48)
    assert larger.volume.raw.shape == (2, 3, 48, 48) and larger.image.shape == image.shape


@torch.no_grad()
def test_cameras_are_seen_by_and_labels_are_conditioned_on() -> None:
    w = GENERATOR.stylecodes(Z, FRONT)
    assert torch.equal(GENERATOR(Z, labels=FRONT), GENERATOR.synthesis(w, FRONT))
    assert torch.equal(GENERATOR.synthesis(w), GENERATOR.synthesis(w, FRONT))
    assert torch.equal(GENERATOR(Z, labels=FRONT, cameras=SIDE), GENERATOR.synthesis(w, SIDE))
    assert not torch.allclose(GENERATOR.synthesis(w, SIDE), GENERATOR.synthesis(w, FRONT))
    # one camera for all, and each its own
    one = GENERATOR.synthesis(w[1:], SIDE[1:])
    torch.testing.assert_close(GENERATOR.synthesis(w, SIDE)[1:], one, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(GENERATOR.stylecodes(Z, SIDE), w)
    blind = EG3DGenerator(replace(GENERATOR.config, label_scale=0.0))
    blind.load_state_dict(GENERATOR.state_dict())
    assert torch.equal(blind.stylecodes(Z, SIDE), blind.stylecodes(Z, FRONT))


@torch.no_grad()
def test_the_last_stylecode_drives_the_super_resolution_too() -> None:
    w = GENERATOR.stylecodes(Z, FRONT)
    ws = w[:, None].repeat(1, GENERATOR.num_ws, 1)
    whole = GENERATOR.synthesis.run(ws, SIDE)
    assert torch.equal(whole.image, GENERATOR.synthesis(w, SIDE))
    ws[:, -1] = 0
    other = GENERATOR.synthesis.run(ws, SIDE)
    features = whole.volume.features
    assert not torch.allclose(
        GENERATOR.synthesis.upscale(features, ws[:, -1]), whole.image, atol=1e-3
    )
    torch.testing.assert_close(
        other.image, GENERATOR.synthesis.upscale(other.volume.features, ws[:, -1])
    )
    assert len(GENERATOR.style_weights()) == GENERATOR.num_ws
    half = GENERATOR.truncate(w, 0.5)
    assert torch.equal(GENERATOR(Z, 0.5, labels=FRONT), GENERATOR.synthesis(half, FRONT))


@torch.no_grad()
def test_only_a_generator_jitters() -> None:
    w = GENERATOR.stylecodes(Z, FRONT)

    def image(seed: int | None) -> Tensor:
        rng = None if seed is None else torch.Generator().manual_seed(seed)
        return GENERATOR.synthesis.run(w, SIDE, rng=rng).image

    assert torch.equal(image(None), image(None))
    assert torch.equal(image(0), image(0))
    assert not torch.equal(image(0), image(1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "labels: none given, expected 25 numbers"),
        ({"labels": FRONT[:, :16]}, r"labels: \(2, 16\), expected \(2, 25\)"),
        ({"labels": FRONT[:1]}, r"labels: \(1, 25\), expected \(2, 25\)"),
        ({"labels": FRONT, "cameras": FRONT[:, :16]}, r"cameras: \(2, 16\), expected \(2, 25\)"),
        ({"labels": FRONT, "cameras": FRONT[:1]}, r"cameras: \(1, 25\), expected \(2, 25\)"),
        ({"labels": FRONT, "cameras": FRONT * 3}, "expected a 4 x 4 cam2world"),
        ({"labels": FRONT * 0}, "expected a 4 x 4 cam2world"),
    ],
)
def test_wrong_labels_and_cameras(given: dict[str, Tensor], message: str) -> None:
    with pytest.raises(UserError, match=message):
        GENERATOR(Z, **given)


# -- training -----------------------------------------------------------------------------------


def test_every_weight_learns_from_images() -> None:
    generator = EG3DGenerator(GENERATOR.config)
    rng = torch.Generator().manual_seed(0)
    ws = generator.stylecodes(Z, FRONT)
    pictures = generator.synthesis.run(ws, SIDE, rng=rng, noise=rng)
    pictures.image.square().mean().backward()
    without = {name for name, p in generator.named_parameters() if p.grad is None}
    # noise maps of the super-resolution are not used, as released
    assert without == {
        f"synthesis.super_resolution.block{i}.conv{j}.noise_strength"
        for i in (0, 1)
        for j in (0, 1)
    }
    assert all(p.grad.isfinite().all() for p in generator.parameters() if p.grad is not None)


def test_reduced_precision_stops_at_the_volume() -> None:
    w = GENERATOR.stylecodes(Z, FRONT)
    whole = GENERATOR.synthesis.run(w, SIDE)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = GENERATOR.synthesis.run(w, SIDE)
    assert reduced.volume.distance.dtype == reduced.image.dtype == torch.float32
    assert (reduced.volume.distance - whole.volume.distance).abs().mean() < 0.02


def test_dual_discrimination() -> None:
    network = DualDiscriminator(DISCRIMINATOR.config)
    image = torch.rand(4, 3, 64, 64, requires_grad=True)
    raw = raw_of(image.detach(), 32).requires_grad_()
    labels = SIDE.repeat(2, 1)
    logits = network((image, raw), labels)
    assert logits.shape == (4, 1) and raw.shape == (4, 3, 32, 32)
    # what each of the three says counts
    for other in (
        ((image * 0, raw), labels),
        ((image, raw * 0), labels),
        ((image, raw), FRONT.repeat(2, 1)),
    ):
        assert not torch.allclose(network(*other), logits)
    penalty = r1_penalty(logits, (image, raw))
    expected = sum(
        x.square().sum((1, 2, 3)).mean()
        for x in torch.autograd.grad(logits.sum(), (image, raw), retain_graph=True)
    )
    torch.testing.assert_close(penalty.detach(), expected)
    penalty.backward()
    assert network.network.from_rgb.weight.grad.abs().max() > 0
    with pytest.raises(UserError, match="expected an image and a raw one"):
        network((image,), labels)
    with pytest.raises(UserError, match=r"labels: \(4, 16\), expected \(4, 25\)"):
        network((image, raw), labels[:, :16])


def test_raw_images_are_means_of_real_ones() -> None:
    image = torch.zeros(1, 3, 64, 64)
    image[..., ::2] = 1.0
    # antialiased: stripes of a pixel become grey
    torch.testing.assert_close(
        raw_of(image, 32)[..., 4:-4], torch.full((1, 3, 32, 24), 0.5), rtol=0, atol=0.05
    )
    assert raw_of(image, 64) is image


# -- sizes --------------------------------------------------------------------------------------


def test_released_sizes() -> None:
    """The numbers of parameters are those of the official networks for FFHQ."""
    with torch.device("meta"):
        generator = EG3DGenerator(RELEASED["ffhq512"])
        discriminator = DualDiscriminator(
            DiscriminatorConfig(512, channel_table(512, 32768), 4, 256.0)
        )
        small = EG3DGenerator()
    assert sum(p.numel() for p in generator.parameters()) == 30_662_136
    assert sum(p.numel() for p in discriminator.parameters()) == 31_359_744
    assert generator.num_ws == 14 and generator.image_size == 512
    assert (small.image_size, small.config.volume_size) == (64, 32)
    assert 200_000 < sum(p.numel() for p in small.parameters()) < 1_000_000


@torch.no_grad()
@pytest.mark.parametrize("variant", ["hybrid-4x", "hybrid-2x", "small-2x"])
def test_super_resolution_sizes(variant: str) -> None:
    network = SuperResolution(variant, 5, 8, clamp=256.0)
    size = VARIANTS[variant].input_size
    picture, w = torch.rand(1, 5, size // 2, size // 2), torch.randn(1, 8)
    kept = picture.clone()
    assert network(picture, w).shape[-1] == VARIANTS[variant].output_size == 2 * size
    assert torch.equal(picture, kept)
    larger = torch.rand(1, 5, size + 8, size + 8)
    if variant == "hybrid-4x":
        with pytest.raises(UserError, match="volume_size=136: expected at most 128"):
            network(larger, w)
    else:
        assert network(larger, w).shape[-1] == 2 * size
    same_size = torch.rand(1, 5, size, size)
    kept = same_size.clone()
    network(same_size, w)
    assert torch.equal(same_size, kept)  # the released blocks add to it in place


@pytest.mark.parametrize(
    "change",
    [
        {"plane_axes": "mine"},
        {"super_resolution": "hybrid-3x"},
        {"sr_noise": "some"},
        {"volume_size": 0},
        {"features": 2},
        {"decoder_width": 0},
        {"label_scale": float("inf")},
        {"sr_clamp": 0.0},
        {"backbone": replace(EG3DConfig().backbone, image_channels=32)},
        {"backbone": replace(EG3DConfig().backbone, label_dim=0)},
    ],
)
def test_impossible_architectures(change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"expected|known: ") as error:
        EG3DConfig(**change)
    assert "\n" not in str(error.value)


# -- files --------------------------------------------------------------------------------------


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    save_generator(GENERATOR, path, {"fid": "1"}, torch.float32)
    loaded = load_generator(path)
    assert loaded.config == GENERATOR.config
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    for key, value in GENERATOR.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    assert torch.equal(loaded(Z, labels=SIDE), GENERATOR(Z, labels=SIDE))
    assert open_weights(path)[1]["fid"] == "1"
    save_generator(GENERATOR, path)
    assert (load_generator(path)(Z, labels=SIDE) - GENERATOR(Z, labels=SIDE)).abs().mean() < 0.02
    other = tmp_path / "discriminator.safetensors"
    save_discriminator(DISCRIMINATOR, other, dtype=torch.float32)
    again = load_discriminator(other)
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(
        again((image, raw_of(image, 32)), SIDE), DISCRIMINATOR((image, raw_of(image, 32)), SIDE)
    )
    for load, file in ((load_generator, other), (load_discriminator, path)):
        with pytest.raises(UserError, match="holds a"):
            load(file)
    plain, _ = stylegan2_pair()
    stylegan2.save_network(plain, other)
    with pytest.raises(UserError, match="3 channels and labels of 0 numbers, expected 6 and 25"):
        load_discriminator(other)


def stylegan2_pair() -> tuple:
    from gan3d_bench.generators.stylegan2.teacher import random_pair as pair

    generator, discriminator = pair(16)
    return discriminator, generator


@pytest.mark.parametrize("config", [EG3DConfig(), *RELEASED.values()])
def test_architectures_survive_json(config: EG3DConfig) -> None:
    assert config_of(json.loads(json.dumps(asdict(config)))) == config


def test_an_automatic_range_survives_json() -> None:
    config = EG3DConfig(volume=replace(EG3DConfig().volume, ray_range=None))
    assert config_of(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    "change",
    [
        {"plane_axes": "mine"},
        {"plane_axes": None},
        {"volume_size": "x"},
        {"volume_size": 2**40},
        {"features": 10**9},
        {"decoder_width": 10**12},
        {"label_scale": "x"},
        {"sr_clamp": "x"},
        {"super_resolution": ["small-2x"]},
        {"volume": {}},
        {"volume": {**asdict(GENERATOR.config.volume), "coarse_samples": 10**9}},
        {"volume": {**asdict(GENERATOR.config.volume), "ray_range": [3, 2]}},
        {"volume": {**asdict(GENERATOR.config.volume), "ray_range": 3}},
        {"orbit": {"radius": "far", "pivot": [0, 0, 0], "focal": 4}},
        {"orbit": {"radius": 1.0, "pivot": [0, 0], "focal": 4}},
        {"backbone": {**asdict(GENERATOR.config.backbone), "image_size": 2**40}},
        {"backbone": {**asdict(GENERATOR.config.backbone), "mapping_layers": 10**12}},
        {"backbone": {**asdict(GENERATOR.config.backbone), "channels": {"4": 10**9}}},
        {"backbone": None},
        {"more": 1},
    ],
)
def test_a_file_cannot_ask_for_more_than_it_holds(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(GENERATOR, path)
    state, metadata = open_weights(path)
    config = {**json.loads(metadata["config"]), **change}
    save_file(state, path, {**metadata, "config": json.dumps(config)})
    with pytest.raises(UserError, match=r"g\.safetensors: ") as error:
        load_generator(path)
    assert "\n" not in str(error.value)
