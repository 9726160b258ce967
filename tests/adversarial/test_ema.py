"""The running average of weights: half-life in images, ramp-up, buffers, saving."""

from __future__ import annotations

import math

import torch
from torch import nn

from gan3d_bench.adversarial.ema import ExponentialMovingAverage


def network(weight: float) -> nn.BatchNorm1d:
    """One weight and one bias to average, and statistics to copy."""
    layer = nn.BatchNorm1d(1)
    nn.init.constant_(layer.weight, weight)
    return layer


def test_distance_halves_after_the_half_life() -> None:
    average = ExponentialMovingAverage(network(0.0), batch=8, kimg=0.08)  # 10 steps
    model = network(1.0)
    for _ in range(10):
        average.update_parameters(model)
    assert math.isclose(average.module.weight.item(), 0.5, rel_tol=1e-5)


def test_half_life_grows_with_the_images_seen() -> None:
    average, model = ExponentialMovingAverage(network(0.0), 8, 0.02, rampup=0.5), network(1.0)
    distance = 1.0
    for step in range(1, 9):
        average.update_parameters(model)
        distance *= 0.5 ** (8 / min(20, 0.5 * 8 * step))
        assert math.isclose(1 - average.module.weight.item(), distance, abs_tol=1e-6)


def test_buffers_are_copied_and_nothing_is_trained() -> None:
    model = network(1.0)
    average = ExponentialMovingAverage(model, 8, 1.0)
    model.running_mean.fill_(3.0)
    average.update_parameters(model)
    assert average.module.running_mean.item() == 3.0
    assert not average.module.training
    assert not any(p.requires_grad for p in average.parameters())
    assert model.training and model.weight.requires_grad


def test_loaded_it_goes_on() -> None:
    whole, model = ExponentialMovingAverage(network(0.0), 8, 1.0, rampup=0.5), network(1.0)
    for _ in range(3):
        whole.update_parameters(model)
    rest = ExponentialMovingAverage(network(0.3), 8, 1.0, rampup=0.5)
    rest.load_state_dict(whole.state_dict())
    for average in (whole, rest):
        average.update_parameters(model)
    assert torch.equal(whole.module.weight, rest.module.weight)
    assert int(rest.n_averaged) == 5
