"""LiftedGAN's networks at other sizes than the released ones, and as training uses them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gan3d_bench.methods.liftedgan.networks import (
    DepthDecoder,
    StyleDecomposition,
    StyleManipulation,
    TransformationDecoder,
    widths,
)

W, INJECT, HIDDEN, BATCH = 24, 8, 32, 2

BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "depth": lambda size: DepthDecoder(size, W, INJECT, channels=8, most=32, hidden=HIDDEN),
    "transformation": lambda size: TransformationDecoder(size, W, channels=8, most=32, hidden=12),
    "decomposition": lambda _: StyleDecomposition(W, HIDDEN),
    "manipulation": lambda _: StyleManipulation(W, HIDDEN),
}


def inputs(name: str, size: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(1)
    w = torch.randn(BATCH, W, generator=rng)
    if name == "depth":
        return [w, torch.randn(BATCH, INJECT, size, size, generator=rng)]
    if name == "manipulation":
        return [w, *(2 * torch.rand(BATCH, n, generator=rng) - 1 for n in (4, 6))]
    return [w]


def outputs(network: nn.Module, given: list[Tensor]) -> list[Tensor]:
    found = network(*given)
    return list(found) if isinstance(found, tuple) else [found]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# -- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 64, 128])
@pytest.mark.parametrize("name", ["depth", "transformation"])
@torch.no_grad()
def test_maps_have_the_size_of_images(name: str, size: int) -> None:
    (found,) = outputs(BUILDERS[name](size), inputs(name, size))
    assert found.shape == (BATCH, 1, size, size)
    assert found.std() > 0


def test_widths_double_towards_the_start() -> None:
    assert widths(256, 16, 512) == [512, 256, 128, 64, 32, 16]
    assert widths(64, 16, 512) == [128, 64, 32, 16]
    assert widths(64, 16, 32) == [32, 32, 32, 16]
    assert widths(16, 16, 512) == [32, 16]


def test_released_sizes_have_the_released_parameters() -> None:
    with torch.device("meta"):
        networks = [
            DepthDecoder(256, 512, 16),
            TransformationDecoder(256, 512),
            StyleDecomposition(512),
            StyleManipulation(512),
        ]
    head = 4 * (512 * 512 + 512) + 3 * 2 * 512  # of netSD, unused
    assert [sum(p.numel() for p in network.parameters()) for network in networks] == [
        11_194_769,
        2_937_296,
        2_634_762 - head,
        3_698_688,
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((8, W, INJECT), "image_size=8: expected a power of two"),
        ((100, W, INJECT), "image_size=100: expected a power of two"),
        ((64, W, INJECT, 6), "expected a multiple of 4"),
        ((64, W, INJECT, 16, 30), "width 30: expected a multiple of 4"),
    ],
)
def test_impossible_sizes(arguments: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        DepthDecoder(*arguments)


def test_hidden_widths_come_in_groups_of_four() -> None:
    with torch.device("meta"):
        for hidden, groups in ((32, 8), (512, 128)):
            norms = StyleManipulation(W, hidden).to_w.norms
            assert [norm.num_groups for norm in norms] == [groups] * 3
    with pytest.raises(ValueError, match="width 30"):
        StyleManipulation(W, 30)


# -- values -------------------------------------------------------------------------------------


@torch.no_grad()
def test_lights_and_views_are_fractions() -> None:
    network = StyleDecomposition(W, HIDDEN)
    light, view = network(1000 * torch.randn(64, W))
    assert light.shape == (64, 4)
    assert view.shape == (64, 6)
    for values in (light, view):
        assert 0.5 < values.abs().max() <= 1


@torch.no_grad()
def test_every_input_counts() -> None:
    """Also the features that are injected and each of light and view."""
    for name in ("depth", "manipulation"):
        network, given = BUILDERS[name](16), inputs(name, 16)
        (before,) = outputs(network, given)
        for i in range(len(given)):
            changed = [x + 0.5 if i == j else x for j, x in enumerate(given)]
            assert not torch.allclose(outputs(network, changed)[0], before, atol=1e-4), (name, i)


@pytest.mark.parametrize("name", BUILDERS)
def test_gradients_reach_everything(name: str) -> None:
    network = BUILDERS[name](16)
    given = [x.requires_grad_() for x in inputs(name, 16)]
    torch.cat([x.flatten() for x in outputs(network, given)]).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key
    assert all(x.grad is not None and x.grad.any() for x in given)


@pytest.mark.parametrize("name", BUILDERS)
def test_bfloat16_is_close(name: str) -> None:
    network, given = BUILDERS[name](32), inputs(name, 32)
    with torch.no_grad():
        expected = outputs(network, given)
    with torch.autocast("cpu", torch.bfloat16):
        found = outputs(network, given)
    torch.cat([x.flatten() for x in found]).float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.float() - b).abs().max() <= 0.1 * b.std() + 0.02


@pytest.mark.parametrize("name", ["depth", "transformation"])
@torch.no_grad()
def test_channels_last_changes_nothing(name: str) -> None:
    network, given = BUILDERS[name](32), inputs(name, 32)
    expected = outputs(network, given)[0]
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    last = [x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x for x in given]
    torch.testing.assert_close(outputs(network, last)[0], expected, rtol=1e-4, atol=1e-5)
