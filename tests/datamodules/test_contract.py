"""Every data module of the suite keeps the contract of `datamodules.base`."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan3d_bench.datamodules.base import SPLITS, DataModule, open_data
from gan3d_bench.datamodules.specs import KEYS
from gan3d_bench.errors import UserError
from gan3d_bench.registry import BUILTIN, registry
from gan3d_bench.spec import load

SIZE, COUNTS = 16, {"train": 3, "val": 2, "test": 1}
NAMES = sorted(BUILTIN["datamodules"])
MAKING = {"heads", "heads-360", "cars"}  # modules that make their items, as many as are asked for
CHANNELS = {"image": 3, "depth": 1, "mask": 1, "normal": 3, "albedo": 3, "original": 3}


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], DataModule]:
    """Opens a data module by name, on a little data where it needs some."""
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(0)

    def picture(path: Path, *channels: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (180, 200, *channels), dtype=np.uint8)).save(path)

    def open_(name: str) -> DataModule:
        folder = tmp_path / name
        for number in range(7):
            if name == "images":
                picture(folder / f"{number}.png", 3)
            for split in SPLITS if name == "synface" else ():
                picture(folder / split / "image" / f"{number}_image.png", 3)
                picture(folder / split / "depth" / f"{number}_depth.png")
        return open_data(name, str(folder) if folder.exists() else "", SIZE, counts=COUNTS)

    return open_


@pytest.mark.parametrize("name", NAMES)
def test_items_hold_what_the_spec_says(opened: Callable[[str], DataModule], name: str) -> None:
    spec = registry("datamodules").get(name)
    assert set(spec.gives) <= set(KEYS)
    data = opened(name)
    data.prepare_data()
    for split, count in COUNTS.items():
        dataset = data.dataset(split)
        assert len(dataset) == count
        for item in (dataset[0], *data.read(split, [0])):
            assert set(spec.gives) <= set(item)
            for key in set(item) & set(CHANNELS) - {"original"}:
                assert item[key].shape == (CHANNELS[key], SIZE, SIZE), key
                assert item[key].dtype == torch.float32
            assert item["image"].abs().max() <= 1
            if "depth" in item:
                assert item["depth"].min() > 0.9 - 1e-4 and item["depth"].max() < 1.1 + 1e-4
            if "original" in item:
                assert item["original"].shape == (3, 180, 180)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_without_sense_are_refused(name: str, tmp_path: Path) -> None:
    module = load(registry("datamodules").get(name).module)
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    first = [] if name in MAKING else [tmp_path]
    numbers = [
        key for key, item in inspect.signature(module).parameters.items()
        if item.annotation in ("int", "int | None")
    ]  # fmt: skip
    assert {"image_size", "batch_size", "num_workers"} < set(numbers)
    for key, value in itertools.product(numbers, (-1, 1e30, 10**30, math.inf, math.nan)):
        with pytest.raises(UserError, match=rf"^{key}=.*: expected "):
            module(*first, **{key: value})


@pytest.mark.parametrize("name", NAMES)
def test_items_are_read_by_number_without_preparing(
    opened: Callable[[str], DataModule], name: str, tmp_path: Path
) -> None:
    data = opened(name)
    read = data.read("train", [2, 0])
    assert not (tmp_path / "home").exists()
    data.prepare("train")
    if name != "images":  # whose splits part what `read` numbers as a whole
        for item, number in zip(read, (2, 0), strict=True):
            assert torch.equal(item["image"], data.dataset("train")[number]["image"])
    if name not in MAKING:
        with pytest.raises(UserError, match="has only 7 images"):
            data.read("train", [7])


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_split_is_one_line(opened: Callable[[str], DataModule], name: str) -> None:
    with pytest.raises(UserError, match="unknown split 'tset'"):
        opened(name).dataset("tset")  # type: ignore[arg-type]


def test_pictures_in_folders_within_count_where_there_are_no_others(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "deep" / "a.png")
    assert len(open_data("images", str(tmp_path), SIZE).read("test", [0])) == 1
    Image.new("RGB", (16, 16)).save(tmp_path / "b.png")
    (item,) = open_data("images", str(tmp_path), SIZE).read("test", [0])
    assert item["name"] == "b.png"
