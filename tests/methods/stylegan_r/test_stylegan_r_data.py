"""View codes and their file, masks, and which pictures are kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gan3d_bench.cars.sampling import CarParameters
from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.methods.stylegan_r import masks as masks_module
from gan3d_bench.methods.stylegan_r.config import DetectorConfig, StyleGANRConfig
from gan3d_bench.methods.stylegan_r.dataset import EMPTY, KEPT, SEVERAL, SMALL, Pictures, fates
from gan3d_bench.methods.stylegan_r.masks import (
    MaskRCNN,
    Masks,
    SmoothBackground,
    fill,
    open_masks,
)
from gan3d_bench.methods.stylegan_r.subjects import SUBJECTS, shown_by
from gan3d_bench.methods.stylegan_r.views import (
    AZIMUTHS,
    ViewSet,
    nearest_bin,
    read_views,
    view_set,
    views_of_class,
    write_views,
)
from gan3d_bench.registry import registry

# what a teacher of a class is known by
TEACHERS = {
    name: cast(Any, SimpleNamespace(z_dim=subjects.num_latents))
    for name, subjects in SUBJECTS.items()
}


def config_of(*overrides: str) -> StyleGANRConfig:
    spec = registry("methods").get("stylegan-r")
    return cast(StyleGANRConfig, compose(spec, "check", overrides=overrides))


# -- views -----------------------------------------------------------------------------------------


def test_the_file_says_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "views.yaml"
    write_views(file, "random-16", {0: 30, 1: None, 7: 330}, {0: "of the latents: 31.4"})
    assert "  0: 30  # of the latents: 31.4\n  1: skip\n" in file.read_text()
    found = read_views(file, "random-16")
    assert (found.numbers, found.azimuths) == ((0, 7), (30, 330))
    assert view_set(config_of(f"views={file}"), load_teacher("random-16").generator) == found
    with pytest.raises(UserError, match="of another teacher than teacher=random-32"):
        read_views(file, "random-32")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.one_of(st.integers(0, 99).map(str), st.text("0129-x ", max_size=4)),
        st.one_of(st.sampled_from(["skip", "0", "30", "330"]), st.text("0369-sk.", max_size=4)),
        max_size=4,
    )
)
def test_any_file_is_read_or_refused_in_a_line(tmp_path: Path, views: dict[str, str]) -> None:
    file = tmp_path / "views.yaml"
    lines = "".join(f"  '{key}': '{value}'\n" for key, value in views.items())
    file.write_text(f"teacher: random-16\nviews:\n{lines}")
    try:
        found = read_views(file, "random-16")
    except UserError as error:
        assert str(error).startswith(f"views={file}: ") and "expected" in str(error)
        assert "\n" not in str(error)
    else:
        kept = {int(key): int(value) for key, value in views.items() if value != "skip"}
        assert dict(zip(found.numbers, found.azimuths, strict=True)) == kept
        assert len(found) >= 2 and set(found.azimuths) <= set(AZIMUTHS)


@pytest.mark.parametrize("text", ["", "a: 1\n", "teacher: random-16\nviews: 3\n"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "views.yaml").write_text(text)
    with pytest.raises(UserError, match="expected the keys teacher and views"):
        read_views(tmp_path / "views.yaml", "random-16")


@pytest.mark.parametrize("name", SUBJECTS)
def test_azimuths_of_a_teacher_of_a_class_are_those_of_its_latents(name: str) -> None:
    teacher = TEACHERS[name]
    chosen = views_of_class(name, teacher, 120, 2, exact=False)
    assert set(chosen.elevations) == {0.0}
    for azimuth in AZIMUTHS:
        assert chosen.azimuths.count(azimuth) <= 2
    assert len(chosen) > 20
    shown = shown_by(name, teacher, chosen.numbers, [5] * len(chosen))
    apart = (shown.azimuth - torch.tensor(chosen.azimuths) + 180) % 360 - 180
    assert apart.abs().max() <= 15
    assert apart.abs().max() > 5  # nothing but the bin is told
    exact = views_of_class(name, teacher, 120, 2, exact=True)
    assert exact.numbers == chosen.numbers
    assert exact.azimuths == pytest.approx(shown.azimuth.tolist())
    assert exact.elevations == pytest.approx(shown.elevation.tolist())


def test_the_view_is_the_view_codes_and_the_car_the_contents() -> None:
    cars = shown_by("cars", TEACHERS["cars"], [3, 4, 3, 4], [0, 0, 1, 1])
    assert isinstance(cars, CarParameters)
    assert torch.equal(cars.azimuth[:2], cars.azimuth[2:])
    assert cars.azimuth[0] != cars.azimuth[1]
    assert torch.equal(cars.background[0], cars.background[1])
    assert torch.equal(cars.stretch[2], cars.stretch[3])
    assert not torch.equal(cars.stretch[0], cars.stretch[2])


def test_bins_go_round() -> None:
    assert [nearest_bin(a) for a in (0.0, 14.9, 15.1, 344.0, 346.0)] == [0, 0, 30, 330, 0]


def test_only_teachers_of_cars_say_azimuths() -> None:
    with pytest.raises(UserError, match="views=cars: teacher=random-16 has latents of 16 numbers"):
        view_set(config_of("views=cars"), load_teacher("random-16").generator)


# -- masks -----------------------------------------------------------------------------------------


def picture(*discs: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """A colour gradient with discs (row, column, radius), and their mask."""
    line = torch.linspace(-1, 1, 64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    image = torch.stack((0.4 * x + 0.2 * y * y, 0.3 * y, -0.2 + 0.1 * x * x))
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    inside = torch.zeros(64, 64, dtype=torch.bool)
    for row, column, radius in discs:
        inside |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    image[:, inside] = torch.tensor([0.9, -0.8, 0.7])[:, None]
    return image, inside


def test_objects_before_a_smooth_background() -> None:
    discs: list[list[tuple[int, int, int]]] = [[(30, 30, 16)], [(18, 20, 10), (45, 45, 12)], []]
    pictures = [picture(*each) for each in discs]
    found = SmoothBackground()(torch.stack([image for image, _ in pictures]))
    assert found.instances.tolist() == [1, 2, 0]
    assert torch.equal(found.mask[0, 0] > 0.5, pictures[0][1])
    assert found.mask[1].sum() == pytest.approx(math_disc(12), rel=0.05)  # the largest alone
    assert found.mask[2].sum() == 0
    assert fates(found, 0.1).tolist() == [KEPT, SEVERAL, EMPTY]
    assert fates(found, 0.3).tolist() == [SMALL, SEVERAL, EMPTY]


def math_disc(radius: float) -> float:
    return 3.1416 * radius**2


def test_what_was_behind_an_object_is_filled_in() -> None:
    image, inside = picture((32, 30, 12))
    plain, _ = picture()
    filled = fill(image[None], inside[None, None].float())
    assert torch.equal(filled[0][:, ~inside], image[:, ~inside])
    assert (filled[0] - plain).abs().max() < 0.2
    everything = fill(image[None], torch.ones(1, 1, 64, 64))
    assert everything.isfinite().all()


def test_the_largest_sure_object_of_the_category(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Mask R-CNN says is read: category, score, the largest mask, the number of objects."""

    class Detector(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            assert all(image.min() >= 0 and image.max() <= 1 for image in images)
            small, large = torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)
            small[:, :2, :2], large[:, 2:] = 1, 0.9
            first = {
                "labels": torch.tensor([3, 3, 3, 19]),
                "scores": torch.tensor([0.9, 0.8, 0.2, 0.99]),
                "masks": torch.stack((small, large, torch.ones(1, 8, 8), torch.ones(1, 8, 8))),
            }
            return [first, {name: value[3:] for name, value in first.items()}]

    monkeypatch.setattr(masks_module, "_network", Detector)
    file = tmp_path / "weights.pth"
    torch.save({"bias": torch.zeros(1)}, file)
    found = MaskRCNN(file, DetectorConfig())(normal_images(2))
    assert found.instances.tolist() == [2, 0]
    assert found.mask[0].unique().tolist() == [0, 1]  # not how sure it is
    assert found.mask[0].sum() == 48
    assert found.mask[1].sum() == 0
    torch.save({"other": torch.zeros(1)}, file)
    with pytest.raises(UserError, match=rf"^masks={file}: "):
        open_masks(str(file), DetectorConfig())


