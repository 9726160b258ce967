"""EG3D: our cameras, tri-planes, renderer and generator give what the released code gives.

Randomness of the released code was fixed: jitter 0.5, importance uniforms (i + 0.5) / n.
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

from gan3d_bench.generators.eg3d import volume
from gan3d_bench.generators.eg3d.cameras import CameraOrbit
from gan3d_bench.generators.eg3d.official import convert_generator
from gan3d_bench.generators.eg3d.official_names import all_names, kernel_names
from gan3d_bench.generators.eg3d.triplanes import (
    Decoder,
    TriplaneField,
    plane_coordinates,
    sample_planes,
)
from gan3d_bench.generators.eg3d.volume import VolumeConfig

HERE = Path(__file__).parent


def read(name: str) -> tuple[dict, dict[str, Tensor]]:
    arrays = np.load(HERE / name / "outputs.npz")
    vector = json.loads((HERE / name / "vector.json").read_text())
    return vector, {key: torch.from_numpy(arrays[key]).float() for key in arrays}


def draw(weights: dict) -> dict[str, Tensor]:
    """State dict by the vector's rule for weights."""
    state = {}
    for key, shape in weights["keys"].items():
        rule = next(rule for rule in weights["patterns"] if re.search(rule["regex"], key))
        if "constant" in rule:
            state[key] = torch.tensor(rule["constant"])
            continue
        seed = zlib.crc32((weights["key_prefix"] + key).encode()) & 0xFFFFFFFF
        values = np.random.RandomState(seed).randn(*shape)
        values = rule.get("mean", 0.0) + rule["scale"] * values
        state[key] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return state


def made(rule: dict) -> Tensor:
    """An input by its rule."""
    values = getattr(np.random.RandomState(rule["seed"]), rule["rng"])(*rule["shape"])
    values = rule.get("shift", 0.0) + rule.get("scale", 1.0) * values
    return torch.from_numpy(values.astype(np.float32))


