"""GAN2Shape against outputs of the released code (see each folder's vector.json).

Networks, factors and offsets to 1e-4, losses to 2e-4, pictures to 2e-4 on 99 % of their pixels.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gan3d_bench.generators.stylegan2.generator import Mapping
from gan3d_bench.generators.stylegan2.official import convert_discriminator
from gan3d_bench.geometry.depth_prior import mask_extent, prior_depth
from gan3d_bench.losses.photometric import masked_l1
from gan3d_bench.methods.gan2shape.factors import (
    OFFICIAL_NORMAL_EPSILON,
    Factors,
    depth_from_raw,
    view_from_raw,
)
from gan3d_bench.methods.gan2shape.latents import LatentOffset, offset_penalty, split_mapping
from gan3d_bench.methods.gan2shape.losses import discriminator_distance, image_loss, smoothness
from gan3d_bench.methods.gan2shape.networks import AutoEncoder, OffsetEncoder, Regressor
from gan3d_bench.methods.gan2shape.photogeometry import (
    mirror,
    mirror_normal,
    per_sample,
    photogeometric,
    sample_lights,
    surface_mask,
)
from gan3d_bench.methods.gan2shape.sampling import YAW, LightDistribution
from gan3d_bench.rendering.cameras import PinholeCamera

HERE = Path(__file__).parent


def vector(name: str) -> tuple[dict, dict[str, Tensor], dict[str, Tensor]]:
    """The description, inputs and outputs of a vector."""
    folder = HERE / name
    arrays = (np.load(folder / f"{part}.npz") for part in ("inputs", "outputs"))
    tensors = [{key: torch.from_numpy(z[key]) for key in z.files} for z in arrays]
    return json.loads((folder / "vector.json").read_text()), tensors[0], tensors[1]


def rule_weights(spec: dict) -> dict[str, Tensor]:
    """The weights a vector's rules give, by key."""
    weights = {}
    for key, shape in sorted(spec["keys"].items()):
        rule = next(r for r in spec["rules"] if re.search(r["pattern"], key))
        scale = rule["scale"]
        if isinstance(scale, str):
            scale = 1.4142135623730951 / np.sqrt(shape[1] * shape[2] * shape[3])
        noise = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF).randn(*shape)
        weights[key] = torch.from_numpy((rule["offset"] + scale * noise).astype(np.float32))
    return weights


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(actual.detach(), expected, rtol=tolerance, atol=tolerance)


# -- networks -----------------------------------------------------------------------------------

NETWORKS = {
    "netD": lambda k: AutoEncoder(64, 1, instances=k),
    "netA": lambda k: AutoEncoder(64, 3, tanh=True, instances=k),
    "netV": lambda k: Regressor(64, 6, instances=k),
    "netL": lambda k: Regressor(64, 4, instances=k),
    "netEnc": lambda k: OffsetEncoder(64, 512, instances=k),
}


@pytest.fixture(scope="module")
def nets() -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor], dict[str, Tensor]]:
    spec, inputs, outputs = vector("gan2shape_nets")
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in rule_weights(spec).items():
        entry, _, name = key.partition(".")
        states.setdefault(entry, {})[name] = value
    return states, inputs, outputs


@pytest.mark.parametrize("entry", NETWORKS)
@torch.no_grad()
def test_network(entry, nets):
    states, inputs, outputs = nets
    network = NETWORKS[entry](1)
    network.load_state_dict(states[entry])
    raw = network(inputs["image"])
    close(raw, outputs[entry])
    if entry == "netD":
        close(depth_from_raw(raw)[:, 0], outputs["depth_rescaled"])


@pytest.mark.parametrize("entry", ["netD", "netV", "netEnc"])
@torch.no_grad()
def test_network_of_two_instances(entry, nets):
    """Official weights in both slots give the official output in both, and in a chosen one."""
    states, inputs, outputs = nets
    network = NETWORKS[entry](2)
    network.load_each(states[entry])
    expected = outputs[entry]
    close(network(inputs["image"]), expected)
    close(network(inputs["image"], slots=[1]), expected)
    close(network(inputs["image"], slots=[1, 0]), expected)
    assert all(torch.equal(network.state_of(1)[k], v) for k, v in states[entry].items())


# -- prior --------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(5))
def test_ellipsoid(index):
    spec, inputs, outputs = vector("gan2shape_ellipsoid")
    category = spec["categories"][index]
    extent = mask_extent(inputs["mask"][index], category)
    far = 1.0 if category == "church" else 1.02
    close(prior_depth(extent, 64, 0.91, far), outputs["depth"][index], 1e-5)


# -- step 1, the flipped pass, pseudo samples -----------------------------------------------------


@pytest.fixture(scope="module")
def step1():
    spec, x, y = vector("gan2shape_step1")
    camera = PinholeCamera(spec["image_size"])
    factors = Factors.from_raw(
        x["depth_raw"],
        x["albedo_raw"],
        x["view_raw"] + x["view_mean"],
        x["light_raw"] + x["light_mean"],
        camera=camera,
        normal_epsilon=OFFICIAL_NORMAL_EPSILON,
    )
    return spec, x, y, camera, factors


def mostly_close(actual: Tensor, expected: Tensor, tolerance: float = 2e-4) -> None:
    """Close on 99 % of the pixels: silhouette pixels may flip."""
    assert actual.shape == expected.shape
    off = (actual.detach() - expected).abs() > tolerance
    assert off.float().mean() <= 0.01, f"{off.float().mean():.2%} of the pixels differ"


