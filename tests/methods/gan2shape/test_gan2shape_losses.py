"""Losses, mirrored copies and latent offsets: values and gradients."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.generators.stylegan2.generator import Mapping
from gan3d_bench.generators.stylegan2.teacher import random_pair
from gan3d_bench.geometry.views import View
from gan3d_bench.losses.photometric import masked_l1, masked_mean
from gan3d_bench.methods.gan2shape.factors import BORDER_DEPTH, clamp_border, depth_from_raw
from gan3d_bench.methods.gan2shape.latents import LatentOffset, offset_penalty
from gan3d_bench.methods.gan2shape.losses import discriminator_distance, image_loss, smoothness
from gan3d_bench.methods.gan2shape.photogeometry import (
    mirror,
    mirror_normal,
    photogeometric,
    surface_mask,
)
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals
from gan3d_bench.rendering.shading import LambertLight

SIZE = 16
CAMERA = PinholeCamera(SIZE)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def bump(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    line = torch.linspace(-1, 1, SIZE, dtype=dtype)
    return (1.02 - 0.08 * torch.exp(-(line**2 + (line[:, None] - 0.3) ** 2)))[None, None]


def mapping_network() -> Mapping:
    with torch.random.fork_rng():  # initial weights come from the global generator
        torch.manual_seed(0)
        return Mapping(8, 8, 3)


def test_masked_mean_of_each_group(rng):
    values, mask = (
        torch.rand(4, 3, 5, 5, generator=rng),
        (torch.rand(4, 1, 5, 5, generator=rng) > 0.5).float(),
    )
    groups = masked_mean(values, mask, 2)
    for i, part in enumerate((slice(0, 2), slice(2, 4))):
        expected = (values[part] * mask[part]).sum() / (mask[part].sum() * 3)
        torch.testing.assert_close(groups[i], expected)
    assert masked_mean(values, torch.zeros_like(mask), 1).item() == 0


def test_masked_l1_gradient(rng):
    a, b = (torch.rand(2, 3, 4, 4, dtype=torch.float64, generator=rng) for _ in range(2))
    mask = torch.rand(2, 1, 4, 4, dtype=torch.float64, generator=rng)
    assert torch.autograd.gradcheck(lambda x: masked_l1(x, b, mask, 2), a.requires_grad_())


def test_smoothness_gradient_and_planes(rng):
    x = torch.rand(1, 1, 5, 5, dtype=torch.float64, requires_grad=True, generator=rng)
    assert torch.autograd.gradcheck(lambda d: smoothness(d, d**2), x)
    plane = torch.arange(5.0).expand(1, 1, 5, 5)
    assert smoothness(plane, torch.ones(1, 1, 5, 5)).item() == 0


def test_perceptual_term_is_weighted_and_optional(rng):
    a, b, mask = (
        torch.rand(2, 3, 8, 8, generator=rng),
        torch.rand(2, 3, 8, 8, generator=rng),
        torch.ones(2, 1, 8, 8),
    )

    def distance(x, m):
        return (x - b).square().mean((1, 2, 3))

    l1, perceptual = image_loss(a, b, mask, distance, 0.5, 2)
    torch.testing.assert_close(l1, (a - b).abs().mean())
    torch.testing.assert_close(perceptual, 0.5 * (a - b).square().mean())
    assert image_loss(a, b, mask, None, 0.5, 2)[1].item() == 0


def test_photogeometric_gradient_reaches_everything(rng):
    """Finite differences along a random direction, away from silhouettes."""
    depth = bump(torch.float64).requires_grad_()
    albedo = (
        torch.rand(1, 3, SIZE, SIZE, dtype=torch.float64, generator=rng) * 0.5 - 0.5
    ).requires_grad_()
    angle = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    ambient = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
    inner = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.float64)
    inner[..., 4:-4, 4:-4] = 1
    zero = torch.zeros(1, dtype=torch.float64)

    def loss(depth, albedo, angle, ambient):
        normal = depth_normals(depth, CAMERA)
        light = LambertLight.from_slopes(ambient, zero + 0.5, zero + 0.3, zero + 0.2)
        view = View(angle, zero, zero, torch.zeros(1, 3, dtype=torch.float64))
        r = photogeometric(depth, albedo, normal, view, light, CAMERA)
        return (r.image.square() * inner * r.mask).sum()

    inputs = (depth, albedo, angle, ambient)
    grads = torch.autograd.grad(loss(*inputs), inputs)
    for index, (value, grad) in enumerate(zip(inputs, grads, strict=True)):
        direction = torch.randn(value.shape, dtype=value.dtype, generator=rng)
        step = 1e-6
        moved = [
            loss(*(x + sign * step * direction if i == index else x for i, x in enumerate(inputs)))
            for sign in (1, -1)
        ]
        numeric = (moved[0] - moved[1]) / (2 * step)
        torch.testing.assert_close((grad * direction).sum(), numeric, rtol=2e-2, atol=1e-4)


def test_mirrored_normals_are_the_normals_of_the_mirrored_surface(rng):
    depth = bump() + 0.01 * torch.rand(1, 1, SIZE, SIZE, generator=rng)
    expected = depth_normals(mirror(depth), CAMERA)
    actual = mirror_normal(depth_normals(depth, CAMERA))
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_surface_mask_leaves_out_what_is_past_the_image():
    depth, zero = bump(), torch.zeros(1)
    view = View(zero, zero, zero, torch.tensor([[0.05, 0.0, 0.0]]))
    r = photogeometric(
        depth, torch.zeros(1, 3, SIZE, SIZE), depth_normals(depth, CAMERA), view,
        LambertLight.frontal(), CAMERA,
    )  # fmt: skip
    mask = surface_mask(None, r.warp)
    assert not mask[..., :2].any()
    assert mask[..., -2:].all()
    half = torch.zeros(1, 1, SIZE, SIZE)
    assert not surface_mask(half, r.warp).any()


def test_depth_is_centred_and_bounded_with_far_borders(rng):
    raw = torch.randn(2, 1, SIZE, SIZE, generator=rng) * 3 + 5
    depth = depth_from_raw(raw)
    assert depth.min() >= 0.9
    assert depth.max() <= 1.1
    torch.testing.assert_close(depth_from_raw(raw + 7), depth, atol=1e-5, rtol=0)
    bordered = clamp_border(depth)
    expected = 1.02 * BORDER_DEPTH - 0.02 * depth[..., :2]
    torch.testing.assert_close(bordered[..., :2], expected)
    torch.testing.assert_close(bordered[..., 2:-2], depth[..., 2:-2])


def test_discriminator_distance(rng):
    _, discriminator = random_pair(16)
    fake = torch.rand(4, 3, 16, 16, requires_grad=True, generator=rng)
    real = torch.rand(4, 3, 16, 16, requires_grad=True, generator=rng)
    mask = torch.ones(4, 1, 16, 16)
    both = discriminator_distance(fake, real, mask, discriminator, 2)
    both.sum().backward()
    assert fake.grad.any()
    assert real.grad is None
    first = discriminator_distance(fake[:2], real[:2], mask[:2], discriminator)
    torch.testing.assert_close(both[:1], first)
    assert not discriminator_distance(fake, fake, mask, discriminator).any()
    assert not discriminator_distance(fake, real, mask * 0, discriminator).any()


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_zero_code_is_no_offset_and_codes_have_gradients(depth, rng):
    offset = LatentOffset(mapping_network(), depth)
    assert not offset(torch.zeros(2, 8)).any()
    code = torch.randn(2, 8, requires_grad=True, generator=rng)
    offset_penalty(offset(code)).backward()
    assert code.grad.abs().sum() > 0
    torch.testing.assert_close(offset(code, code), torch.zeros(2, 8))


def test_without_regularisation_the_code_is_the_offset(rng):
    code = torch.randn(2, 8, generator=rng)
    assert torch.equal(LatentOffset(mapping_network(), None)(code), code)
    assert offset_penalty(code) == code.square().mean()


def test_offset_depth_out_of_range():
    with pytest.raises(ValueError, match=r"0\.\.3"):
        LatentOffset(mapping_network(), 4)(torch.zeros(1, 8))
