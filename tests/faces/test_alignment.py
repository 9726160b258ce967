"""Five-point alignment: known similarities are recovered, pixels arrive where they belong."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.faces.alignment import TEMPLATE, align, similarity, template, warp


@given(
    scale=st.floats(0.05, 20),
    degrees=st.floats(-180, 180),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_a_known_similarity_is_recovered(scale, degrees, shift, seed):
    points = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(seed)).double() * 100
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    linear = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    moved = points @ linear.T + torch.tensor(shift, dtype=torch.float64)
    matrix = similarity(points, moved)
    torch.testing.assert_close(matrix[:, :, :2], linear.expand(3, 2, 2), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(matrix[:, :, 2], torch.tensor(shift).double().expand(3, 2))


def test_no_other_similarity_is_nearer():
    """Least squares: any small change of the four parameters makes the residual larger."""
    generator = torch.Generator().manual_seed(0)
    source, target = torch.rand(2, 1, 5, 2, generator=generator, dtype=torch.float64)

    def residual(matrix: torch.Tensor) -> float:
        return (source @ matrix[0, :, :2].T + matrix[0, :, 2] - target).square().sum().item()

    best = similarity(source, target)
    a, b = best[0, 0, 0], best[0, 1, 0]
    for da, db, dx, dy in torch.eye(4).tolist() + (-torch.eye(4)).tolist():
        near = best.clone()
        near[0, :, :2] = torch.tensor(
            [[a + 1e-3 * da, -b - 1e-3 * db], [b + 1e-3 * db, a + 1e-3 * da]]
        )
        near[0, :, 2] += 1e-3 * torch.tensor([dx, dy])
        assert residual(near) > residual(best)


def test_mirrored_points_are_not_reflected():
    points = torch.tensor([TEMPLATE])
    mirrored = points * torch.tensor([-1.0, 1.0])
    matrix = similarity(mirrored, points)
    assert torch.linalg.det(matrix[:, :, :2]) > 0


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    source, target = torch.rand(2, 2, 5, 2, generator=generator, dtype=torch.float64)
    source.requires_grad_()
    assert torch.autograd.gradcheck(similarity, (source, target))
    images = torch.rand(2, 3, 20, 20, generator=generator).requires_grad_()
    points = (20 * torch.rand(2, 5, 2, generator=generator)).requires_grad_()
    align(images, points, 16).square().sum().backward()
    assert images.grad.abs().sum() > 0
    assert points.grad.isfinite().all() and points.grad.abs().sum() > 0


def test_points_land_on_the_template():
    """Bright dots at the five points of an image end at the template's."""
    points = template() * 0.5 + torch.tensor([10.0, 3.0])
    y, x = torch.meshgrid(torch.arange(80.0), torch.arange(90.0), indexing="ij")
    for k in range(5):
        distance = (x - points[k, 0]) ** 2 + (y - points[k, 1]) ** 2
        image = (2 * torch.exp(-distance / 2) - 1).expand(1, 3, -1, -1)
        light = align(image, points[None])[0, 0] + 1
        row, column = (torch.arange(112.0) for _ in range(2))
        centre = torch.stack([(light.sum(0) * column).sum(), (light.sum(1) * row).sum()])
        torch.testing.assert_close(centre / light.sum(), template()[k], rtol=0, atol=0.05)


def test_outside_is_black_and_the_identity_changes_nothing():
    images = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
    identity = torch.eye(2, 3).expand(2, -1, -1)
    torch.testing.assert_close(warp(images, identity, 12), images, rtol=0, atol=1e-5)
    away = identity.clone()
    away[:, 0, 2] = 100
    torch.testing.assert_close(warp(images, away, 12), torch.full_like(images, -1))
    with pytest.raises(ValueError, match="2 images, but 1 matrices"):
        warp(images, identity[:1], 12)


def test_template_sizes():
    torch.testing.assert_close(template(224), 2 * template())
    torch.testing.assert_close(template(256), 2 * (template() + torch.tensor([8.0, 0.0])))