def test_factors(step1):
    _, _, y, _, f = step1
    close(f.depth[:, 0], y["plain_depth"])
    close(f.view.to_gan2shape(), y["plain_view"])
    close(-f.light.direction, y["plain_light_dir"])
    close(f.light.ambient[:, None], y["plain_ambient"])
    close(f.light.diffuse[:, None], y["plain_diffuse"])


def test_step1_forward(step1):
    _, x, y, camera, f = step1
    r = photogeometric(f.depth, f.albedo, f.normal, f.view, f.light, camera, half_pixel=True)
    mostly_close(r.warp.depth[:, 0], y["plain_recon_depth"])
    mostly_close(r.image, y["plain_recon_im"])
    l1, _ = image_loss(r.image, x["image"], r.mask, None, 0.5, 1)
    smooth = smoothness(f.depth, r.diffuse)
    close(l1[None], y["plain_l1"], 2e-4)
    close(smooth[None], y["plain_smooth"], 2e-4)
    close((l1 + 0.01 * smooth)[None], y["plain_total_no_perceptual"], 2e-4)


def test_flipped_forward(step1):
    _, x, y, camera, f = step1
    both = [
        torch.cat(pair)
        for pair in (
            (f.depth, mirror(f.depth)),
            (f.albedo, mirror(f.albedo)),
            (f.normal, mirror_normal(f.normal)),
        )
    ]
    view = view_from_raw((x["view_raw"] + x["view_mean"]).expand(2, -1))
    r = photogeometric(*both, view, sample_lights(f.light, 2), camera, half_pixel=True)
    mostly_close(r.image, y["flip_recon_im"])
    mostly_close(r.warp.depth[:, 0], y["flip_recon_depth"])
    valid = r.mask.prod(0, keepdim=True)
    l1, l1_flip = (image_loss(i, x["image"], valid, None, 0.5, 1)[0] for i in r.image.split(1))
    smooth = smoothness(both[0], r.diffuse)
    close(l1[None], y["flip_l1"], 2e-4)
    close(l1_flip[None], y["flip_l1_flip"], 2e-4)
    close(smooth[None], y["flip_smooth"], 2e-4)
    close((l1 + l1_flip + 0.01 * smooth)[None], y["flip_total_no_perceptual"], 2e-4)


def test_pseudo_samples(step1):
    spec, x, y, camera, f = step1
    n = len(x["rand_view"])
    raw = x["rand_view"].clone()
    raw[:, YAW] *= spec["config"]["view_scale"]
    lights = LightDistribution((0, 0), (0, 0), (0, 0), spec["config"]["alpha"]).apply(
        torch.stack((x["rand_dx"], x["rand_dy"], x["rand_k"]), 1), sample_lights(f.light, n)
    )
    maps = (per_sample(m, n) for m in (f.depth, f.albedo, f.normal))
    r = photogeometric(*maps, view_from_raw(raw), lights, camera, half_pixel=True)
    mostly_close(r.image, y["pseudo_im"])
    mostly_close(surface_mask(x["canon_mask"], r.warp), y["pseudo_mask"])


# -- latent offsets and discriminator features ----------------------------------------------------


@pytest.fixture(scope="module")
def latent():
    spec, inputs, outputs = vector("gan2shape_latent")
    weights = rule_weights(spec)
    mapping = Mapping(512, 512, 8).requires_grad_(False)
    mapping.load_state_dict(
        {
            f"layers.{int(key.split('.')[1]) - 1}.{key.split('.')[2]}": value
            for key, value in weights.items()
            if key.startswith("style")
        }
    )
    return weights, mapping, inputs, outputs


@pytest.mark.parametrize("depth", [2, 8])
@pytest.mark.parametrize("relative", [0, 1])
def test_latent_offset(depth, relative, latent):
    _, mapping, x, y = latent
    offset = LatentOffset(mapping, depth)(x["enc"], x["enc_ref"] if relative else None)
    close(offset, y[f"offset_d{depth}_rel{relative}"])
    if relative:
        close(x["w"] + offset, y[f"latent_d{depth}_rel1"])
    elif depth == 2:
        close(offset_penalty(offset)[None], y["latent_norm_d2_rel0"])


def test_depth_two_takes_three_layers(latent):
    _, mapping, _, _ = latent
    assert split_mapping(mapping, 2) == (list(mapping.layers[5:]), 6)
    assert split_mapping(mapping, 8) == ([None, *mapping.layers], 0)


def test_discriminator_features(latent):
    weights, _, x, y = latent
    state = {key: value for key, value in weights.items() if key.startswith("convs")}
    state |= {
        "final_conv.0.weight": torch.zeros(512, 513, 3, 3),
        "final_conv.1.bias": torch.zeros(512),
        "final_linear.0.weight": torch.zeros(512, 8192),
        "final_linear.0.bias": torch.zeros(512),
        "final_linear.1.weight": torch.zeros(1, 512),
        "final_linear.1.bias": torch.zeros(1),
    }
    discriminator = convert_discriminator(state)
    for index, features in enumerate(discriminator.features(x["fake"])):
        close(features.mean(1), y[f"feat{index}_chanmean"])
    masked = discriminator_distance(x["fake"], x["real"], x["mask"], discriminator)
    close(masked, y["d_loss_masked"])
    plain = discriminator_distance(x["fake"], x["real"], torch.ones_like(x["mask"]), discriminator)
    close(plain, y["d_loss_plain"])
    close(masked_l1(x["fake"], x["real"], x["mask"]), y["l1_masked"])
