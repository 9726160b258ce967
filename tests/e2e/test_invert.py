"""`invert`: pictures to stylecodes, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan3d_bench.generators.teachers import load_teacher

Cli = Callable[..., Any]
BARE = ("invert", "photos", "--steps", "4", "--out", "out")
RANDOM = (*BARE, "--teacher", "random-16")
SQUARE = (*RANDOM, "--align", "none")
INVERT = (*SQUARE, "--device", "cpu")


@pytest.fixture
def photos(toy: Path) -> Path:
    """Two pictures that the random teacher can make."""
    folder = toy / "photos"
    folder.mkdir()
    z = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        images = load_teacher("random-16").generator(z, 0.7)
    for name, image in zip(("a", "b"), images, strict=True):
        pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{name}.png")
    return folder


def latent(path: Path) -> Tensor:
    return torch.load(path, weights_only=True)["latent"]


def test_invert_writes_codes_and_says_how_near(cli, toy, photos):
    found = cli(*INVERT)
    assert found.code == 0, found.err
    assert "projection: step 8/8" in found.err
    assert "a: discriminator 0." in found.out
    assert {path.name for path in (toy / "out").iterdir()} == {
        *("a.pt", "b.pt", "images", "inversion.png", "inversion.json")
    }
    assert latent(toy / "out" / "a.pt").shape == (16,)
    assert sorted(path.name for path in (toy / "out" / "images").iterdir()) == ["a.png", "b.png"]
    facts = json.loads((toy / "out" / "inversion.json").read_text())
    assert facts["teacher"] == {"name": "random-16", "image_size": 16, "sha256": None}
    assert facts["config"]["steps"] == 4
    assert [row["name"] for row in facts["images"]] == ["a", "b"]
    assert facts["distance"] == "discriminator"
    assert facts["environment"]["packages"]["torch"]

    # one at a time, it is all the same
    again = [word.replace("out", "again") for word in (*INVERT, "--batch", "1")]
    assert cli(*["--out" if word == "--again" else word for word in again]).code == 0
    for name in ("a.pt", "b.pt"):
        torch.testing.assert_close(
            latent(toy / "again" / name), latent(toy / "out" / name), atol=1e-4, rtol=1e-3
        )


def test_names_of_pictures_do_not_command_the_terminal(cli, toy, photos):
    (photos / "a.png").rename(photos / "a\x1b[2J.png")
    found = cli(*INVERT)
    assert found.code == 0, found.err
    assert "a\\x1b[2J: discriminator 0." in found.out
    assert "\x1b" not in found.out + found.err


def test_gan2shape_takes_the_codes(cli, toy, photos):
    assert cli(*INVERT).code == 0
    given = ("data=images", "images=out/images", "latents=out", "instances=2")
    short = ("stages=1", "prior.steps=1", "trainer.accelerator=cpu", "trainer.preview_every=-1")
    steps = [f"steps.first.step{i}=1" for i in (1, 2, 3)]
    found = cli("fit", "--method", "gan2shape", "--preset", "check", *given, *short, *steps)
    assert found.code == 0, found.err
    (checkpoint,) = toy.glob("runs/gan2shape/check/*/checkpoints/last.ckpt")
    w = torch.load(checkpoint, weights_only=True)["state_dict"]["latents.w"]
    assert torch.equal(w, torch.stack([latent(toy / "out" / name) for name in ("a.pt", "b.pt")]))


def test_layers_noise_maps_and_a_tuned_generator_that_is_a_teacher(cli, toy, photos):
    arguments = ("--space", "w+", "--noise-maps", "--pivotal", "3", "--perceptual", "discriminator")
    found = cli(*INVERT, *arguments)
    assert found.code == 0, found.err
    assert "pivotal tuning: step 14/14" in found.err
    codes = torch.load(toy / "out" / "b.pt", weights_only=True)
    assert codes["latent"].shape == (6, 16)
    assert [tuple(level.shape) for level in codes["noise"]] == [
        *((1, 4, 4), (1, 8, 8), (1, 8, 8), (1, 16, 16), (1, 16, 16))
    ]
    tuned = load_teacher(str(toy / "out" / "b")).generator
    untuned = load_teacher("random-16").generator
    images = [g.synthesis(codes["latent"][None]) for g in (tuned, untuned)]
    change = (images[0] - images[1]).abs().max()
    assert 1e-4 < change < 0.5


def test_mistakes(cli, toy, photos):
    (toy / "twice").mkdir()
    (toy / "twice" / "a.png").write_bytes((photos / "a.png").read_bytes())
    (toy / "bad.png").write_bytes(b"no picture")
    before = sorted(toy.rglob("*"))
    for arguments, message in (
        ([*INVERT, "--space", "z"], "--space='z': expected one of w, w+"),
        ([*INVERT, "--batch", "0"], "--batch 0: expected from 1 to 4096"),
        ([*INVERT, "--pivotal", "-1"], "--pivotal -1: expected from 0 to 1000000"),
        ([*INVERT, "--seed", "-1"], "--seed -1: expected from 0 to 4294967295"),
        ([*INVERT, "--image-size", "20"], "--image-size 20: expected a power of two"),
        ([*INVERT, "--on-bad", "skp"], "--on-bad skp: expected refuse or skip"),
        ([*INVERT, "bad.png", "--on-bad", "skip", "--seed", "-1"], "--seed -1: expected from 0"),
        ([*INVERT, "--steps", "9"], "--steps is given 2 times"),
        ([*RANDOM, "--align", "face"], "--align face: expected ffhq or none"),
        ([*SQUARE, "--device", "gpu"], "--device 'gpu': not available here"),
        ([*INVERT, "twice"], "expected different names"),
        ([*INVERT, "nowhere"], "no such file"),
        ([*INVERT, "bad.png"], "is not a readable image"),
        ([*BARE, "--teacher", "random-20"], "random-16 or random-32"),
        ([*BARE, "--teacher", "ffhq"], "no teacher"),
        ([*BARE], "--teacher"),
        (["invert", "photos", "--teacher", "random-16"], "--out"),
        (["invert", "photos", "--teacher", "random-16", "--out", "bad.png"], "expected a folder"),
    ):
        found = cli(*arguments)
        assert found.code == 2, found.out + found.err
        assert found.err.count("\n") == 1, found.err
        assert message in found.err
        assert sorted(toy.rglob("*")) == before, arguments


def test_bad_pictures_are_skipped(cli, toy, photos, caplog):
    (photos / "bad.png").write_bytes(b"no picture")
    assert "bad.png' is not a readable image" in cli(*INVERT).err
    found = cli(*INVERT, "--on-bad", "skip")
    assert found.code == 0, found.err
    assert "1 of 3 pictures left out: 'bad.png' is not a readable image" in caplog.text
    assert (toy / "out" / "b.pt").is_file() and not (toy / "out" / "bad.pt").exists()
    (photos / "b.png").write_bytes(b"")
    (photos / "a.png").write_bytes(b"")
    assert cli(*INVERT, "--on-bad", "skip").code == 2


def test_a_picture_without_a_face_is_refused(cli, toy, photos):
    found = cli(*RANDOM, "--device", "cpu")
    assert found.code == 2
    assert "no face found" in found.err
