"""LPIPS against its authors' own module, with the same trunk weights, on the same images."""

from __future__ import annotations

import lpips as official
import pytest
import torch

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.metrics.lpips import MeanLPIPS

pytestmark = pytest.mark.network


@pytest.mark.parametrize(("net", "asset"), [("alex", "alexnet-lpips"), ("vgg", "vgg16-lpips")])
def test_equals_the_authors_module(net, asset):
    fetch(asset)
    metric = MeanLPIPS(net)
    ours = metric.distance.lpips
    # its own trunk would be downloaded by torchvision; its linear heads come with the package
    theirs = official.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    convs = [module for module in theirs.net.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convs) == len(ours.trunk.convs)
    with torch.no_grad():
        for index, conv in enumerate(convs):
            conv.weight.copy_(ours.get_buffer(f"kernel_{index}"))
            conv.bias.copy_(ours.get_buffer(f"bias_{index}"))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    y = (x + 0.3 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)
    with torch.no_grad():
        expected = theirs(x, y).flatten()
    assert expected.min() > 0.01
    torch.testing.assert_close(metric.instances(x, y), expected, rtol=1e-4, atol=1e-6)
