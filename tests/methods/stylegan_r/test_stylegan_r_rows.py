"""Pictures of which only the middle rows have content, as the official car model's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from orbits import normal
from PIL import Image

from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.files.run_folder import Run
from gan3d_bench.generators.inversion.config import InversionConfig
from gan3d_bench.generators.inversion.invert import invert
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.stylegan_r.cameras import CENTRE_DEPTH
from gan3d_bench.methods.stylegan_r.dataset import KEPT, SMALL, fates
from gan3d_bench.methods.stylegan_r.masks import Masks, SmoothBackground, fill
from gan3d_bench.methods.stylegan_r.method import StyleGANR
from gan3d_bench.methods.stylegan_r.model import StyleGANRModel
from gan3d_bench.methods.stylegan_r.networks import Properties
from gan3d_bench.methods.stylegan_r.objective import view_terms
from gan3d_bench.registry import registry
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.images import central_rows, resize
from gan3d_bench.rendering.mesh import render_mesh
from gan3d_bench.training.fit import build

SIDE, ROWS = 32, 24
KEYS = (f"image_size={SIDE}", "teacher=random-32", "network.input_size=16")


@pytest.fixture(scope="module")
def model() -> StyleGANR:
    spec = registry("methods").get("stylegan-r")
    config = compose(spec, "check", overrides=[*KEYS, f"image_rows={ROWS}"])
    return cast(StyleGANR, build(spec, config).eval())


def test_middle_rows_and_proportions() -> None:
    images = torch.arange(8.0)[:, None].expand(1, 1, 8, 4)
    assert central_rows(images, 4)[0, 0, :, 0].tolist() == [2, 3, 4, 5]
    assert resize(images, 2).shape == (1, 1, 4, 2)
    assert resize(images, 8).shape == (1, 1, 16, 8)


@torch.no_grad()
def test_every_picture_is_cut_where_it_is_made(model: StyleGANR) -> None:
    whole = load_teacher("random-32").generator
    w = normal(2, whole.num_ws, whole.w_dim)
    cut = central_rows(whole.synthesis(w), ROWS)
    assert cut.shape == (2, 3, ROWS, SIDE)
    assert torch.equal(model.generator.synthesis(w), cut)
    codes = model.style_codes(w)
    assert torch.allclose(model.teacher_image(codes), cut, atol=1e-5)
    assert torch.allclose(model.stylegan(codes), cut, atol=1e-5)
    numbers = torch.tensor([0, 3])
    images, found = model.pictures.picture(numbers, numbers)
    assert images.shape == (2, 3, ROWS, SIDE) and found.mask.shape == (2, 1, ROWS, SIDE)


def test_what_is_in_other_rows_counts_nowhere(model: StyleGANR) -> None:
    images = resize(normal(2, 3, 4, 4), SIDE).clamp(-1, 1)
    other = images.clone()
    other[..., :4, :], other[..., -4:, :] = -1, 1
    seen, again = model.seen(images), model.seen(other)
    assert seen.images.shape == (2, 3, ROWS, SIDE)
    for name in ("images", "mask", "background"):
        assert torch.equal(getattr(seen, name), getattr(again, name))
    assert torch.equal(seen.properties.texture, again.properties.texture)
    assert torch.equal(seen.camera.azimuth, again.camera.azimuth)
    cut = model.seen(central_rows(images, ROWS))  # taken as they are
    assert torch.equal(cut.properties.move, seen.properties.move)
    for shape in ((2, 3, ROWS, ROWS), (2, 3, 16, SIDE), (3, ROWS, SIDE)):
        with pytest.raises(UserError, match=rf"this run takes \(B, 3, {ROWS}, {SIDE}\)"):
            model.seen(torch.zeros(shape))


def test_meshes_are_drawn_as_in_the_middle_of_a_square(model: StyleGANR) -> None:
    """The camera's aspect: a sphere stays round, and its soft outline has the same width."""
    template = model.template
    still = Properties(torch.zeros(1, len(template.vertices), 3), 0.5 * normal(1, 3, 8, 16))
    camera = model.cameras()[torch.tensor([1])].detach()
    drawn = model.draw(still, camera)
    square = render_mesh(
        camera.transform(model.points(still)),
        template.faces,
        template.surface(still.texture),
        PinholeCamera(SIDE, model.config.cameras.fov),
        cull_backfaces=True,
    )
    assert drawn.mask.shape == (1, 1, ROWS, SIDE)
    assert torch.equal(drawn.mask, central_rows(square.mask, ROWS))
    assert torch.allclose(drawn.rgb, central_rows(square.rgb, ROWS), atol=1e-4)
    assert drawn.silhouette is not None
    soft = drawn.silhouette[0, 0]
    up, aside = soft[:, SIDE // 2].sum(), soft[ROWS // 2].sum()
    assert up.item() == pytest.approx(aside.item(), rel=0.05)  # as high as it is wide
    assert ((soft > 0) & (soft < 1)).any()


def test_losses_and_gradients_of_such_pictures(model: StyleGANR) -> None:
    images = resize(normal(2, 3, 3, 4), SIDE).clamp(-1, 1)
    assert images.shape == (2, 3, ROWS, SIDE)
    model.inverse_graphics.requires_grad_()
    found = model.inverse_graphics(images)
    cameras = model.cameras()[torch.tensor([0, 4])]
    masks = torch.zeros(2, 1, ROWS, SIDE)
    masks[..., 6:18, 8:24] = 1
    terms = view_terms(
        model.draw(found, cameras), images, masks, model.config.losses, model.perceptual
    )
    assert terms.keys() == {"iou", "colour", "perceptual"}
    torch.stack(list(terms.values())).sum().backward()
    for parameter in (*model.inverse_graphics.shape.parameters(), model.cameras.azimuth):
        assert parameter.grad is not None and parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0


def test_areas_are_of_the_rows_that_are_looked_at() -> None:
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 12:20, 8:18] = 1  # 7.8 % of the square, 10.4 % of its middle rows
    one = torch.ones(1, dtype=torch.int64)
    assert fates(Masks(central_rows(mask, ROWS), one), 0.1).tolist() == [KEPT]
    assert fates(Masks(mask, one), 0.1).tolist() == [SMALL]


