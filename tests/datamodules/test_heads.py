"""Sampling, rendering and caching of the synthetic heads."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gan3d_bench.datamodules import heads as heads_module
from gan3d_bench.datamodules import rendered
from gan3d_bench.datamodules import shards as shard_files
from gan3d_bench.datamodules.heads import (
    LAYOUT,
    NUM_LATENTS,
    HeadsConfig,
    HeadsDataModule,
    HeadsDataset,
    head_latents,
    render_heads,
    sample_heads,
)
from gan3d_bench.errors import UserError
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import depth_normals
from gan3d_bench.rendering.shading import lit_texture


@pytest.fixture(scope="module")
def maps() -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return render_heads(sample_heads(head_latents("test", range(4))), 48)


@pytest.fixture
def module(tmp_path: Path, monkeypatch) -> HeadsDataModule:
    """Tiny splits in shards of two."""
    monkeypatch.setattr(rendered, "SHARD_SIZE", 2)
    return HeadsDataModule(
        16, train_size=3, val_size=1, test_size=2, batch_size=2, supersample=1, root=tmp_path
    )


def shards(root: Path) -> list[Path]:
    return sorted(root.rglob("*.safetensors"))


def test_layout_covers_all_latents() -> None:
    covered = [i for part in LAYOUT.values() for i in range(part.start, part.stop)]
    assert covered == list(range(NUM_LATENTS))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 10.0))
def test_parameters_stay_in_their_ranges(seed, scale) -> None:
    latents = scale * torch.randn(8, NUM_LATENTS, generator=torch.Generator().manual_seed(seed))
    heads = sample_heads(latents)
    assert (heads.angles.abs() <= torch.tensor([50.0, 25.0, 10.0])).all()
    assert (heads.translation.abs() <= 0.01).all()
    assert ((heads.ambient >= 0.2) & (heads.ambient <= 0.6)).all()
    assert ((heads.diffuse >= 0.4) & (heads.diffuse <= 0.8)).all()
    torch.testing.assert_close(heads.light_direction.norm(dim=1), torch.ones(8))
    assert (heads.light_direction[:, 2] < 0).all()  # from the viewer's side


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5), st.floats(-4, 4), st.floats(0.05, 2))
def test_view_is_monotone_in_its_latents(entry, start, step) -> None:
    latents = torch.zeros(2, NUM_LATENTS)
    latents[:, LAYOUT["view"].start + entry] = torch.tensor([start, start + step])
    heads = sample_heads(latents)
    view = torch.cat((heads.angles, heads.translation), 1)
    assert view[1, entry] > view[0, entry]
    rest = [i for i in range(6) if i != entry]
    assert torch.equal(view[0, rest], view[1, rest])


def test_further_latents_are_ignored_and_too_few_refused() -> None:
    latents = torch.randn(2, 256, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sample_heads(latents).albedo, sample_heads(latents[:, :NUM_LATENTS]).albedo)
    with pytest.raises(ValueError, match="expected at least 146 latents, got 100"):
        sample_heads(latents[:, :100])


def test_positive_yaw_turns_the_nose_to_the_right_and_pitch_to_the_top() -> None:
    latents = torch.zeros(3, NUM_LATENTS)
    start = LAYOUT["view"].start
    latents[1, start] = 1.0
    latents[2, start + 1] = 1.0
    heads = sample_heads(latents)
    model = MorphableModel.load_heads()
    points = model.landmark_points(model.vertices(heads.identity, heads.expression))
    placed = heads.view.transform(points + torch.tensor([0.0, 0.0, 1.0]))
    pixels = PinholeCamera(64).project(placed)
    nose = pixels[:, 2]
    assert nose[1, 0] > nose[0, 0] + 3
    assert nose[2, 1] < nose[0, 1] - 2


def test_maps_have_their_ranges(maps) -> None:
    assert {name: tuple(x.shape) for name, x in maps.items()} == {
        "image": (4, 3, 48, 48), "depth": (4, 1, 48, 48), "normal": (4, 3, 48, 48),
        "albedo": (4, 3, 48, 48), "mask": (4, 1, 48, 48),
    }  # fmt: skip
    inside = maps["mask"] >= 0.5
    far = torch.tensor(1.1)
    assert (maps["depth"][~inside] == far).all()
    assert (maps["depth"][inside] < 1.06).all()
    assert (maps["depth"] >= 0.9).all()
    assert 0.25 < inside.float().mean() < 0.8
    assert maps["image"].abs().max() <= 1
    torch.testing.assert_close(maps["normal"].norm(dim=1), torch.ones(4, 48, 48))


def test_normals_agree_with_the_depth_map(maps) -> None:
    from_depth = depth_normals(maps["depth"], PinholeCamera(48))
    cosine = (from_depth * maps["normal"]).sum(1)[maps["mask"][:, 0] == 1]
    # Smooth normals differ at creases and beside the silhouette.
    assert cosine.median() > 0.97
    assert (cosine > 0.8).float().mean() > 0.85


def test_image_is_the_lambert_lit_albedo() -> None:
    heads = sample_heads(head_latents("val", range(2)))
    maps = render_heads(heads, 32, supersample=1)
    inside = maps["mask"].expand(-1, 3, -1, -1) == 1
    lit = lit_texture(maps["albedo"], heads.light.shade(maps["normal"])).clamp(-1, 1)
    torch.testing.assert_close(maps["image"][inside], lit[inside], rtol=0, atol=1e-5)


def test_splits_share_no_identity_and_larger_sets_hold_smaller_ones() -> None:
    rows = torch.cat([head_latents(split, range(5)) for split in ("train", "val", "test")])
    assert len(torch.unique(rows[:, LAYOUT["identity"]], dim=0)) == 15
    assert torch.equal(head_latents("train", range(5))[3:], head_latents("train", range(3, 5)))
    assert not torch.equal(head_latents("train", range(1)), head_latents("train", range(1), seed=1))


def test_cache_is_rendered_once_and_holds_what_was_rendered(module, tmp_path, monkeypatch) -> None:
    module.prepare_data()
    files = shards(tmp_path)
    assert [f"{f.parent.name}/{f.stem}" for f in files] == [
        "test/0000000-0000002", "train/0000000-0000002", "train/0000002-0000003",
        "val/0000000-0000001",
    ]  # fmt: skip
    monkeypatch.setattr(heads_module, "render_heads", None)  # calling it would fail
    module.prepare_data()
    module.setup("fit")
    item = module.dataset("train")[2]
    latents = head_latents("train", range(2, 3))
    direct = {k: v[0] for k, v in render_heads(sample_heads(latents), 16, supersample=1).items()}
    torch.testing.assert_close(item["image"], direct["image"], rtol=0, atol=0.5 / 127)
    torch.testing.assert_close(item["albedo"], direct["albedo"], rtol=0, atol=0.5 / 127)
    torch.testing.assert_close(item["depth"], direct["depth"], rtol=0, atol=2e-6)
    assert torch.equal(item["depth"] == 1.1, direct["depth"] == 1.1)
    torch.testing.assert_close(item["normal"], direct["normal"], rtol=0, atol=1e-3)
    assert torch.equal(item["latents"], latents[0])
    assert item["albedo_coefficients"].shape == (48,)


def test_batches(module) -> None:
    module.prepare_data()
    module.setup()
    batch = next(iter(module.test_dataloader()))
    assert batch["image"].shape == (2, 3, 16, 16)
    assert batch["identity"].shape == (2, 80)
    assert batch["index"].tolist() == [0, 1]
    assert len(list(module.train_dataloader())) == 1  # the odd item is dropped
    assert len(list(module.val_dataloader())) == 1


def test_dataset_travels_to_worker_processes(module) -> None:
    module.prepare_data()
    data = module.dataset("test")
    first = data[1]["image"]
    assert torch.equal(pickle.loads(pickle.dumps(data))[1]["image"], first)


def test_killed_rendering_resumes_with_the_missing_shards(module, tmp_path) -> None:
    data = module.dataset("train")
    rendering = data.render(data.missing())
    next(rendering)  # killed after the first shard
    rendering.close()
    (kept,) = shards(tmp_path)
    stamp = kept.stat().st_mtime_ns
    assert data.missing() == [1]
    module.prepare_data()
    assert kept.stat().st_mtime_ns == stamp
    assert data.missing() == []
    content = shards(tmp_path)[-1].read_bytes()
    shards(tmp_path)[-1].unlink()
    module.prepare_data()
    assert shards(tmp_path)[-1].read_bytes() == content


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damaged_shard_is_named(module, tmp_path, damage) -> None:
    module.prepare_data()
    path = shards(tmp_path)[0]
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-10] ^= 0xFF
    path.write_bytes({"flip": content, "truncate": content[:-100], "empty": b""}[damage])
    with pytest.raises(UserError, match=rf"{path.name}: damaged cache shard .*delete the file"):
        module.dataset("test")[0]


def test_unrendered_shard_is_reported(module) -> None:
    with pytest.raises(UserError, match=r"0000000-0000002\.safetensors: not rendered yet"):
        module.dataset("test")[0]


def test_no_space_leaves_nothing_half_written(module, tmp_path, monkeypatch) -> None:
    def full(*args, **options):
        Path(args[1]).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shard_files, "save_file", full)
    with pytest.raises(UserError, match="no space left on the device; free some space or set"):
        module.prepare_data()
    assert [f for f in tmp_path.rglob("*") if f.is_file()] == []


def test_other_settings_have_another_folder(tmp_path) -> None:
    model = MorphableModel.load_heads()
    configs = (HeadsConfig(), HeadsConfig(32), HeadsConfig(seed=1), HeadsConfig(supersample=1))
    assert len({config.folder(tmp_path, model.tensors()) for config in configs}) == 4


def test_bad_settings() -> None:
    with pytest.raises(UserError, match="image_size=4: expected a number from 8 to 2048"):
        HeadsDataModule(4)
    with pytest.raises(UserError, match="train_size=0: expected a number from 1 to"):
        HeadsDataset("train", 0)
    with pytest.raises(UserError, match="unknown split 'tests'"):
        HeadsDataset("tests", 1)  # type: ignore[arg-type]
