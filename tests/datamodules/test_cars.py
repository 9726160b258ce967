"""The bundled cars: the pack, which looks are whose, sampling, rendering and caching."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from gan3d_bench.assets.store import asset_path
from gan3d_bench.cars import pack as pack_module
from gan3d_bench.cars.pack import LOOKS, CarPack
from gan3d_bench.cars.sampling import (
    CAR_LENGTH,
    CARS,
    CHOSEN,
    ELEVATION,
    FAMILIES,
    HELD_OUT,
    LAYOUT,
    NUM_LATENTS,
    SCALE,
    STRETCH,
    CarParameters,
    canonical_car,
    described,
    looks_of,
    render_cars,
    sample_cars,
)
from gan3d_bench.datamodules import rendered
from gan3d_bench.datamodules.base import SPLITS
from gan3d_bench.datamodules.cars import CarsConfig, CarsDataModule, CarsDataset, car_latents
from gan3d_bench.datamodules.heads import HeadsDataModule
from gan3d_bench.errors import UserError
from gan3d_bench.heads.sampling import CENTRE_DEPTH, FAR, FIELD_OF_VIEW, NEAR
from gan3d_bench.rendering.cameras import PinholeCamera


@pytest.fixture(scope="module")
def pack() -> CarPack:
    return CarPack.load()


@pytest.fixture
def module(tmp_path, monkeypatch) -> CarsDataModule:
    """Tiny splits in shards of two."""
    monkeypatch.setattr(rendered, "SHARD_SIZE", 2)
    return CarsDataModule(
        16, train_size=3, val_size=1, test_size=2, batch_size=2, supersample=1, root=tmp_path
    )


def one_car(shape: int = 0, look: int = 0, azimuth: float = 0.0, elevation: float = 0.0):
    """A car of ordinary size, lit from everywhere."""
    return CarParameters(
        *(torch.tensor([x]) for x in (shape, look, azimuth, elevation, 1.0)),
        stretch=torch.ones(1, 3),
        ambient=torch.ones(1),
        diffuse=torch.zeros(1),
        light_direction=torch.tensor([[0.0, 0.0, -1.0]]),
        background=torch.zeros(1, 8),
    )


def test_the_pack_is_what_its_manifest_says(pack) -> None:
    folder = asset_path("cars")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert pack.names() == [entry["name"] for entry in manifest["cars"]]
    assert len(set(pack.names())) == len(pack) >= 26
    assert not {"155-DTM", "buggy", "p406"} & set(pack.names())
    for entry in manifest["cars"]:
        assert {"creator", "licence", "file", "sha256", "changes"} <= set(entry)
        assert (folder / manifest["licences"][entry["licence"]]).stat().st_size > 5000
        assert "drivers" not in entry["file"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6


def test_every_car_is_whole_and_of_one_unit(pack) -> None:
    for car in pack.cars:
        assert 1500 < len(car.faces) <= 3500, car.name
        assert car.faces.max() < len(car.vertices) and car.face_uvs.max() < len(car.uvs)
        assert car.faces.shape == car.face_uvs.shape
        assert car.uvs.min() >= 0 and car.uvs.max() <= 1
        low, high = car.vertices.amin(0), car.vertices.amax(0)
        width, height, length = (high - low).tolist()
        assert length == pytest.approx(1, abs=1e-4), car.name
        assert 0.3 < width < 0.7 and 0.15 < height < 0.65, car.name
        assert (low + high).abs().max() < 1e-4
        assert car.atlas.shape == (3, 256, 256) and 0.02 < car.paint.mean() < 0.98, car.name


def test_paint_changes_the_body_alone(pack) -> None:
    white, black = LOOKS.index("white"), LOOKS.index("black")
    for car in pack.cars:
        original, light, dark = (car.texture(look) for look in (0, white, black))
        bare = (car.paint == 0).expand(3, -1, -1)
        torch.testing.assert_close(light[bare], original[bare])
        painted = (car.paint > 0.9).expand(3, -1, -1)
        assert light[painted].mean() > dark[painted].mean() + 0.8, car.name
        assert light.abs().max() <= 1 and dark.abs().max() <= 1


def test_no_look_is_in_two_splits_and_two_shapes_are_held_out(pack) -> None:
    found = {
        split: {(name, look) for name in pack.names() for look in looks_of(name, pack, split)}
        for split in SPLITS
    }
    assert not found["train"] & found["val"]
    assert not found["train"] & found["test"]
    assert not found["val"] & found["test"]
    assert sum(map(len, found.values())) == len(pack) * len(LOOKS)
    for name in HELD_OUT:
        assert {n for split in ("train", "val") for n, _ in found[split]}.isdisjoint({name})
        assert len(looks_of(name, pack, "test")) == len(LOOKS)
    for name in set(pack.names()) - set(HELD_OUT):
        assert [len(looks_of(name, pack, split)) for split in SPLITS] == [9, 1, 2]
    for name, like in FAMILIES.items():
        assert looks_of(name, pack, "train") == looks_of(like, pack, "train")
    # a paint that one shape keeps for tests, others show in training
    assert {look for _, look in found["train"]} == set(range(len(LOOKS)))


@pytest.mark.parametrize("split", SPLITS)
def test_parameters_are_in_their_ranges_and_the_split_s_own(pack, split) -> None:
    cars = sample_cars(car_latents(split, range(400)), split, pack)
    allowed = {(s, k) for s, n in enumerate(pack.names()) for k in looks_of(n, pack, split)}
    drawn = set(zip(cars.shape.tolist(), cars.look.tolist(), strict=True))
    assert drawn <= allowed
    assert len({shape for shape, _ in drawn}) == len({shape for shape, _ in allowed})
    assert cars.azimuth.min() >= 0 and cars.azimuth.max() < 360
    assert cars.azimuth.histc(12, 0, 360).min() > 15  # from all round
    for values, (low, high) in (
        (cars.elevation, ELEVATION),
        (cars.scale, SCALE),
        (cars.stretch, (1 - STRETCH, 1 + STRETCH)),
    ):
        assert values.min() >= low and values.max() <= high
        assert values.max() - values.min() > 0.9 * (high - low)
    correlation = torch.corrcoef(torch.stack((cars.ambient, cars.diffuse, cars.azimuth)))
    assert (correlation - torch.eye(3)).abs().max() < 0.2


def test_an_item_depends_on_seed_split_and_number_alone() -> None:
    few, many = car_latents("train", [3]), car_latents("train", range(6))
    assert torch.equal(few[0], many[3]) and few.shape == (1, NUM_LATENTS)
    for other in (car_latents("train", [3], seed=1), car_latents("test", [3])):
        assert not torch.equal(few, other)
    assert len(sample_cars(car_latents("val", []), "val")) == 0
    with pytest.raises(UserError, match="unknown split 'tset'"):
        car_latents("tset", [0])  # type: ignore[arg-type]


def test_described_says_what_a_picture_shows(pack) -> None:
    latents = car_latents("train", range(300))
    cars = sample_cars(latents, "train", pack)
    numbers = described(latents, "train", pack)
    assert numbers.shape == latents.shape
    part = {name: numbers[:, where] for name, where in LAYOUT.items()}
    for name in ("shape", "look"):
        assert torch.equal(part[name].argmax(1), getattr(cars, name))
        assert torch.equal(part[name].sum(1), torch.full((300,), CHOSEN))
    azimuth = torch.atan2(part["view"][:, 1], part["view"][:, 0]).rad2deg() % 360
    torch.testing.assert_close(azimuth, cars.azimuth, atol=1e-3, rtol=0)
    uniform = torch.cat((part["view"][:, 2:], part["stretch"], part["light"][:, :2]), 1)
    assert uniform.abs().max() <= 3**0.5
    torch.testing.assert_close(uniform.std(0), torch.ones(7), atol=0.15, rtol=0)
    # all that a picture is made of: equal numbers, equal cars
    moved = latents.clone()
    moved[:, LAYOUT["shape"]] *= 1.5
    assert torch.equal(described(moved, "train", pack), numbers)
    module = CarsDataModule(16, train_size=1)
    assert torch.equal(module.described(latents), numbers)
    heads = HeadsDataModule(16, train_size=1)
    assert torch.equal(heads.described(latents), latents)


def test_each_part_of_a_latent_decides_what_it_is_named_for(pack) -> None:
    assert len(pack) == CARS
    latents = car_latents("train", range(40))
    cars = sample_cars(latents, "train", pack)
    fields = {
        "view": ("azimuth", "elevation", "scale"),
        "shape": ("shape", "look"),  # which looks a shape shows depends on it
        "look": ("look",),
        "stretch": ("stretch",),
        "light": ("ambient", "diffuse", "light_direction"),
        "background": ("background",),
    }
    assert fields.keys() == LAYOUT.keys()
    for name, where in LAYOUT.items():
        changed = latents.clone()
        changed[:, where] = car_latents("train", range(40, 80))[:, where]
        other = sample_cars(changed, "train", pack)
        differs = {key for key, x in vars(cars).items() if not torch.equal(x, vars(other)[key])}
        assert differs <= set(fields[name]) and fields[name][0] in differs, name
    longer = sample_cars(1.3 * latents, "train", pack)
    for key in ("shape", "look"):
        assert torch.equal(getattr(cars, key), getattr(longer, key))
    torch.testing.assert_close(cars.azimuth, longer.azimuth)


@pytest.fixture(scope="module")
def around() -> dict[float, dict[str, Tensor]]:
    """A car from the front, its left, behind and its right, not lit."""
    return {a: render_cars(one_car(azimuth=a), 48, 2) for a in (0.0, 90.0, 180.0, 270.0)}


def test_cars_stand_upright_and_face_the_camera_at_azimuth_zero(around, pack) -> None:
    extent = {}
    for azimuth, maps in around.items():
        rows, columns = (maps["mask"][0, 0] > 0.5).nonzero().unbind(1)
        extent[azimuth] = (columns.max() - columns.min()).item(), (rows.max() - rows.min()).item()
    # from the sides it is longer than from the ends, and as high
    assert min(extent[90.0][0], extent[270.0][0]) > 1.6 * max(extent[0.0][0], extent[180.0][0])
    assert max(e[1] for e in extent.values()) - min(e[1] for e in extent.values()) <= 2
    assert all(width > 1.2 * height for width, height in extent.values())
    # the camera has gone to the image's right: from 90 degrees the front is at the image's left
    vertices, _, _ = canonical_car(one_car(), 0, pack)
    front = vertices[:, vertices[0, :, 2].argmin()][:, None]
    camera = PinholeCamera(48, FIELD_OF_VIEW)
    u = camera.project(one_car(azimuth=90.0).view.transform(front))[0, 0, 0]
    assert u < 14
    assert front[0, 0, 2] == pytest.approx(CENTRE_DEPTH - CAR_LENGTH / 2, abs=2e-3)


def test_every_car_has_wheels_on_the_ground_and_less_roof_than_floor(pack) -> None:
    for car in pack.cars:
        x, y, z = car.vertices.unbind(1)
        bottom = y > y.max() - 0.01
        # something stands on the ground in all four quarters
        for right in (x > 0, x < 0):
            for front in (z < -0.15, z > 0.15):
                assert (bottom & right & front).any(), car.name
        top = y < y.min() + 0.25 * (y.max() - y.min())
        middle = (y - y.mean()).abs() < 0.15 * (y.max() - y.min())
        assert x[top].abs().quantile(0.9) <= x[middle].abs().quantile(0.95) + 0.02, car.name


def test_cars_are_whole_in_the_picture_and_in_the_depths_that_data_has(pack) -> None:
    cars = sample_cars(car_latents("test", range(150)), "test")
    camera = PinholeCamera(64, FIELD_OF_VIEW)
    for row in range(len(cars)):
        vertices, _, _ = canonical_car(cars, row, pack)
        seen = cars[row : row + 1].view.transform(vertices)
        assert ((camera.project(seen) >= 0) & (camera.project(seen) <= 63)).all()
        assert seen[..., 2].min() > NEAR and seen[..., 2].max() < FAR


def test_maps_are_exact(pack) -> None:
    cars = sample_cars(car_latents("test", range(3)), "test")
    maps = render_cars(cars, 40)
    inside = maps["mask"] > 0.99
    camera = PinholeCamera(40, FIELD_OF_VIEW)
    assert inside.flatten(1).float().mean(1).min() > 0.05
    assert maps["depth"][inside].min() > 0.9 and maps["depth"][inside].max() < 1.1
    assert (maps["depth"][maps["mask"] < 0.5] == torch.tensor(1.1)).all()
    normal = maps["normal"]
    torch.testing.assert_close(normal.norm(dim=1), torch.ones_like(normal[:, 0]))
    assert (normal[:, 2:][inside] < 0.3).float().mean() > 0.97  # towards the viewer
    # seen points lie within the car's box, turned back
    points = camera.backproject(maps["depth"])
    back = cars.view.inverse_transform(points)
    for row in range(3):
        vertices, _, _ = canonical_car(cars, row, pack)
        low, high = vertices[0].amin(0) - 2e-3, vertices[0].amax(0) + 2e-3
        seen = back[row][inside[row, 0]]
        assert ((seen >= low) & (seen <= high)).all(1).float().mean() > 0.98


def test_cache_and_fresh_are_the_same_and_worlds_apart(module) -> None:
    fresh = module.read("train", [2, 0])
    module.prepare_data()
    data = module.dataset("train")
    for item, number in zip(fresh, (2, 0), strict=True):
        assert item.keys() == data[number].keys()
        for key, value in item.items():
            same = torch.equal(value, data[number][key]) if key != "index" else value == number
            assert same, key
    larger = CarsDataset("train", 5, CarsConfig(16, supersample=1), root=module.root)
    assert torch.equal(larger.parameters.azimuth[:3], data.parameters.azimuth)
    assert module.dataset("test")[0]["shape"].dtype == torch.int64
    other = module.read("test", [0])[0]
    assert not torch.equal(other["image"], fresh[1]["image"])


def test_settings_and_packs_have_folders_of_their_own(pack, tmp_path) -> None:
    configs = (CarsConfig(), CarsConfig(32), CarsConfig(seed=1), CarsConfig(supersample=1))
    folders = {config.folder(tmp_path, pack.tensors()) for config in configs}
    assert len(folders | {CarsConfig().folder(tmp_path, CarPack(pack.cars[:2]).tensors())}) == 5


def test_a_damaged_pack_is_one_line(tmp_path) -> None:
    path = tmp_path / "cars.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match=r"cars\.npz: not a pack of cars"):
        pack_module._load(path)
