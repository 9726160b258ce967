"""Synface from a tiny folder of the benchmark's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan3d_bench.datamodules.synface import SynfaceDataModule, SynfaceDataset
from gan3d_bench.errors import UserError


@pytest.fixture
def root(synface_folder: Path) -> Path:
    return synface_folder


def test_depth_range_crop_and_order(root: Path) -> None:
    data = SynfaceDataset(root, "test")
    item = data[1]
    assert item["name"] == "000001_image_1_1"
    assert item["image"].shape == (3, 64, 64)
    assert item["depth"].shape == (1, 64, 64)
    # White (255) is near, black far; the square lies in the middle of the crop.
    torch.testing.assert_close(item["depth"][0, 32, 32], torch.tensor(0.9))
    torch.testing.assert_close(item["depth"][0, 0, 0], torch.tensor(1.1))
    near = (item["depth"] < 1.0).float()
    assert near.sum() == pytest.approx((56 / 170 * 64) ** 2, rel=0.1)
    rows, columns = near[0].nonzero().float().mean(0)
    assert rows.item() == pytest.approx(31.5, abs=0.51)
    assert columns.item() == pytest.approx(31.5, abs=0.51)


def test_crop_is_the_centre_170_pixels(root: Path) -> None:
    with Image.open(root / "test/image/000000_image_1_1.png") as image:
        expected = torch.from_numpy(np.array(image)[43:213, 43:213]).permute(2, 0, 1)
    item = SynfaceDataset(root, "test", image_size=170)[0]
    assert torch.equal(((item["image"] + 1) * 127.5).round().byte(), expected)


def test_limit_and_loaders(root: Path) -> None:
    module = SynfaceDataModule(root, batch_size=2, test_limit=2)
    module.setup()
    assert len(module.dataset("test")) == 2
    assert len(module.dataset("train")) == 3
    batch = next(iter(module.test_dataloader()))
    assert batch["image"].shape == (2, 3, 64, 64)
    assert batch["image"].min() >= -1
    assert batch["image"].max() <= 1


def test_latents_beside_the_images(root: Path) -> None:
    (root / "test/latents").mkdir()
    for number in range(3):
        latent = torch.full((1, 512), float(number))
        torch.save(latent, root / f"test/latents/{number:06d}_image_1_1.pt")
    assert SynfaceDataset(root, "test")[2]["latent"].unique().tolist() == [2.0]
    (root / "test/latents/000002_image_1_1.pt").write_bytes(b"no tensor")
    with pytest.raises(UserError, match=r"000002_image_1_1\.pt: not a readable checkpoint"):
        SynfaceDataset(root, "test")[2]


def test_depth_maps_keep_their_sixteen_bits(root: Path) -> None:
    levels = np.full((256, 256), 30000, np.uint16)
    Image.fromarray(levels).save(root / "test/depth/000000_depth_1_1.png")
    depth = SynfaceDataset(root, "test")[0]["depth"]
    torch.testing.assert_close(
        depth, torch.full_like(depth, 1.1 - 0.2 * 30000 / 65535), rtol=0, atol=1e-6
    )


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folders 'image' and 'depth'"):
        SynfaceDataModule(tmp_path).setup("test")


def test_missing_depth_map(root: Path) -> None:
    (root / "val/depth/000001_depth_1_1.png").unlink()
    missing = r"000001_image_1_1\.png: its depth map .* is missing"
    with pytest.raises(UserError, match=missing):
        SynfaceDataset(root, "val")[1]
    with pytest.raises(UserError, match=rf"1 of \d pictures .*; on_bad=skip .*{missing}"):
        SynfaceDataModule(root).setup("validate")


def test_bad_images_are_skipped(root: Path) -> None:
    (root / "val/depth/000000_depth_1_1.png").unlink()
    (root / "val/image/._000000_image_1_1.png").write_bytes(b"a Macintosh's second file")
    data = SynfaceDataModule(root)
    data.on_bad = "skip"
    names = [item["name"] for item in data.dataset("val")]
    assert len(names) == len(SynfaceDataset(root, "val")) - 1
    assert "000000_image_1_1" not in names
    assert data.read("val", [0])[0]["name"] == names[0]


def test_unreadable_and_small_images(root: Path) -> None:
    path = root / "train/image/000000_image_1_1.png"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="not a readable image"):
        SynfaceDataset(root, "train")[0]
    Image.new("RGB", (64, 64)).save(path)
    with pytest.raises(UserError, match="64x64 pixels; expected at least 170x170"):
        SynfaceDataset(root, "train")[0]


def test_unknown_split(root: Path) -> None:
    with pytest.raises(UserError, match=r"unknown split 'tset' \(did you mean 'test'\?\)"):
        SynfaceDataset(root, "tset")  # type: ignore[arg-type]
