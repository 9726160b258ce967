"""Heads seen from all round: their latents, their cameras, their data module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gan3d_bench.datamodules import rendered
from gan3d_bench.datamodules.heads_360 import Heads360DataModule
from gan3d_bench.geometry.views import View
from gan3d_bench.heads import sampling
from gan3d_bench.heads.all_round import ELEVATION, LAYOUT, NUM_LATENTS, sample_all_round


def latents(count: int) -> torch.Tensor:
    return torch.randn(count, NUM_LATENTS, generator=torch.Generator().manual_seed(0))


def test_latents_say_head_and_view() -> None:
    covered = [i for part in LAYOUT.values() for i in range(part.start, part.stop)]
    assert covered == list(range(NUM_LATENTS))
    given = latents(300)
    found = sample_all_round(given)
    assert found.azimuth.histc(12, 0, 360).min() > 10  # from all round
    low, high = ELEVATION
    assert ((found.elevation >= low) & (found.elevation <= high)).all()
    assert found.elevation.histc(3, low, high).min() > 70
    camera = View.from_orbit(found.azimuth, found.elevation, centre_depth=sampling.CENTRE_DEPTH)
    turned, asked = found.heads.view.rotation_matrix(), camera.rotation_matrix()
    assert torch.allclose(turned, asked, atol=1e-5)
    assert (found.heads.translation[:, :2] == 0).all()
    # the mapping network normalises latents: their length changes no azimuth
    longer = sample_all_round(3 * given)
    assert torch.allclose(longer.azimuth, found.azimuth, atol=1e-3)
    # another view of the same head, and another head at the same view
    other = given.flip(0).clone()
    other[:, LAYOUT["view"]] = given[:, LAYOUT["view"]]
    mixed = sample_all_round(other)
    assert torch.equal(mixed.azimuth, found.azimuth)
    assert torch.equal(mixed.heads.identity, found.heads.identity.flip(0))
    assert torch.equal(mixed.heads.background, found.heads.background.flip(0))
    with pytest.raises(ValueError, match="expected at least 144 latents, got 100"):
        sample_all_round(given[:, :100])


def test_backs_of_heads_are_hair() -> None:
    given = latents(6)
    given[:, :2] = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(3, 1)  # azimuths 0 and 180
    given[1::2, 4:] = given[0::2, 4:]  # of the same heads
    maps = sampling.render_heads(sample_all_round(given).heads, 32)
    front, back = maps["albedo"][0::2, :, 14:20, 13:19], maps["albedo"][1::2, :, 14:20, 13:19]
    assert (front.mean((1, 2, 3)) > back.mean((1, 2, 3)) + 0.1).all()
    assert (maps["mask"].mean((1, 2, 3)) > 0.3).all()


def test_items_depend_on_split_and_number_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered, "SHARD_SIZE", 2)
    module = Heads360DataModule(
        16, train_size=3, val_size=1, test_size=2, supersample=1, root=tmp_path
    )
    module.prepare("train")
    cached = [module.dataset("train")[n] for n in range(3)]
    for one, other in zip(cached, module.anew("train", [0, 1, 2]), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(torch.as_tensor(one[k]), torch.as_tensor(other[k])) for k in one)
    again = sample_all_round(torch.stack([item["latents"] for item in cached]))
    assert [item["azimuth"].item() for item in cached] == again.azimuth.tolist()
    assert not torch.equal(cached[0]["latents"], module.anew("test", [0])[0]["latents"])
    assert {path.parent.parent.name for path in tmp_path.rglob("train")} == {"heads-360"}
