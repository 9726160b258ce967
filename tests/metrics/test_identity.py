"""Identity metrics and loss on a network whose embeddings are known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gan3d_bench.faces.arcface import angle, cosine_similarity
from gan3d_bench.losses.identity import IdentityLoss
from gan3d_bench.metrics.identity import IdentityDistance, IdentitySimilarity


class Corner(nn.Module):
    """The embedding is the colour of the first pixel."""

    label = "corner"

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, 0, 0]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.embed(images)


def images_at(degrees: list[float], length: float = 3.0) -> torch.Tensor:
    """Images whose embeddings lie in one plane, at these angles."""
    t = torch.tensor(degrees).deg2rad()
    colours = length * torch.stack([t.cos(), t.sin(), torch.zeros_like(t)], 1)
    return colours[:, :, None, None].expand(-1, -1, 2, 2)


@given(degrees=st.floats(0, 180))
def test_angles_are_exact_even_small_ones(degrees):
    t = math.radians(degrees)
    a = torch.tensor([[5.0, 0, 0]], dtype=torch.float64)
    b = torch.tensor([[math.cos(t), math.sin(t), 0]], dtype=torch.float64)
    assert angle(a, b).item() == pytest.approx(degrees, rel=1e-9, abs=1e-9)
    assert cosine_similarity(a, b).item() == pytest.approx(math.cos(t), abs=1e-12)


def test_tiny_angles_survive_float32():
    a = torch.tensor([[20.0, 0.0]])
    b = torch.tensor([[20.0, 2e-4]])
    assert angle(a, b).item() == pytest.approx(math.degrees(1e-5), rel=1e-4)


def test_distance_and_similarity():
    references, images = images_at([0, 10, 20]), images_at([30, 10, 110], length=1)
    distance, similarity = IdentityDistance(Corner()), IdentitySimilarity(Corner())
    torch.testing.assert_close(
        distance.instances(images, references), torch.tensor([30.0, 0.0, 90.0]), atol=1e-4, rtol=0
    )
    distance.update(images[:2], references[:2])
    distance.update(images[2:], references[2:])
    result = distance.compute()
    assert result["mean"].item() == pytest.approx(40, abs=1e-4)
    assert result["count"] == 3
    error = torch.tensor([30.0, 0, 90]).std().item() / math.sqrt(3)
    assert result["standard_error"].item() == pytest.approx(error, rel=1e-5)
    similarity.update(images, references)
    mean = (math.cos(math.radians(30)) + 1 + 0) / 3
    assert similarity.compute()["mean"].item() == pytest.approx(mean, abs=1e-6)


def test_one_reference_serves_all():
    values = IdentityDistance(Corner()).instances(images_at([0, 15, 40]), images_at([10]))
    torch.testing.assert_close(values, torch.tensor([10.0, 5.0, 30.0]), atol=1e-4, rtol=0)


def test_states_add_over_ranks():
    a, b = IdentityDistance(Corner()), IdentityDistance(Corner())
    a.update(images_at([0, 30]), images_at([0]))
    b.update(images_at([90]), images_at([0]))
    a.merge_state(b)
    assert a.compute()["mean"].item() == pytest.approx(40, abs=1e-4)


def test_loss_is_one_minus_cosine_and_differentiable():
    x, y = images_at([0.0, 0.0]).double(), images_at([60.0, 90.0]).double()
    loss = IdentityLoss(arcface=Corner())
    torch.testing.assert_close(loss(x, y), torch.tensor([0.5, 1.0]).double(), atol=1e-6, rtol=0)
    x = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (x, y))
