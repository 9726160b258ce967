"""Distributions of pseudo samples' views and lights."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.errors import UserError
from gan3d_bench.heads.sampling import PITCH, ROLL, TRANSLATION, YAW
from gan3d_bench.methods.gan2shape.factors import light_from_raw, view_from_raw
from gan3d_bench.methods.gan2shape.sampling import (
    Gaussian,
    LightDistribution,
    ViewDistribution,
    load_statistics,
)
from gan3d_bench.rendering.shading import LambertLight


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_views_have_the_given_moments_with_yaw_scaled():
    root = torch.randn(6, 6, generator=rng(1)) * 0.3
    statistics = Gaussian(torch.linspace(-0.5, 0.5, 6), root @ root.T)
    raw = ViewDistribution(statistics, yaw_scale=1.2).sample_raw(40_000, rng())
    scale = torch.ones(6)
    scale[1] = 1.2
    torch.testing.assert_close(raw.mean(0), statistics.mean * scale, atol=0.02, rtol=0)
    expected = statistics.cov * scale * scale[:, None]
    torch.testing.assert_close(raw.T.cov(), expected, atol=0.03, rtol=0)


def test_views_repeat_with_the_generator():
    views = ViewDistribution(load_statistics("heads", 6))
    assert torch.equal(views.sample_raw(5, rng()), views.sample_raw(5, rng()))
    assert not torch.equal(views.sample_raw(5, rng()), views.sample_raw(5, rng(1)))


def test_singular_covariance_is_allowed():
    raw = ViewDistribution(Gaussian(torch.zeros(6), torch.zeros(6, 6))).sample_raw(3, rng())
    assert torch.equal(raw, torch.zeros(3, 6))


def test_head_statistics_are_those_of_the_heads():
    view = view_from_raw(ViewDistribution(load_statistics("heads", 6)).sample_raw(20_000, rng()))
    for sampled, (scale, _) in ((view.yaw, YAW), (view.pitch, PITCH), (view.roll, ROLL)):
        assert sampled.std() == pytest.approx(scale, rel=0.1)
    assert view.translation[:, 0].std() == pytest.approx(TRANSLATION[0], rel=0.1)
    assert torch.equal(view.translation[:, 2], torch.zeros(20_000))


def test_lights_fill_their_ranges():
    lights = LightDistribution((-1.0, 1.0), (-0.2, 0.8), (-0.1, 0.6), -0.6)
    sample = lights.sample(20_000, rng())
    low, high = torch.tensor([[-1.0, -0.2, -0.1], [1.0, 0.8, 0.6]])
    assert (sample >= low).all()
    assert (sample <= high).all()
    torch.testing.assert_close(sample.mean(0), (low + high) / 2, atol=0.02, rtol=0)
    assert sample.amin(0).sub(low).max() < 0.01


def test_more_diffuse_light_means_less_ambient():
    own = LambertLight.frontal(2, ambient=0.5, diffuse=0.4)
    lights = LightDistribution((0, 0), (0, 0), (0, 0), -0.6)
    light = lights.apply(torch.tensor([[0.0, 0.0, 0.5], [1.0, 0.0, 0.0]]), own)
    torch.testing.assert_close(light.diffuse, torch.tensor([0.9, 0.4]))
    torch.testing.assert_close(light.ambient, torch.tensor([0.2, 0.5]))
    torch.testing.assert_close(light.direction[0], torch.tensor([0.0, 0.0, -1.0]))
    assert light.direction[1, 0] < 0  # their x > 0 lights from the left


def test_raw_light_signs():
    light = light_from_raw(torch.tensor([[0.0, 1.0, 0.0, 0.5]]))
    assert light.ambient.item() == 0.5
    assert light.diffuse.item() == 1.0
    assert light.direction[0, 1] < 0  # y is down: the light comes from above


def test_statistics_files(tmp_path):
    good = {"mean": torch.arange(6.0), "cov": torch.eye(6)}
    torch.save(good, tmp_path / "good.pth")
    assert torch.equal(load_statistics(str(tmp_path / "good.pth"), 6).mean, torch.arange(6.0))
    torch.save({"mean": torch.zeros(4)}, tmp_path / "bad.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"mean": "zero", "cov": torch.eye(6)}, tmp_path / "words.pth")
    torch.save({"mean": torch.full((6,), torch.nan), "cov": torch.eye(6)}, tmp_path / "nan.pth")
    torch.save({"mean": torch.zeros(6), "cov": torch.eye(6) * torch.inf}, tmp_path / "inf.pth")
    torch.save({"mean": torch.zeros(6), "cov": -torch.eye(6)}, tmp_path / "negative.pth")
    torch.save({"mean": tmp_path, "cov": torch.eye(6)}, tmp_path / "code.pth")
    for name in ("bad", "text", "list", "words", "nan", "inf", "negative", "code"):
        with pytest.raises(UserError) as error:
            load_statistics(str(tmp_path / f"{name}.pth"), 6)
        message = str(error.value)
        assert message.startswith(f"view.statistics='{tmp_path / name}.pth': ")
        assert "expected a dict with mean (6,) and cov (6, 6)" in message
        assert "weights_only" not in message
        assert "\n" not in message
    with pytest.raises(UserError, match="did you mean 'heads'"):
        load_statistics("head", 6)
