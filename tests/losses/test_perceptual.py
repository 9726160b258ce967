"""LPIPS against the `lpips` package with the same random trunk; discriminator features by hand.

The real weights are checked in tests/parity/test_assets_networks.py.
"""

from __future__ import annotations

import warnings

import lpips as reference_package
import numpy as np
import pytest
import torch
from torch import nn

from gan3d_bench.errors import UserError
from gan3d_bench.losses.cosine_perceptual import CosinePerceptualLoss, vgg_features
from gan3d_bench.losses.perceptual import (
    LPIPS,
    DiscriminatorFeatureLoss,
    LPIPSLoss,
    build_perceptual,
    least_size,
)


def reference(net: str) -> reference_package.LPIPS:
    """The reference with random trunk weights and its own v0.1 heads; reaches no network."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it asks torchvision in an old way
        torch.manual_seed(0)
        model = reference_package.LPIPS(
            net=net, version="0.1", pnet_rand=True, verbose=False, eval_mode=True
        )
    return model.requires_grad_(False)


def weights_of(model: reference_package.LPIPS, net: str) -> dict:
    """The reference's weights as the asset's tree of HWIO arrays."""
    key = {"vgg": "VGG16_0", "alex": "AlexNet_0"}[net]
    convs = [m for m in model.net.modules() if isinstance(m, nn.Conv2d)]
    tree = {
        key: {
            f"Conv_{i}": {
                "kernel": conv.weight.permute(2, 3, 1, 0).numpy(),
                "bias": conv.bias.numpy(),
            }
            for i, conv in enumerate(convs)
        }
    }
    for i, lin in enumerate(model.lins):
        tree[f"NetLinLayer_{i}"] = {"Conv_0": {"kernel": lin.model[-1].weight.numpy()}}
    return tree


@pytest.fixture(scope="module", params=["vgg", "alex"])
def networks(request) -> tuple[LPIPS, reference_package.LPIPS]:
    theirs = reference(request.param)
    return LPIPS(request.param, weights_of(theirs, request.param)), theirs


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(2, 3, 40, 48, generator=generator) * 2 - 1 for _ in range(2))


def test_distance_and_gradient_agree_with_the_lpips_package(networks, pair):
    ours, theirs = networks
    gradients = []
    for distance in (ours, lambda x, y: theirs(x, y).flatten()):
        x = pair[0].clone().requires_grad_()
        result = distance(x, pair[1])
        result.sum().backward()
        gradients.append((result.detach(), x.grad))
    torch.testing.assert_close(*(g[0] for g in gradients), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(*(g[1] for g in gradients), rtol=1e-3, atol=1e-7)


def test_layers_features_and_symmetry(networks, pair):
    ours, _ = networks
    x, y = pair
    torch.testing.assert_close(ours.layers(x, y).sum(1), ours(x, y))
    torch.testing.assert_close(ours(x, y), ours(y, x))
    assert ours(x, x).tolist() == [0, 0]
    channels = [conv.channels for conv in ours.trunk.convs if conv.tap]
    assert [f.shape[1] for f in ours.features(x)] == channels


def test_frozen_and_left_out_of_checkpoints(networks):
    ours, _ = networks
    assert list(ours.parameters()) == []
    assert ours.state_dict() == {}


def test_float32_under_autocast(networks, pair):
    ours, _ = networks
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ours(*(image.bfloat16() for image in pair))
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, ours(*(image.bfloat16().float() for image in pair)))


def test_gradient_is_finite_where_all_channels_are_zero(pair):
    """A trunk that gives zeros everywhere: the norm's derivative must not become NaN."""
    theirs = reference("alex")
    tree = weights_of(theirs, "alex")
    for layer in tree["AlexNet_0"].values():
        layer["bias"] = np.full_like(layer["bias"], -1e3)
    x = pair[0].clone().requires_grad_()
    LPIPS("alex", tree)(x, pair[1]).sum().backward()
    assert x.grad.isfinite().all()


def test_small_or_odd_images_are_named(networks, pair):
    ours, _ = networks
    least = least_size(ours.net)
    assert ours(torch.zeros(1, 3, least, least), torch.ones(1, 3, least, least)).isfinite().all()
    with pytest.raises(ValueError, match=f"at least {least} pixels"):
        ours(torch.zeros(1, 3, least - 1, 64), torch.zeros(1, 3, least - 1, 64))
    with pytest.raises(ValueError, match="expected \\(B, 3, H, W\\)"):
        ours.features(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ValueError, match="differ in shape"):
        ours(pair[0], pair[1][:1])


@pytest.mark.parametrize("layers", range(1, 6))
def test_the_first_layers_need_no_more_than_their_size(networks, layers):
    ours, _ = networks
    least = least_size(ours.net, layers)
    images = torch.rand(1, 3, least, least)
    found = ours.features(images, layers)
    assert len(found) == layers and min(found[-1].shape) > 0
    whole = ours.features(torch.rand(1, 3, 64, 64, generator=torch.manual_seed(0)))
    some = ours.features(torch.rand(1, 3, 64, 64, generator=torch.manual_seed(0)), layers)
    assert all(torch.equal(a, b) for a, b in zip(some, whole[:layers], strict=True))
    if least > 1:
        with pytest.raises(ValueError, match=f"at least {least} pixels"):
            ours.features(images[..., 1:], layers)


