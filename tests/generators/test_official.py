"""Rosinality's checkpoints, state dicts of both repositories, and the way back."""

from __future__ import annotations

import argparse
import json
from collections import Counter, deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import official_files as files
import pytest
import torch

from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
)
from gan3d_bench.generators.stylegan2.generator import channel_table
from gan3d_bench.generators.stylegan2.official import (
    ROSINALITY,
    convert_discriminator,
    convert_generator,
    export_discriminator,
    export_generator,
    read_networks,
    read_official,
)
from gan3d_bench.generators.stylegan2.official_names import (
    discriminator_names,
    generator_names,
    rosinality_kernels,
)

KEYS = json.loads((files.PARITY / "stylegan2_keys" / "keys.json").read_text())


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def write(folder: Path, content: Any, zipped: bool = True) -> Path:
    path = folder / "checkpoint.pt"
    path.write_bytes(files.torch_bytes(content, zipped))
    return path


# -- parity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_rosinality_checkpoint(tmp_path: Path, zipped: bool) -> None:
    _, arrays = files.vector("stylegan2_rosinality")
    content = {**files.rosinality(), "args": argparse.Namespace(size=32)}
    found = read_networks(write(tmp_path, content, zipped))
    assert found.origin == ROSINALITY
    assert found.has_w_mean
    close(found.generator.synthesis(arrays["w_plus"]), arrays["out_w_plus_image"])
    close(found.generator(arrays["z"], psi=0.7), arrays["out_trunc_image"])
    assert found.discriminator is not None
    x = 0.5 * np.random.RandomState(1004).randn(8, 3, 32, 32)
    close(found.discriminator(torch.from_numpy(x).float()), arrays["out_D_logits_batch8"])


def test_to_rosinality_and_back(tmp_path: Path) -> None:
    """NVIDIA's pickle -> ours -> rosinality's keys -> ours: the same networks."""
    _, arrays = files.vector("stylegan2_nvidia_pickle")
    generator, discriminator = read_official(files.PICKLE)
    assert discriminator is not None
    content = {
        "g_ema": export_generator(generator),
        "d": export_discriminator(discriminator),
        "latent_avg": generator.w_mean,
    }
    again, other = read_official(write(tmp_path, content))
    for key, value in generator.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    close(again(arrays["z"]), arrays["out_G_ema_image"])
    assert other is not None
    close(other(arrays["x"]), arrays["out_D_logits"])


@pytest.mark.parametrize("multiplier", [1, 2])
def test_exported_keys_and_shapes_are_rosinality_s(multiplier: int) -> None:
    channels = channel_table(64, 16384 * multiplier)
    generator = Generator(GeneratorConfig(64, 512, 512, 8, channels))
    discriminator = Discriminator(DiscriminatorConfig(64, channels))
    for exported, name in (
        (export_generator(generator), f"rosinality_G_size64_cm{multiplier}_mlp8"),
        (export_discriminator(discriminator), f"rosinality_D_size64_cm{multiplier}"),
    ):
        assert {key: list(value.shape) for key, value in exported.items()} == KEYS[name]


def test_names_at_256_pixels_are_rosinality_s() -> None:
    generator = {name.rosinality for name in generator_names(256, 8)} - {None}
    discriminator = {name.rosinality for name in discriminator_names(256)}
    kernels = rosinality_kernels(256)
    assert generator | set(kernels[0]) == set(KEYS["rosinality_G_size256_cm2_mlp8"])
    assert discriminator | set(kernels[1]) == set(KEYS["rosinality_D_size256_cm2"])


@pytest.mark.parametrize(
    ("name", "convert"),
    [
        ("rosinality_G_size64_cm1_mlp8", convert_generator),
        ("rosinality_D_size64_cm1", convert_discriminator),
        ("nvidia_G_res64_base16384_map8", convert_generator),
        ("nvidia_D_res64_base16384", convert_discriminator),
    ],
)
def test_official_keys_and_shapes_are_ours(name: str, convert: Callable[..., Any]) -> None:
    state = {
        key: torch.zeros(()).expand(shape)
        for key, shape in KEYS[name].items()
        if not key.endswith(("kernel", "resample_filter"))
    }
    network = convert(state)
    assert network.config.channels == channel_table(64, 16384)
    # the counts of the official networks
    parameters = sum(value.numel() for value in network.parameters())
    assert parameters == (23_819_544 if "_G_" in name else 23_407_361)