def normal_images(count: int) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


# -- pictures --------------------------------------------------------------------------------------


class Chosen:
    """Masks whose fate depends on how often it was asked: kept, small, several ... in turns."""

    name = fingerprint = "chosen"
    pattern = (1, 1, 0, 1, 2, 1)  # 1: kept, 0: small, 2: several

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, images: Tensor) -> Masks:
        kinds = [self.pattern[(self.asked + i) % 6] for i in range(len(images))]
        self.asked += len(images)
        mask = torch.tensor([0.0 if kind == 0 else 1.0 for kind in kinds])
        mask = mask[:, None, None, None].expand(-1, 1, 16, 16).clone()
        mask[..., 0, 0] = 1
        return Masks(mask, torch.tensor([2 if kind == 2 else 1 for kind in kinds]))


def pictures_of(folder: Path, monkeypatch: pytest.MonkeyPatch, objects: int) -> Pictures:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(folder))
    config = config_of(f"dataset.objects={objects}", "dataset.batch=64")
    views = ViewSet((0, 1, 5), (0.0, 90.0, 180.0), (0.0,) * 3, "")
    return Pictures(config, load_teacher("random-16").generator, views, Chosen())


def test_pictures_are_kept_one_by_one_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = pictures_of(tmp_path, monkeypatch, 40)
    assert (pictures.count, pictures.shards) == (120, 2)
    # of every two objects the first has two kept views of three, the second as well
    assert pictures.make_shard(0)["kept"].item() == pytest.approx(43 / 64)
    pictures.make_shard(1)
    assert pictures.fate.shape == (40, 3)
    assert pictures.summary == (
        "80 of 120 pictures kept (0 without an object, 20 with a mask below 2%, 20 with several "
        "objects left out); 40 of 40 objects seen from two views or more"
    )
    assert len(pictures.train) == 38 and pictures.held_out.tolist() == [38, 39]
    numbers = pictures.draw(pictures.train, torch.Generator().manual_seed(0))
    objects, views = pictures.split(numbers)
    assert torch.equal(objects, pictures.train[:, None].expand(-1, 2))
    assert (pictures.fate[objects, views] == KEPT).all()
    assert (views[:, 0] != views[:, 1]).all()
    assert len(set(views[:, 0].tolist())) > 1  # in any order
    images, masks = pictures.read([7, 119])
    found, _ = pictures.picture(torch.tensor([2, 39]), torch.tensor([1, 2]))
    assert (images - found).abs().max() < 1 / 127
    assert masks.shape == (2, 1, 16, 16)


def test_too_few_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = pictures_of(tmp_path, monkeypatch, 4)
    monkeypatch.setattr(Chosen, "pattern", (0, 0, 1, 0, 2, 0))
    pictures.make_shard(0)
    with pytest.raises(
        UserError, match=r"dataset.objects=4: 2 of 12 pictures kept, 0 objects with"
    ):
        _ = pictures.train
