"""Adaptive augmentation: its transformations, their channels, its probability."""

from __future__ import annotations

import math

import torch

from gan3d_bench.adversarial import augment as ada


def test_augmentation_moves_more_images_the_larger_p() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(64, 3, 16, 16, generator=rng) * 2 - 1
    torch.testing.assert_close(ada.apply(images, *ada.draw(64, 0.0, 16, rng)), images)
    still = (ada.geometry(4000, 0.1, 16, rng) == torch.eye(3)).all(2).all(1).float().mean()
    # seven gates; flip, quarter turn and shift leave an image alone in part of their draws
    assert 0.9**7 < float(still) < 0.9**4
    moved = (ada.apply(images, *ada.draw(64, 0.1, 16, rng)) != images).flatten(1).any(1)
    assert 0.3 < float(moved.float().mean()) < 0.95


def test_augmentation_is_differentiable_and_repeatable() -> None:
    images = (torch.rand(3, 3, 8, 8) * 2 - 1).requires_grad_()
    first, second = (
        ada.apply(images, *ada.draw(3, 0.9, 8, torch.Generator().manual_seed(3))) for _ in range(2)
    )
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    first.square().mean().backward()
    assert torch.isfinite(images.grad).all()
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()


def test_warp_follows_the_matrix() -> None:
    """A matrix that mirrors and shifts by whole pixels moves pixels exactly."""
    mirror_and_shift = torch.tensor([[[-1.0, 0, 7 + 2], [0, 1, -1], [0, 0, 1]]])
    image = torch.rand(1, 3, 8, 8)
    moved = ada.apply(image, mirror_and_shift, torch.eye(4)[None])
    torch.testing.assert_close(
        moved[:, :, :-1, 2:], image.flip(3)[:, :, 1:, :-2], rtol=0, atol=1e-5
    )


def test_colour_keeps_grey_grey() -> None:
    matrix = ada.colour(200, 1.0, torch.Generator().manual_seed(0))
    grey = torch.tensor([0.3, 0.3, 0.3, 1.0])
    rgb = (matrix @ grey)[:, :3]
    torch.testing.assert_close(rgb, rgb.mean(1, keepdim=True).expand(-1, 3), rtol=0, atol=1e-5)
    assert rgb.std() > 0.05


def test_adaptive_probability() -> None:
    up = ada.adapt(0.1, 0.9, 1000, target=0.6, speed_kimg=500)
    assert math.isclose(up, 0.102)
    assert math.isclose(ada.adapt(0.1, 0.2, 1000, 0.6, 500), 0.098)
    assert ada.adapt(0.1, 0.6, 1000, 0.6, 500) == 0.1
    assert ada.adapt(0.0, -1.0, 1000, 0.6, 500) == 0.0


def test_triples_of_channels_are_tinted_alike_and_others_only_moved() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 16, 16, generator=rng) * 2 - 1
    warp, tint = ada.draw(6, 0.9, 16, rng)
    rgb = ada.apply(images, warp, tint)
    pair = ada.apply(torch.cat((images, images), 1), warp, tint)
    torch.testing.assert_close(pair, torch.cat((rgb, rgb), 1), rtol=0, atol=0)
    moved = ada.apply(images, warp, torch.eye(4).expand(6, 4, 4))
    mask = ada.apply(images[:, :1], warp, tint)
    torch.testing.assert_close(mask, moved[:, :1], rtol=0, atol=0)
    assert not torch.equal(rgb[:, :1], mask)


def test_smaller_copies_are_moved_alike() -> None:
    """A quarter turn and shift by whole pixels of both: shrinking commutes with them."""
    shift_and_turn = torch.tensor([[[0.0, -1, 7 + 2], [1, 0, 4], [0, 0, 1]]])
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    still = torch.eye(4)[None]
    large = ada.apply(images, shift_and_turn, still)
    small = ada.apply(
        torch.nn.functional.avg_pool2d(images, 2), ada.resized(shift_and_turn, 8, 4), still
    )
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    # what has come from inside the image; the border is reflected about another place
    torch.testing.assert_close(small[:, :, 2:, 1:], shrunk[:, :, 2:, 1:], rtol=0, atol=1e-5)


def test_transformations_drawn_in_low_precision_are_the_same() -> None:
    def drawn() -> tuple[torch.Tensor, torch.Tensor]:
        return ada.draw(8, 0.9, 64, torch.Generator().manual_seed(1))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = drawn()
        assert ada.apply(torch.rand(8, 3, 64, 64), *low).dtype == torch.float32
    for matrices, expected in zip(low, drawn(), strict=True):
        torch.testing.assert_close(matrices, expected, rtol=0, atol=0)
