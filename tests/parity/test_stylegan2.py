"""Official StyleGAN2 networks and operators: our modules give the official output."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gan3d_bench.adversarial.losses import (
    discriminator_loss,
    generator_loss,
    path_lengths,
    path_penalty,
    r1_penalty,
)
from gan3d_bench.generators.directions import semantic_directions
from gan3d_bench.generators.stylegan2 import ops
from gan3d_bench.generators.stylegan2.generator import Generator
from gan3d_bench.generators.stylegan2.latents import mix_styles
from gan3d_bench.generators.stylegan2.official import convert_discriminator, convert_generator

HERE = Path(__file__).parent


def read(name: str) -> tuple[dict, dict[str, Tensor]]:
    arrays = np.load(HERE / name / "arrays.npz")
    vector = json.loads((HERE / name / "vector.json").read_text())
    return vector, {key: torch.from_numpy(arrays[key]).float() for key in arrays}


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape)).float()


def draw(shapes: dict, rules: list[dict]) -> dict[str, Tensor]:
    """State dict by the vector's weight rule; constant kernels are left out."""
    state = {}
    for key, shape in sorted(shapes.items()):
        rule = next(rule for rule in rules if re.fullmatch(rule["pattern"], key))
        if rule.get("keep"):
            continue
        values = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF).randn(*shape)
        state[key] = torch.from_numpy(
            np.asarray(rule["offset"] + rule["scale"] * values, dtype=np.float32)
        )
    return state