def near(actual: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def ratio(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


# -- renderer -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rendering() -> tuple[dict, dict[str, Tensor], Tensor, Decoder]:
    vector, arrays = read("eg3d_render")
    state = draw(vector["weights"])
    decoder = Decoder()
    names = {"net.0": "hidden", "net.2": "out"}
    decoder.load_state_dict({f"{names[key[:5]]}{key[5:]}": value for key, value in state.items()})
    return vector, arrays, made(vector["inputs"]["planes"]), decoder


@torch.no_grad()
def test_planes_and_decoder_at_points(rendering: tuple) -> None:
    vector, arrays, planes, decoder = rendering
    points = made(vector["inputs"]["points"])
    near(plane_coordinates(points[0], 1, "released"), arrays["points.projection"], 1e-6)
    sampled = sample_planes(planes[:1], points, 1, "released")
    near(sampled.transpose(2, 3), arrays["points.features"], 1e-5)
    colours, densities = TriplaneField(planes[:1], decoder)(points)
    near(densities[..., None], arrays["points.sigma"])
    near(colours[..., :8], arrays["points.rgb"])


@torch.no_grad()
@pytest.mark.parametrize("points_at_once", [10**6, 500])
@pytest.mark.parametrize("name", ["ffhq", "auto_white"])
def test_rendering(rendering: tuple, name: str, points_at_once: int) -> None:
    vector, arrays, planes, decoder = rendering
    case = next(case for case in vector["cases"] if case["name"] == name)
    found = {key.partition(".")[2]: x for key, x in arrays.items() if key.startswith(name)}
    a, b = torch.tensor(case["angles"]).T
    orbit = CameraOrbit(case["radius"], tuple(case["pivot"]), case["focal"])
    labels = orbit.look_at(a, b)
    near(labels, found["camera_label"], 1e-5)
    rays = volume.camera_rays(labels, vector["image_resolution"])
    if "ray_directions" in found:
        near(rays.directions, found["ray_directions"], 1e-6)
    options = case["options"]
    config = VolumeConfig(
        None if options["ray_start"] == "auto" else (options["ray_start"], options["ray_end"]),
        options["box_warp"],
        options["depth_resolution"],
        options["depth_resolution_importance"],
        options.get("white_back", False),
    )
    field = TriplaneField(planes[: len(a)], decoder, config.box_warp)
    start, end = volume.ray_limits(rays, config)
    half = torch.full((*start.shape, 12), 0.5)
    coarse = volume.coarse_depths(start, end, half)
    near(coarse, found["depths_coarse"], 1e-5)
    points = rays.origins[:, :, None] + coarse[..., None] * rays.directions[:, :, None]
    densities = field(points.flatten(1, 2))[1].view_as(coarse)
    weights = volume.ray_weights(densities, coarse)
    near(weights, found["weights_coarse"])
    level = ((torch.arange(12) + 0.5) / 12).expand_as(coarse)
    near(volume.fine_depths(coarse, weights, level), found["depths_fine"])
    seen = volume.render_rays(field, rays, config, points_at_once=points_at_once)
    channels = found["feature_image"].shape[1]
    near(seen.features[..., :channels].transpose(1, 2), found["feature_image"].flatten(2))
    near(seen.distance, found["depth_image"].flatten(1), 1e-3)
    near(seen.opacity, found["weight_sum"])


# -- generators ---------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(
    "name", [pytest.param("eg3d_generator", marks=pytest.mark.slow), "eg3d_generator_128"]
)
def test_generator(name: str) -> None:
    vector, arrays = read(name)
    config = vector["config"]
    options = config["rendering_kwargs"]
    state = draw(vector["weights"])
    generator = convert_generator(
        state,
        options,
        options["superresolution_module"].rpartition(".")[2],
        "released",
        volume_size=config["neural_rendering_resolution"],
        image_size=config["img_resolution"],
        sr_clamp=256.0,
    )
    assert set(all_names(generator.config).values()) | set(kernel_names(generator.config)) == set(
        vector["weights"]["keys"]
    )
    assert generator.config.orbit.focal == config["focal"]
    orbit, z = generator.config.orbit, made(vector["inputs"]["z"])
    labels = orbit.look_at(*torch.tensor(config["angles"]).T)
    near(labels, arrays["camera_label"], 1e-5)
    front = orbit.look_at(*torch.tensor([config["cond_angle"]]).T)
    near(front, arrays["cond_label"], 1e-5)
    w = generator.stylecodes(z, front)
    ratio(w, arrays["w"])
    psi, cutoff = config["truncation_psi"], config["truncation_cutoff"]
    ws = generator.truncate(w, psi, cutoff)
    ratio(ws[:, [0, 13]], arrays["ws_truncated"])
    planes = generator.synthesis.planes(ws).flatten(1, 2)
    ratio(planes[:, :, 5::16, 5::16], arrays["planes_sample"])
    ratio(planes.mean((2, 3)), arrays["planes_mean"])
    ratio(planes.std((2, 3)), arrays["planes_std"])
    image, volume_picture = generator.synthesis.run(ws, labels)
    near(volume_picture.raw, arrays["image_raw"], 2e-3)
    near(volume_picture.distance, arrays["image_depth"], 2e-3)
    step = image.shape[-1] // 64
    near(image[:, :, ::step, ::step], arrays["image_strided"], 2e-3)
    near(image[:, :, -40:, -40:], arrays["image_crop"], 2e-3)
    whole = generator(z, psi, cutoff, labels=front, cameras=labels)
    assert torch.equal(whole, image)
    # the released blocks that keep the size add onto the raw image that is returned
    returned = volume_picture.raw
    block = generator.synthesis.super_resolution.block0
    if not block.up:
        returned = block(volume_picture.features, returned, ws[:, -1])[1]
    near(returned, arrays["image_raw_returned"], 2e-3)
