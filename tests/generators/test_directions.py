"""Directions of W."""

import pytest
import torch

from gan3d_bench.generators import directions as module
from gan3d_bench.generators.directions import ganspace, sefa
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.stylegan2 import Generator, GeneratorConfig

SMALL = GeneratorConfig(16, z_dim=12, w_dim=10, mapping_layers=3, channels={4: 8, 8: 8, 16: 6})


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(SMALL)
    generator.w_mean.fill_(0.5)  # any point must do
    return generator.requires_grad_(False)


def test_sefa_directions_are_those_the_affine_layers_stretch_most(generator):
    found = sefa(generator, 4)
    torch.testing.assert_close(found @ found.T, torch.eye(4), atol=1e-5, rtol=0)
    synthesis = generator.synthesis
    layers = [*synthesis.convs, synthesis.stages[0].to_rgb]
    weights = torch.cat([layer.affine.weight for layer in layers])
    stretch = (weights @ found.T).norm(dim=0)
    assert (stretch.diff() < 0).all()
    others = torch.nn.functional.normalize(torch.randn(200, 10, generator=rng()))
    assert (weights @ others.T).norm(dim=0).max() <= stretch[0] + 1e-5


def test_ganspace_directions_are_the_principal_components_of_w(generator, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 64)
    found = ganspace(generator, 200, 3, rng())
    draws = rng()
    w = torch.cat([generator.mapping(sample_z(n, 12, draws)) for n in (64, 64, 64, 8)])
    rows = torch.linalg.svd((w - w.mean(0)).double()).Vh[:3].float()
    torch.testing.assert_close((found * rows).sum(1).abs(), torch.ones(3), atol=1e-4, rtol=0)
    spread = (w @ found.T).std(0)
    assert (spread.diff() < 0).all()
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("count", [0, 11])
def test_directions_cannot_be_more_than_w_has_entries(generator, count):
    with pytest.raises(ValueError, match="expected 1 to 10"):
        sefa(generator, count)
    with pytest.raises(ValueError, match="expected 1 to 10"):
        ganspace(generator, 20, count, rng())


def test_ganspace_needs_samples(generator):
    with pytest.raises(ValueError, match="samples=1"):
        ganspace(generator, 1, 2, rng())