def close(actual: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(actual.float(), expected, rtol=1e-4, atol=atol)


@pytest.fixture(scope="module")
def ros() -> tuple[dict, dict[str, Tensor]]:
    return read("stylegan2_rosinality")


@pytest.fixture(scope="module")
def ros_generator(ros: tuple) -> Generator:
    return convert_generator(draw(ros[0]["state_dict_generator"], ros[0]["rules_generator"]))


def test_rosinality_generator(ros: tuple, ros_generator: Generator) -> None:
    arrays, generator = ros[1], ros_generator
    close(generator.mapping(arrays["z"]), arrays["out_mapping"])
    close(generator.synthesis(arrays["w"], noise="none"), arrays["out_w_noise_zero_image"])
    close(generator.synthesis(arrays["w"]), arrays["out_w_image"])
    outputs = generator.synthesis.run(arrays["w_plus"])
    close(outputs[0][0], arrays["mid_w_plus_conv1"])
    for _, rgb in outputs[:-1]:
        close(rgb, arrays[f"mid_w_plus_rgb{rgb.shape[-1]}"])
    close(outputs[-1][1], arrays["out_w_plus_image"])


def test_rosinality_truncation_and_mixing(ros: tuple, ros_generator: Generator) -> None:
    arrays = ros[1]
    state = draw(ros[0]["state_dict_generator"], ros[0]["rules_generator"])
    truncated = convert_generator(state, w_mean=arrays["truncation_latent"])
    close(truncated(arrays["z"], psi=0.7), arrays["out_trunc_image"])
    w, w2 = ros_generator.mapping(arrays["z"]), ros_generator.mapping(arrays["z2"])
    mixed = mix_styles(w, w2, 3, ros_generator.num_ws)
    close(ros_generator.synthesis(mixed), arrays["out_mix_image"])


def test_rosinality_explicit_noise_equals_buffers(ros: tuple, ros_generator: Generator) -> None:
    maps = [conv.noise[None, None] for conv in ros_generator.synthesis.convs]
    close(ros_generator.synthesis(ros[1]["w"], noise=maps), ros[1]["out_w_image"])


def test_rosinality_discriminator_and_losses(ros: tuple) -> None:
    vector, arrays = ros
    discriminator = convert_discriminator(
        draw(vector["state_dict_discriminator"], vector["rules_discriminator"])
    )
    x = 0.5 * normal(1004, 8, 3, 32, 32)
    close(discriminator(x), arrays["out_D_logits_batch8"])
    close(discriminator(x[:2]), arrays["out_D_logits_batch2"])
    real = x[:4].clone().requires_grad_()
    real_logits, fake_logits = discriminator(real), discriminator(x[4:])
    close(r1_penalty(real_logits, real)[None], arrays["out_r1"])
    losses = [discriminator_loss(real_logits, fake_logits), generator_loss(fake_logits)]
    close(torch.stack(losses), arrays["out_losses_d_g"])


def test_rosinality_path_length(ros: tuple, ros_generator: Generator) -> None:
    arrays = ros[1]
    ws = arrays["w_plus"].clone().requires_grad_()
    lengths = path_lengths(ros_generator.synthesis(ws), ws, normal(1005, 2, 3, 32, 32))
    close(lengths, arrays["out_path_lengths"])
    penalty = torch.stack(path_penalty(lengths, torch.tensor(0.5)))
    close(penalty, arrays["out_path_penalty_mean"])


def test_rosinality_semantic_directions(ros: tuple, ros_generator: Generator) -> None:
    values, directions = semantic_directions(ros_generator)
    close(values, ros[1]["out_sefa_singular_values"])
    close(directions, ros[1]["out_sefa_eigvec"], atol=1e-3)


def test_nvidia_generator() -> None:
    vector, arrays = read("stylegan2_nvidia")
    state = draw(vector["state_dict_generator"], vector["rules_generator"])
    generator = convert_generator(state)
    w = generator.mapping(arrays["z"])
    close(generator.truncate(w, 0.6, 4), arrays["out_mapping_ws_trunc"])
    close(w[:, None].expand(-1, generator.num_ws, -1), arrays["out_mapping_ws"])
    close(generator.synthesis(arrays["ws"]), arrays["out_image_const"])
    close(generator.synthesis(arrays["ws"], noise="none"), arrays["out_image_none"])
    close(generator(arrays["z"], psi=0.6), arrays["out_z_image_trunc"])
    clamped = convert_generator(state, conv_clamp=1.0)
    close(clamped.synthesis(arrays["ws"]), arrays["out_image_const_clamp"])


def test_nvidia_discriminator() -> None:
    vector, arrays = read("stylegan2_nvidia")
    state = draw(vector["state_dict_discriminator"], vector["rules_discriminator"])
    x = 0.5 * normal(3002, 8, 3, 32, 32)
    discriminator = convert_discriminator(state)
    close(discriminator(x), arrays["out_D_logits_batch8"])
    close(discriminator(x[:4]), arrays["out_D_logits_batch4"])
    close(convert_discriminator(state, 1.0)(x), arrays["out_D_logits_batch8_clamp"])


UPFIRDN = json.loads((HERE / "upfirdn2d" / "vector.json").read_text())


@pytest.mark.parametrize("case", UPFIRDN["cases"], ids=lambda case: case["output"])
def test_upfirdn2d(case: dict) -> None:
    _, arrays = read("upfirdn2d")
    result = ops.upfirdn2d(
        arrays["x"],
        arrays[f"kernel_{case['kernel']}"],
        up=tuple(case["up_xy"]),
        down=tuple(case["down_xy"]),
        pad=tuple(case["pad_x0_x1_y0_y1"]),
        gain=case["gain"],
        flip=case["flip_filter"],
    )
    torch.testing.assert_close(result, arrays[case["output"]], rtol=0, atol=1e-5)


def test_upfirdn2d_conveniences() -> None:
    _, arrays = read("upfirdn2d")
    x = arrays["x"]
    taps = torch.arange(1, 13) / 10
    results = {
        "out_upsample2d_up2": ops.upsample(x),
        "out_downsample2d_down2": ops.blur(x, ops.binomial_kernel(), padding=1, stride=2),
        "out_filter2d": ops.upfirdn2d(x, ops.binomial_kernel(), pad=(2, 1, 2, 1)),
        "out_correlate_flip_filter": ops.upfirdn2d(
            x, arrays["kernel_asym"], pad=(2, 1, 1, 2), flip=True
        ),
        "out_upsample2d_up2_separable12": ops.upfirdn2d(
            x, taps / taps.sum(), up=2, pad=(6, 5, 6, 5), gain=4.0
        ),
    }
    for name, result in results.items():
        torch.testing.assert_close(result, arrays[name], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def eg3d() -> tuple[dict, dict[str, Tensor], Generator]:
    vector, arrays = read("eg3d_backbone")
    state = draw(vector["state_dict"], vector["rules"])
    generator = convert_generator({k.removeprefix("backbone."): v for k, v in state.items()})
    return vector, arrays, generator


def near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@torch.no_grad()
def test_eg3d_backbone_is_conditioned_on_cameras_and_makes_96_channels(eg3d: tuple) -> None:
    vector, arrays, generator = eg3d
    config = generator.config
    assert (config.z_dim, config.label_dim, config.image_channels) == (64, 25, 96)
    w = generator.mapping(normal(7, 1, 64), arrays["cond_label"])
    near(w, arrays["w"])
    psi, cutoff = (vector["config"][f"truncation_{key}"] for key in ("psi", "cutoff"))
    ws = generator.truncate(w, psi, cutoff)
    near(ws[:, [0, 13]], arrays["ws_truncated"])
    planes = generator.synthesis(ws)
    near(planes[:, :, 5::32, 5::32], arrays["planes_sample"])
    near(planes.mean((2, 3)), arrays["planes_mean"])
    near(planes.std((2, 3)), arrays["planes_std"])


@torch.no_grad()
def test_the_last_block_makes_three_planes_of_one_state(eg3d: tuple) -> None:
    _, arrays, generator = eg3d
    shared, *codes = (
        0.7 * normal(seed, 1, rows, 512) for seed, rows in ((101, 12), (102, 3), (103, 3), (104, 3))
    )
    synthesis = generator.synthesis
    state = synthesis.begin(1)
    for index, block in enumerate(synthesis.stages[:-1]):
        state = block(state, shared[:, synthesis.ws_of(index)])
    near(state.image[:, :, 3::16, 3::16], arrays["tri_skip_sample"])
    last = synthesis.stages[-1]
    passes = [last(state, code).image.unflatten(1, (3, 32))[:, k] for k, code in enumerate(codes)]
    planes = torch.stack(passes, 1)
    near(planes[..., 5::32, 5::32], arrays["tri_planes_sample"])
    near(planes.mean((3, 4)), arrays["tri_planes_mean"])
    near(planes.std((3, 4)), arrays["tri_planes_std"])