def test_exported_kernels_are_the_constants() -> None:
    generator = Generator(GeneratorConfig(16, 8, 8, 2, {4: 4, 8: 4, 16: 4}))
    discriminator = Discriminator(DiscriminatorConfig(16, {4: 4, 8: 4, 16: 4}))
    sums = {
        key: float(value.sum())
        for state in (export_generator(generator), export_discriminator(discriminator))
        for key, value in state.items()
        if key.endswith("kernel")
    }
    assert sums == {
        **dict.fromkeys(("convs.0.conv.blur.kernel", "convs.2.conv.blur.kernel"), 4.0),
        **dict.fromkeys(("to_rgbs.0.upsample.kernel", "to_rgbs.1.upsample.kernel"), 4.0),
        **{f"convs.{i}.{part}.kernel": 1.0 for i in (1, 2) for part in ("conv2.0", "skip.0")},
    }


def test_latents_of_another_size_cannot_be_exported() -> None:
    generator = Generator(GeneratorConfig(8, 6, 4, 2, {4: 4, 8: 4}))
    with pytest.raises(UserError, match="latents of 6 and stylecodes of 4 numbers"):
        export_generator(generator)


# -- what files may lack ------------------------------------------------------------------------


def test_mean_of_w_is_computed_and_the_same_each_time(tmp_path: Path) -> None:
    content = files.rosinality()
    del content["latent_avg"], content["d"]
    path = write(tmp_path, content)
    first, second = read_networks(path), read_networks(path)
    assert not first.has_w_mean
    assert first.discriminator is None
    assert torch.equal(first.generator.w_mean, second.generator.w_mean)
    width = first.generator.z_dim
    w = first.generator.mapping(torch.randn(20_000, width, generator=torch.manual_seed(1)))
    torch.testing.assert_close(first.generator.w_mean, w.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(first.generator.w_std, w.std(0), rtol=0.05, atol=0)


def test_noise_maps_are_drawn_where_early_files_lack_them() -> None:
    state = files.rosinality()["g_ema"]
    maps = [key for key in state if key.startswith("noises.")]
    early = {key: value for key, value in state.items() if key not in maps}
    first, second = convert_generator(early), convert_generator(early)
    for a, b in zip(first.synthesis.convs, second.synthesis.convs, strict=True):
        assert torch.equal(a.noise, b.noise)
        assert float(a.noise.std()) > 0.5
    del state[maps[0]]
    with pytest.raises(UserError, match=r"conv1\.noise' is missing"):
        convert_generator(state)


# -- what is refused ----------------------------------------------------------------------------


def put(part: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content[part] = {**content[part], key: value}

    return change


def drop(part: str, key: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content[part].pop(key)


def double_latents(content: dict[str, Any]) -> None:
    """What a conversion makes of a conditional network of NVIDIA's: labels are embedded before."""
    g_ema = content["g_ema"]
    g_ema["style.1.weight"] = torch.cat([g_ema["style.1.weight"]] * 2, 1)


def prefixed(part: str, prefix: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content[part] = {prefix + key: value for key, value in content[part].items()}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(g_ema=None), "g_ema: expected the names and tensors"),
        (lambda c: c.update(d=[1]), "d: expected the names and tensors"),
        (lambda c: c.update(latent_avg="mean"), "latent_avg: expected the names and tensors"),
        (lambda c: c.update(latent_avg=torch.zeros(3)), "'w_mean' is (3,), expected"),
        (
            lambda c: c.update(latent_avg=c["latent_avg"] * torch.nan),
            "'w_mean' has values that",
        ),
        (lambda c: c.update(g_ema={}), "g_ema: no StyleGAN2 generator in it"),
        (lambda c: c.update(g_ema=c["d"]), "g_ema: no StyleGAN2 generator in it"),
        (put("g_ema", "x\n", torch.zeros(3)), r"g_ema: unknown key 'x\n'"),
        (put("g_ema", "convs.0.noise.weight", "x"), "g_ema: expected the names and tensors"),
        (drop("g_ema", "convs.0.noise.weight"), "conv0.noise_strength' is missing"),
        (drop("g_ema", "convs.1.activate.bias"), "8.conv1.bias' is missing"),
        (drop("g_ema", "style.1.weight"), "g_ema: "),
        (put("g_ema", "style.1.weight", torch.zeros(0, 0)), "mapping network is damaged"),
        (put("g_ema", "conv1.activate.bias", torch.zeros(0)), "4.conv1.bias' is missing"),
        (put("g_ema", "to_rgb1.bias", torch.zeros(1, 1, 1, 1)), "to_rgb.weight' is (1, 3, 1"),
        (put("g_ema", "style.1.bias", torch.tensor(torch.nan)), "layers.0.bias' is ()"),
        (
            put("g_ema", "convs.0.conv.blur.kernel", torch.ones(4, 4) / 4),
            "'convs.0.conv.blur.kernel' is another FIR kernel",
        ),
        (double_latents, "takes 48 numbers for stylecodes of 24; expected as many"),
        (prefixed("g_ema", "generator."), "all of its keys begin with 'generator.', expected none"),
    ],
)
def test_checkpoints_that_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    content = files.rosinality()
    change(content)
    with pytest.raises(UserError) as error:
        read_networks(write(tmp_path, content))
    assert message in str(error.value)
    assert "expected" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(d=c["g_ema"]), "d: no StyleGAN2 discriminator in it"),
        (put("d", "convs.1.skip.0.kernel", torch.ones(3)), "is another FIR kernel"),
        (drop("d", "final_conv.1.bias"), "'conv.bias' is missing"),
        (drop("d", "convs.0.0.weight"), "d: "),
        (put("d", "mapping.fc0.weight", torch.zeros(3)), "unknown key 'mapping.fc0.weight'"),
    ],
)
def test_a_discriminator_of_another_design_is_left_out(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    content = files.rosinality()
    change(content)
    found = read_networks(write(tmp_path, content))
    assert found.discriminator is None
    assert message in found.left_out


def test_wrappers_and_other_objects_change_nothing(tmp_path: Path) -> None:
    """Names of parallel training and ``torch.compile``; objects of classes nobody has asked for."""
    plain = read_networks(write(tmp_path, files.rosinality()))
    content = files.rosinality()
    prefixed("g_ema", "module._orig_mod.")(content)
    prefixed("d", "module.")(content)
    content["args"] = Fraction(1, 3)
    content["counts"] = Counter("aab")
    content["history"] = deque([1, 2])
    content["g"] = torch.nn.Linear(2, 2)
    wrapped = read_networks(write(tmp_path, content))
    assert plain.discriminator is not None and wrapped.discriminator is not None
    for one, other in (
        (plain.generator, wrapped.generator),
        (plain.discriminator, wrapped.discriminator),
    ):
        for key, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[key], value), key
    content["g_ema"] = {**content["g_ema"], "input.input": Fraction(1, 3)}
    with pytest.raises(UserError, match=r"g_ema: it asks for 'fractions\.Fraction', which is"):
        read_networks(write(tmp_path, content))


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {"model": {"fc.weight": torch.zeros(3)}}, {"g": {}}, {}]
)
def test_other_programs_files(tmp_path: Path, content: Any) -> None:
    with pytest.raises(UserError, match=r"no g_ema or G_ema in it.*; expected a \.pt of rosinal"):
        read_networks(write(tmp_path, content))


def test_more_blocks_than_there_are_sizes() -> None:
    keys = {f"to_rgbs.{i}.bias": torch.zeros(3) for i in range(60)}
    with pytest.raises(UserError, match="no StyleGAN2 generator"):
        convert_generator({"input.input": torch.zeros(1), **keys})


def test_foreign_state_dicts() -> None:
    with pytest.raises(UserError, match="no StyleGAN2 generator"):
        convert_generator({"layer1.weight": torch.zeros(1)})
    with pytest.raises(UserError, match="no StyleGAN2 discriminator"):
        convert_discriminator({"b4.out.bias": torch.zeros(1)})
    with pytest.raises(UserError, match="expected the names and tensors"):
        convert_generator({"input.input": 3})  # type: ignore[dict-item]
