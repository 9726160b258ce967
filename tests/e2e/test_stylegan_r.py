"""StyleGAN-R through the command line: phases, what is frozen, figures, annotated views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gan3d_bench.files.checkpoints import read_checkpoint
from gan3d_bench.files.run_folder import Run

FIT = (
    "fit", "--method", "stylegan-r", "--preset", "check", "trainer.accelerator=cpu",
    "trainer.preview_every=-1", "dataset.objects=6", "samples=1",
)  # fmt: skip


def weights(run: Run) -> dict[str, Tensor]:
    return read_checkpoint(run.checkpoint)["state_dict"]


def test_phases_ablations_and_figures(
    cli: Callable[..., Any], toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(toy / "cache"))
    views = toy / "views"
    made = cli("annotate-views", "--teacher", "random-16", "--out", views, "--candidates", 8)
    assert made.code == 0, made.err
    assert (views / "views.png").is_file()
    file = views / "views.yaml"
    text = file.read_text()
    for number, azimuth in enumerate((0, 90, 180, 270)):
        text = text.replace(f"  {number}: skip", f"  {number}: {azimuth}")
    file.write_text(text)

    keys = (f"views={file}", "cameras.lr_factor=1")
    for more in ((), ("finetune.steps=0",), ("losses.multi_view=false", "losses.perceptual=0")):
        found = cli(*FIT, *keys, *more)
        assert found.code == 0, found.err
        assert "of 24 pictures kept" in found.out
    whole, mapped, ablated = sorted(Run.find("stylegan-r", "check", toy / "runs"), key=str)
    assert whole.environment["method"]["azimuths_from"] == "the file of the key `views`"
    assert len(list((toy / "cache" / "multi-view-pictures").iterdir())) == 1  # made once for all

    one, two, three = weights(whole), weights(mapped), weights(ablated)
    for name in one:
        part = name.split(".")[0]
        # fine-tuning leaves f, its batch statistics and the cameras as they are
        if part in ("inverse_graphics", "cameras"):
            assert torch.equal(one[name], two[name]), name
    changed = {name.split(".")[0] for name in one if not torch.equal(one[name], two[name])}
    assert changed == {"mapping", "stylegan", "background_judge"}
    assert not torch.equal(one["cameras.azimuth"], three["cameras.azimuth"])
    assert torch.allclose(one["cameras.annotated"].rad2deg(), torch.tensor([0.0, 90, 180, 270]))
    assert (one["cameras.azimuth"] != one["cameras.annotated"]).all()

    drawn = cli("figures", "--run", whole.path, "--count", 1, "--out", "out", "--device", "cpu")
    assert drawn.code == 0, drawn.err
    assert {path.stem for path in Path("out").iterdir()} == {
        "faces", "yaw", "pitch", "views", "blocks", "reconstruction", "camera", "optimised",
        "swaps", "mixing",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("image_size=32",), "image_size=32: expected 16, the size of the images of teacher="),
        (("views=cars",), "views=cars: teacher=random-16 has latents of 16 numbers, expected"),
        (("masks=cars",), "masks=cars: teacher=random-16 has latents of 16 numbers, expected"),
        (("views=nowhere.yaml",), "views=nowhere.yaml: No such file"),
        (("masks=nowhere.pth",), "masks=nowhere.pth: no such file; expected the weights"),
        (
            ("views=''",),
            "views='': expected cars or heads-360 (what the teacher was trained on), even",
        ),
        (("teacher=random-eg3d", "image_size=64"), "a generator that takes labels of 25"),
        (("losses.iou=0", "losses.colour=0"), "losses.iou=0 losses.colour=0: expected one"),
        (("inversion.space=w+",), "inversion.space='w+': expected 'w'"),
        (("image_rows=24",), "image_rows=24: expected at most image_size=16"),
        (("image_rows=12",), "image_rows=12: expected a multiple of 8"),
        (
            ("views=heads-360",),
            "expected those of heads-360 (144; `fit --method stylegan2 --preset",
        ),
        (("cameras.start=latents",), "cameras.start=latents: expected views=cars or heads-360"),
    ],
)
def test_what_does_not_fit_is_refused_before_work(
    refused: Callable[..., str], keys: tuple[str, ...], message: str
) -> None:
    assert message in refused(*FIT[:5], *keys)


def test_only_a_stylegan2_has_view_codes(refused: Callable[..., str]) -> None:
    options = ("annotate-views", "--out", "out", "--teacher")
    assert "--latents heads: expected cars or heads-360 or unknown" in refused(
        *options, "random-16", "--latents", "heads"
    )
    assert "--latents cars: --teacher random-16 has latents of 16" in refused(
        *options, "random-16", "--latents", "cars"
    )