def test_objects_are_found_and_filled_in_pictures_that_are_not_square() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 40), indexing="ij")
    plain = torch.stack((0.4 * x, 0.3 * y, 0.2 * x * y))[None]
    image = plain.clone()
    inside = torch.zeros(24, 40, dtype=torch.bool)
    inside[8:16, 14:30] = True
    image[:, :, inside] = 0.9
    found = SmoothBackground()(image)
    assert torch.equal(found.mask[0, 0] > 0.5, inside) and found.instances.tolist() == [1]
    filled = fill(image, found.mask)
    assert torch.equal(filled[..., ~inside], image[..., ~inside])
    assert (filled - plain).abs().max() < 0.2


def test_stylecodes_are_found_of_the_rows_alone(model: StyleGANR) -> None:
    """Black rows above and below are not compared: the teacher's own picture is met exactly."""
    with torch.no_grad():
        w = model.styles(normal(1, model.generator.z_dim))
        cut = model.generator.synthesis(w)
    config = InversionConfig(steps=1, lr=1e-9, perceptual="discriminator")
    found = invert(model.teacher, cut, config, torch.Generator().manual_seed(0), start=w[0])
    assert found.images.shape == cut.shape
    assert found.error.item() < 1e-8 and found.distance.item() < 1e-6
    whole = torch.zeros(1, 3, SIDE, SIDE)
    with pytest.raises(UserError, match=rf"expected \(B, 3, {ROWS}, {SIDE}\)"):
        invert(model.teacher, whole, config, torch.Generator())
    framed = torch.nn.functional.pad(cut, (0, 0, 4, 4), value=-1.0)
    assert StyleGANRModel.embed(model, framed).shape == (1, model.generator.w_dim)


def test_scenes_keep_their_proportions(model: StyleGANR) -> None:
    images = resize(normal(2, 3, 4, 4), SIDE).clamp(-1, 1)
    view = View.from_orbit(40.0, 10.0, centre_depth=CENTRE_DEPTH)
    for scene in (model.reconstruct(images), model.row_scene("neural", images)):
        assert scene.render(view).rgb.shape == (2, 3, ROWS, SIDE)
        larger = scene.render(view, image_size=2 * SIDE)
        assert larger.rgb.shape == (2, 3, 2 * ROWS, 2 * SIDE)
        assert larger.mask.shape == (2, 1, 2 * ROWS, 2 * SIDE)


def test_the_papers_cars_have_384_rows() -> None:
    given = ["teacher=x", "views=even", "masks=background"]
    config = compose(registry("methods").get("stylegan-r"), "paper-car", overrides=given)
    assert (config.rows, config.image_size) == (384, 512)  # type: ignore[attr-defined]


def test_a_run_from_pictures_to_figures(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every phase with its preview and film, and every figure of a given picture."""
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path / "cache"))
    found = cli(
        *("fit", "--method", "stylegan-r", "--preset", "check", "trainer.accelerator=cpu"),
        *("image_rows=8", "dataset.objects=6", "samples=1", "inversion.steps=1"),
        *("inverse.steps=3", "mapping.steps=1", "finetune.steps=1"),
    )
    assert found.code == 0, found.err
    (run,) = Run.find("stylegan-r")
    with Image.open(next(run.pictures.rglob("input.png"))) as shown:
        assert shown.width > 1.8 * shown.height
    Image.effect_noise((48, 40), 60).convert("RGB").save(tmp_path / "own.png")
    drawn = cli(
        *("figures", "--run", run.path, "--image", tmp_path / "own.png", "--align", "none"),
        *("--out", tmp_path / "out", "--device", "cpu"),
    )
    assert drawn.code == 0, drawn.err
    assert {"camera", "optimised", "swaps"} <= {file.stem for file in (tmp_path / "out").iterdir()}
