"""Instances from heads, folders, lists and the teacher; the teacher itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.generators.stylegan2.teacher import random_pair
from gan3d_bench.methods.gan2shape.config import GAN2ShapeConfig
from gan3d_bench.methods.gan2shape.data import Instances, load_instances
from gan3d_bench.methods.gan2shape.spec import SPEC
from gan3d_bench.rendering.images import frame, resize

GENERATOR, _ = random_pair(16)


def load(*overrides: str) -> Instances:
    config = compose(SPEC, "check", None, overrides)
    assert isinstance(config, GAN2ShapeConfig)
    return load_instances(config, GENERATOR)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images of 40 x 32 pixels, image i of brightness 50 i with a white middle."""
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4):
        pixels = np.full((32, 40, 3), 50 * i, np.uint8)
        pixels[12:20, 16:24] = 255
        Image.fromarray(pixels).save(images / f"{i}.png")
    return images


def test_folder(folder):
    instances = load("data=images", f"images={folder}", "first=1")
    assert instances.images.shape == (2, 3, 16, 16)
    torch.testing.assert_close(
        instances.images[:, 0, 0, 0], torch.tensor([50.0, 100.0]) / 127.5 - 1
    )
    assert instances.images[:, :, 8, 8].min() > 0.99
    assert instances.originals.shape == (2, 3, 16, 16)
    assert instances.originals.dtype == torch.uint8
    assert instances.latents is None


def test_crop_keeps_the_whole_original(folder):
    instances = load("data=images", f"images={folder}", "crop=8", "original_size=32")
    assert instances.images.min() > 0.99
    assert instances.originals.min() < 60


def test_list_masks_and_latents(folder, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text("images/3.png\n\nimages/0.png\n")
    masks, latents = tmp_path / "masks", tmp_path / "latents"
    masks.mkdir()
    latents.mkdir()
    for stem, value in (("3", 255), ("0", 0)):
        Image.fromarray(np.full((32, 32), value, np.uint8)).save(masks / f"{stem}.png")
    torch.save(torch.full((1, 16), 3.0), latents / "3.pt")
    torch.save({"latent": torch.zeros(16), "img": torch.zeros(1)}, latents / "0.pt")
    given = ("data=images", f"images={listing}", f"masks={masks}", f"latents={latents}")
    instances = load(*given)
    assert instances.images[0, 0, 0, 0] > instances.images[1, 0, 0, 0]
    assert instances.masks.mean((1, 2, 3)).tolist() == [1.0, 0.0]
    assert instances.latents.mean(1).tolist() == [3.0, 0.0]
    (latents / "0.pt").unlink()
    wrong = (torch.zeros(7), torch.full((16,), torch.nan), {"w": 1}, tmp_path, None)
    for content in (..., *wrong):
        if content is not ...:
            torch.save(content, latents / "0.pt")
        with pytest.raises(UserError, match=r"latents='.*0\.pt.*code of 16 finite") as error:
            load(*given)
        assert "weights_only" not in str(error.value)


def test_bad_images(folder, tmp_path):
    with pytest.raises(UserError, match="has only 4 images"):
        load("data=images", f"images={folder}", "first=3")
    (folder / "1.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match="not a readable image"):
        load("data=images", f"images={folder}")
    listing = tmp_path / "list.txt"
    listing.write_text("missing.png\nmissing2.png\n")
    with pytest.raises(UserError, match="no such image"):
        load("data=images", f"images={listing}")
    for line in ("images/0\0.png", "n" * 5000, "."):
        listing.write_text(f"{line}\n{line}\n")
        with pytest.raises(UserError, match=r"images: '.*' is not a readable image") as error:
            load("data=images", f"images={listing}")
        assert str(error.value).isprintable()
    with pytest.raises(UserError, match="images='/dev/null': a pipe or a device"):
        load("data=images", "images=/dev/null")


def test_teacher_samples_do_not_depend_on_their_number():
    two, one = load("data=teacher"), load("data=teacher", "instances=1", "first=1", "targets=0")
    torch.testing.assert_close(two.latents[1:], one.latents)
    torch.testing.assert_close(two.images[1:], one.images, atol=1e-5, rtol=0)
    torch.testing.assert_close(GENERATOR.synthesis(two.latents).clamp(-1, 1), two.images)


def test_heads_are_the_data_modules(tmp_path):
    from gan3d_bench.datamodules.heads import HeadsConfig, HeadsDataset

    data = HeadsDataset("val", 2, HeadsConfig(image_size=16), root=tmp_path)
    for _ in data.render(data.missing()):
        pass
    instances = load("data=heads", "split=val", "masks=exact")
    assert torch.equal(instances.images, torch.stack([data[i]["image"] for i in range(2)]))
    assert torch.equal(instances.masks, torch.stack([data[i]["mask"] for i in range(2)]))


def test_data_that_lacks_what_is_asked_for(folder):
    given = ("data=images", f"images={folder}")
    expected = "gives image, name but no mask; expected teacher or cars or heads or heads-360"
    with pytest.raises(UserError, match=expected):
        load(*given, "masks=exact")
    with pytest.raises(UserError, match="but no name; expected teacher or images or synface"):
        load("data=heads", f"latents={folder}")


def test_unknown_split():
    with pytest.raises(UserError, match="did you mean 'test'"):
        load("data=heads", "split=tests")


def test_resize_and_crop():
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        resize(images, 16)[0, 0, 0, 0], images[0, 0, :2, :2].mean(), atol=1e-6, rtol=0
    )
    assert torch.equal(resize(images, 32), images)
    cropped = frame(images, 16, crop=16, original_size=32)
    assert torch.equal(cropped, images[..., 8:24, 8:24])
