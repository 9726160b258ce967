"""The networks: official shapes, and K of them as one."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.methods.gan2shape.networks import (
    AutoEncoder,
    InstanceNetwork,
    OffsetEncoder,
    Regressor,
    official_width,
)

SIZE = 16
BUILDERS = {
    "autoencoder": lambda k: AutoEncoder(SIZE, 2, width=8, instances=k),
    "regressor": lambda k: Regressor(SIZE, 5, width=8, instances=k),
    "encoder": lambda k: OffsetEncoder(SIZE, 6, width=8, instances=k),
}


@pytest.fixture(params=BUILDERS)
def pair(request) -> tuple[InstanceNetwork, list[InstanceNetwork]]:
    """Three different networks as one model, and each alone."""
    torch.manual_seed(0)
    network = BUILDERS[request.param](3)
    alone = []
    for instance in range(3):
        single = BUILDERS[request.param](1)
        single.load_state_dict(network.state_of(instance))
        alone.append(single)
    return network, alone


def test_instances_do_not_mix(pair):
    network, alone = pair
    x = torch.randn(6, 3, SIZE, SIZE)
    expected = torch.cat([net(part) for net, part in zip(alone, x.split(2), strict=True)])
    torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_each_alone(pair):
    network, alone = pair
    x = torch.randn(6, 3, SIZE, SIZE)
    network(x).square().sum().backward()
    for instance, (net, part) in enumerate(zip(alone, x.split(2), strict=True)):
        net(part).square().sum().backward()
        for own, joint in zip(net.parameters(), network.parameters(), strict=True):
            chunk = joint.grad.unflatten(0, (3, -1))[instance]
            torch.testing.assert_close(chunk, own.grad, atol=1e-4, rtol=1e-3)


def test_chosen_slots_only(pair):
    network, alone = pair
    x = torch.randn(2, 3, SIZE, SIZE)
    expected = torch.cat([alone[2](x[:1]), alone[0](x[1:])])
    y = network(x, slots=[2, 0])
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)
    y.sum().backward()
    for parameter in network.parameters():
        grad = parameter.grad.unflatten(0, (3, -1))
        assert not grad[1].any()
    assert any(p.grad.any() for p in network.parameters())


def test_load_each_needs_the_right_shapes():
    network = Regressor(SIZE, 5, width=8, instances=2)
    with pytest.raises(RuntimeError):
        network.load_each(Regressor(SIZE, 4, width=8).state_dict())


def test_official_shapes_at_128():
    """Spot checks of the released gan2shape/networks.py."""
    assert (official_width(64), official_width(128)) == (64, 32)
    with torch.device("meta"):
        depth = {k: tuple(v.shape) for k, v in AutoEncoder(128, 1).state_dict().items()}
        view = {k: tuple(v.shape) for k, v in Regressor(128, 6).state_dict().items()}
        encoder = {k: tuple(v.shape) for k, v in OffsetEncoder(128).state_dict().items()}
    assert depth["network.0.weight"] == (32, 3, 4, 4)
    assert depth["network.12.weight"] == (512, 256, 4, 4)
    assert "network.13.weight" not in depth
    assert depth["network.14.weight"] == (256, 512, 4, 4)
    assert depth["network.38.weight"] == (64, 32, 4, 4)
    assert depth["network.48.weight"] == (32, 32, 5, 5)
    assert depth["network.51.weight"] == (1, 32, 5, 5)
    assert view["network.12.weight"] == (6, 512, 1, 1)
    assert encoder["network.4.conv_sc.bias"] == (512,)
    assert encoder["network.6.weight"] == (1024, 512, 4, 4)
    assert encoder["network.8.weight"] == (512, 1024, 1, 1)


@pytest.mark.parametrize("size", [8, 48])
def test_image_size_must_be_a_power_of_two(size):
    with pytest.raises(ValueError, match="power of two"):
        Regressor(size, 6)