def test_the_loss_of_liftedgan_works_at_its_smallest_scale(networks):
    """12 pixels: the released code's smallest, below what LPIPS as a whole can take."""
    ours, _ = networks
    if ours.net == "vgg":
        loss = CosinePerceptualLoss(vgg_features(ours), 3, "vgg")
        x, y = (loss.describe(torch.rand(1, 3, 48, 48)) for _ in range(2))
        assert [len(scale) for scale in x.features] == [3, 3, 3]
        assert 0 < loss.distance(x, y) < 4


def test_images_that_are_too_small_are_told_before_anything_is_loaded():
    class Halving(Pyramid):
        blocks = (1, 2, 3)

    for name, size, least in (
        ("lpips-vgg", 15, 16),
        ("lpips-alex", 16, 31),
        ("discriminator", 7, 8),
        ("discriminator-l1", 4, 8),
    ):
        with pytest.raises(UserError, match=f"'{name}' of images of {size} .* at least {least}$"):
            build_perceptual(name, Halving(), size)
    assert build_perceptual("discriminator", Halving(), 8)


def test_weights_that_do_not_fit(networks):
    ours, theirs = networks
    tree = weights_of(theirs, ours.net)
    del tree["NetLinLayer_4"]
    with pytest.raises(UserError, match="do not fit"):
        LPIPS(ours.net, tree)
    with pytest.raises(UserError, match="unknown LPIPS network"):
        LPIPS("vggg", tree)


def test_mask_multiplies_both_images(networks, pair):
    ours, _ = networks
    x, y = pair
    mask = torch.zeros(2, 1, *x.shape[-2:])
    mask[:, :, :20] = 1
    loss = LPIPSLoss(lpips=ours)
    assert loss.name == f"lpips-{ours.net}"
    torch.testing.assert_close(loss(x, y, mask), ours(x * mask, y * mask))
    changed = torch.where(mask.bool(), y, -y)
    torch.testing.assert_close(loss(x, changed, mask), loss(x, y, mask))


@pytest.mark.parametrize("name", ["lpips", "discriminator", "discriminator-l1"])
def test_against_is_the_distance_from_fixed_images(networks, pair, name):
    loss = LPIPSLoss(lpips=networks[0]) if name == "lpips" else build_perceptual(name, Pyramid())
    gradients, distances = [], []
    x, y = (image[..., :40, :32].clone().requires_grad_() for image in pair)
    for distance in (loss.against(y), lambda x: loss(x, y.detach())):
        distances.append(distance(x))
        gradients += torch.autograd.grad(distances[-1].sum(), x)
    torch.testing.assert_close(*distances)
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().max() > 0
    assert distances[0].requires_grad
    assert not loss.against(y)(x.detach()).requires_grad


@pytest.mark.parametrize("name", ["lpips", "discriminator", "discriminator-l1"])
@pytest.mark.parametrize("masked", [False, True])
def test_prepared_images_give_the_same_distance(networks, pair, name, masked):
    loss = LPIPSLoss(lpips=networks[0]) if name == "lpips" else build_perceptual(name, Pyramid())
    x, y = (image[..., :40, :32].clone().requires_grad_() for image in pair)
    mask = torch.rand(2, 1, 40, 32, generator=torch.Generator().manual_seed(2)) if masked else None
    ready = loss.prepare(y)
    assert not any(part.requires_grad for part in ready)
    for found, expected in zip(
        *(
            (distance, *torch.autograd.grad(distance.sum(), x))
            for distance in (loss.prepared(x, ready, mask), loss(x, y, mask))
        ),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
        assert found.abs().max() > 0


class Pyramid(nn.Module):
    """Stands for a discriminator: images halved in size n times, scaled by a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0), requires_grad=False)

    def features(self, images: torch.Tensor, n: int = 4) -> list[torch.Tensor]:
        found = []
        for _ in range(n):
            images = nn.functional.avg_pool2d(images, 2)
            found.append(self.weight * images)
        return found


def test_discriminator_l1_by_hand():
    x, y = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    y[..., :16] = 1  # the left half differs by one
    loss = build_perceptual("discriminator-l1", Pyramid())
    assert loss.name == "discriminator-l1"
    assert loss(x, y).item() == pytest.approx(4 * 3 * 0.5)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    assert loss(x, y, mask).item() == pytest.approx(4 * 3)
    assert loss(x, y, 1 - mask).item() == pytest.approx(0.0, abs=1e-6)
    assert loss(x, y, 0 * mask).item() == 0


def test_discriminator_unit_ignores_magnitude(pair):
    network = Pyramid()
    loss = build_perceptual("discriminator", network)
    x, y = (image[..., :40, :32] for image in pair)
    before = loss(x, y)
    network.weight.mul_(100)
    torch.testing.assert_close(loss(x, y), before)
    assert ((before > 0) & (before < 4)).all()
    torch.testing.assert_close(loss(x, -x), torch.full((2,), 4.0))
    x = x.clone().requires_grad_()
    loss(x, y).sum().backward()
    assert x.grad.isfinite().all() and x.grad.any()


def test_the_discriminator_stays_its_owners():
    loss = DiscriminatorFeatureLoss(Pyramid(), layers=2)
    assert list(loss.parameters()) == [] and loss.state_dict() == {}


def test_build_perceptual_mistakes(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="did you mean 'lpips-vgg'"):
        build_perceptual("lpips_vgg")
    with pytest.raises(UserError, match="gan3d-bench assets fetch vgg16-lpips"):
        build_perceptual("lpips-vgg")
    with pytest.raises(UserError, match="needs a teacher"):
        build_perceptual("discriminator")
