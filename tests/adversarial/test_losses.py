"""Logistic losses, R1, path lengths, and the rates of lazy regularisation."""

from __future__ import annotations

import math

import torch

from gan3d_bench.adversarial import losses
from gan3d_bench.adversarial.optimizers import lazy_adam


def test_adversarial_losses_and_their_gradients() -> None:
    real, fake = (torch.randn(5, 1, requires_grad=True) for _ in range(2))
    value = losses.discriminator_loss(real, fake)
    expected = -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()
    torch.testing.assert_close(value, expected)
    gradients = torch.autograd.grad(value, (real, fake))
    torch.testing.assert_close(gradients[0], (real.sigmoid() - 1) / 5)
    torch.testing.assert_close(gradients[1], fake.sigmoid() / 5)
    value = losses.generator_loss(fake)
    torch.testing.assert_close(value, -fake.sigmoid().log().mean())
    torch.testing.assert_close(torch.autograd.grad(value, fake)[0], (fake.sigmoid() - 1) / 5)


def test_r1_of_a_quadratic_discriminator() -> None:
    """D(x) = a |x|^2 / 2 has gradient a x, so the penalty is a^2 mean |x|^2."""
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    a = torch.tensor(1.7, requires_grad=True)
    penalty = losses.r1_penalty(a * x.square().sum((1, 2, 3))[:, None] / 2, x)
    size = x.detach().square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(penalty, a.detach() ** 2 * size)
    (gradient,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(gradient, 2 * a.detach() * size)


def test_path_length_of_a_linear_generator() -> None:
    """For images A w the Jacobian is A, and the length that of A^T y."""
    rng = torch.Generator().manual_seed(0)
    jacobian = torch.randn(3 * 4 * 4, 2 * 6, generator=rng, requires_grad=True)
    ws = torch.randn(5, 2, 6, generator=rng, requires_grad=True)
    direction = torch.randn(5, 3, 4, 4, generator=rng)
    images = (ws.flatten(1) @ jacobian.T).view(5, 3, 4, 4)
    lengths = losses.path_lengths(images, ws, direction)
    pulled = (direction.flatten(1) / 4) @ jacobian
    expected = pulled.view(5, 2, 6).square().sum(2).mean(1).sqrt()
    torch.testing.assert_close(lengths, expected)
    first = torch.autograd.grad(lengths.sum(), jacobian, retain_graph=True)[0]
    torch.testing.assert_close(first, torch.autograd.grad(expected.sum(), jacobian)[0])


def test_path_penalty_moves_its_average_and_lets_the_gradient_through() -> None:
    lengths = torch.tensor([1.0, 3.0], requires_grad=True)
    penalty, mean = losses.path_penalty(lengths, torch.tensor(1.0), decay=0.25)
    assert float(mean) == 1.25
    assert not mean.requires_grad
    assert math.isclose(penalty.item(), (0.0625 + 3.0625) / 2)
    (gradient,) = torch.autograd.grad(penalty, lengths)
    # d/dl_i mean (l - m)^2 with dm/dl_i = 0.125
    expected = torch.tensor([-0.25, 1.75]) - 0.125 * (-0.25 + 1.75)
    torch.testing.assert_close(gradient, expected)


def test_lazy_regularisation_scales_adam() -> None:
    lr, (_, beta) = lazy_adam(0.002, 16)
    assert math.isclose(lr, 0.00188235, rel_tol=1e-5)
    assert math.isclose(beta, 0.990585, rel_tol=1e-5)
    assert lazy_adam(0.002, 0) == (0.002, (0.0, 0.99))
