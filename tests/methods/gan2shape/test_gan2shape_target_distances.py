"""Distances from fixed images against the loss called anew each time."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.generators.stylegan2.teacher import random_pair
from gan3d_bench.losses.perceptual import DiscriminatorFeatureLoss
from gan3d_bench.methods.gan2shape.target_distances import TargetDistances

SIZE, INSTANCES, IMAGES = 16, 3, 4
SLOTS, ROWS = [2, 0], torch.tensor([[1, 3], [0, 1]])


class Counting(DiscriminatorFeatureLoss):
    """Counts the images that were prepared."""

    def prepare(self, y: torch.Tensor) -> list[torch.Tensor]:
        self.seen = getattr(self, "seen", 0) + len(y)
        return super().prepare(y)


@pytest.fixture
def loss() -> Counting:
    _, discriminator = random_pair(SIZE)
    return Counting(discriminator.requires_grad_(False), layers=2)


@pytest.mark.parametrize("max_bytes", [1 << 30, 0])
def test_equal_to_the_loss_in_value_and_gradient(loss, max_bytes):
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(INSTANCES, IMAGES, 3, SIZE, SIZE, generator=rng) * 2 - 1
    x = torch.rand(4, 3, SIZE, SIZE, generator=rng).requires_grad_()
    mask = torch.rand(4, 1, SIZE, SIZE, generator=rng)
    y = torch.stack([images[i, row] for i, row in zip([2, 2, 0, 0], ROWS.flatten(), strict=True)])
    distances = TargetDistances(loss, lambda slot: images[slot], INSTANCES, max_bytes)
    for _ in range(2):
        found, expected = distances(SLOTS, ROWS)(x, mask), loss(x, y, mask)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            *(torch.autograd.grad(distance.sum(), x)[0] for distance in (found, expected))
        )
    assert expected.min() > 0


@pytest.mark.parametrize(("max_bytes", "prepared"), [(1 << 30, 2 * IMAGES), (0, IMAGES + 2 * 4)])
def test_prepared_once_where_they_fit(loss, max_bytes, prepared):
    images = torch.zeros(INSTANCES, IMAGES, 3, SIZE, SIZE)
    distances = TargetDistances(loss, lambda slot: images[slot], INSTANCES, max_bytes)
    for _ in range(2):
        distances(SLOTS, ROWS)
    assert loss.seen == prepared


def test_a_later_start_gives_the_same_bits(loss):
    images = torch.rand(INSTANCES, IMAGES, 3, SIZE, SIZE)
    x, mask = torch.rand(4, 3, SIZE, SIZE), torch.ones(4, 1, SIZE, SIZE)
    first, second = (TargetDistances(loss, lambda slot: images[slot], INSTANCES) for _ in range(2))
    first([0, 1], ROWS)
    assert torch.equal(first(SLOTS, ROWS)(x, mask), second(SLOTS, ROWS)(x, mask))
