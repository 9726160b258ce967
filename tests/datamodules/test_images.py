"""Folders, zip files and lists of pictures; bad ones refused or left out, never silently."""

from __future__ import annotations

import io
import logging
import os
import pickle
import struct
import zipfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.datamodules import images as module
from gan3d_bench.datamodules.images import ImageFolderDataModule
from gan3d_bench.datamodules.survey import NAMED
from gan3d_bench.errors import UserError
from gan3d_bench.files import photographs
from gan3d_bench.files.picture_sources import PictureZip, natural_key, open_source, read_named
from gan3d_bench.registry import registry
from gan3d_bench.spec import load


def picture(value: int, size: tuple[int, int] = (40, 32)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


NAMES = ("a10.png", "a2.PNG", "b/a1.png", "a1.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, the i-th of NAMES of brightness 50 i, and what is no picture."""
    root = tmp_path / "pictures"
    (root / "b").mkdir(parents=True)
    for i, name in enumerate(NAMES):
        (root / name).write_bytes(picture(50 * i))
    (root / "notes.txt").write_text("no picture")
    (root / "._a1.png").write_bytes(b"a Macintosh's second file")
    return root


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in (*NAMES, "notes.txt"):
            file.write(folder / name, name)
        file.write(folder / "notes.txt", "__MACOSX/a1.png")
        file.writestr("c.png/", "")  # a folder; ZipFile.mkdir is new in Python 3.11
    return path


def test_what_is_taken_of_pictures_has_names_of_its_own(folder: Path, archive: Path) -> None:
    def brightness(found: Image.Image, name: str) -> list[tuple[str, int]]:
        value = np.asarray(found)[0, 0, 0].item()
        return [(name, value + i) for i in range(2 if name == "a2.PNG" else 1)]

    alone = folder / "b" / "a1.png"
    taken = read_named([folder / "a10.png", folder / "a2.PNG", alone], brightness)
    assert list(taken.items.items()) == [
        ("a10", ("a10.png", 0)),
        ("a2-1", ("a2.PNG", 50)),
        ("a2-2", ("a2.PNG", 51)),
        ("a1", ("a1.png", 100)),
    ]
    nothing = read_named([folder], lambda found, name: [])
    assert (nothing.items, nothing.pictures, nothing.passed_over) == ({}, 3, ["notes.txt"])
    for paths in ([archive], [folder, alone]):  # a1.png and b/a1.png
        with pytest.raises(UserError, match=r"a1\.png.* called 'a1'; expected different names"):
            read_named(paths, brightness)


@pytest.fixture
def make(tmp_path: Path):
    def make(images: Path, **options: object) -> ImageFolderDataModule:
        return ImageFolderDataModule(images, image_size=8, cache=tmp_path / "cache", **options)

    return make


def contents(data: ImageFolderDataModule) -> list[tuple[str, int]]:
    return [(x["name"], round((x["image"][0, 4, 4].item() + 1) * 127.5)) for x in data.everything()]


ALL = [("a1.png", 150), ("a2.PNG", 50), ("a10.png", 0), ("b/a1.png", 100)]


def test_folder(folder, make):
    assert contents(make(folder, recursive=True)) == ALL
    assert contents(make(folder)) == ALL[:3]


def test_zip(archive, make):
    assert contents(make(archive)) == ALL


def test_list_keeps_its_order(folder, make):
    outside = folder.parent / "list.txt"
    outside.write_text(f"pictures/a2.PNG\n\n  {folder}/a10.png\npictures/a2.PNG\r\n")
    found = contents(make(outside))
    assert found == [("pictures/a2.PNG", 50), (f"{folder}/a10.png", 0), ("pictures/a2.PNG", 50)]


def test_one_picture(folder, make):
    assert contents(make(folder / "a2.PNG")) == [("a2.PNG", 50)]


def test_links_lead_to_each_folder_once(folder, make):
    (folder / "b" / "back").symlink_to(folder)
    (folder / "c.png").symlink_to(folder / "a2.PNG")
    assert contents(make(folder, recursive=True)) == [*ALL, ("c.png", 50)]


def test_natural_order():
    names = ["x10", "x9", "X1", "x010", "x", "x1y2", "x1y10", "9", "10", "", "x" + "9" * 5000]
    ordered = ["", "9", "10", "x", "X1", "x1y2", "x1y10", "x9", "x010", "x10", "x" + "9" * 5000]
    assert sorted(names, key=natural_key) == ordered


@given(st.lists(st.text(alphabet="ab01²٣/.", max_size=6), max_size=8, unique=True))
def test_any_names_have_one_order(names):
    assert sorted(names, key=natural_key) == sorted(reversed(names), key=natural_key)


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_workers_read_what_one_process_reads(source, make, request):
    """The zip file is open here when the workers start: they must not share its position."""
    data = make(request.getfixturevalue(source), recursive=True, num_workers=2, batch_size=1)
    expected = contents(data)
    for _ in range(3):
        batches = list(data.predict_dataloader())
        found = [
            (b["name"][0], round((b["image"][0, 0, 4, 4].item() + 1) * 127.5)) for b in batches
        ]
        assert found == expected == ALL


def test_a_zip_file_travels_to_started_processes(archive, make):
    data = make(archive).everything()
    again = pickle.loads(pickle.dumps(data))
    assert [item["name"] for item in again] == [item["name"] for item in data]
    torch.testing.assert_close(again[2]["image"], data[2]["image"])


def test_batches_and_splits(tmp_path, make):
    root = tmp_path / "many"
    root.mkdir()
    for i in range(12):
        (root / f"{i}.png").write_bytes(picture(20 * i))
    data = make(root, val_size=3, test_size=2, batch_size=4)
    data.prepare_data()
    data.setup()
    names = {split: [x["name"] for x in data.dataset(split)] for split in ("train", "val", "test")}
    assert [len(names[split]) for split in ("train", "val", "test")] == [7, 3, 2]
    assert len({name for part in names.values() for name in part}) == 12
    batch = next(iter(data.val_dataloader()))
    assert batch["image"].shape == (3, 3, 8, 8)
    assert batch["image"].min() >= -1 and batch["image"].max() <= 1
    # a picture more moves at most one into and one out of each split
    (root / "12.png").write_bytes(picture(0))
    more = make(root, val_size=3, test_size=2)
    assert len({x["name"] for x in more.dataset("test")} - set(names["test"])) <= 1
    assert [x["name"] for x in make(root, test_size=13).dataset("train")] == []
    with pytest.raises(UserError, match=r"val_size=7 test_size=7: '.*many' has only 13 pictures"):
        make(root, val_size=7, test_size=7).setup()


def test_bad_pictures_are_refused_with_the_first_and_their_number(folder, make):
    (folder / "a3.jpg").write_bytes(b"no picture")
    (folder / "a11.png").write_bytes(picture(0)[:-20])
    with pytest.raises(
        UserError,
        match=r"^'.*pictures': 2 of 5 pictures cannot be used; on_bad=skip leaves them out; "
        r"the first: '.*a3\.jpg' is not a readable image; expected a PNG",
    ) as error:
        make(folder).setup()
    assert str(error.value).isprintable()


def test_bad_pictures_are_left_out_and_reported_once(folder, make, caplog):
    (folder / "a3.jpg").write_bytes(b"no picture")
    (folder / "new.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    data = make(folder, on_bad="skip")
    with caplog.at_level(logging.WARNING):
        data.prepare_data()
        data.setup()
        assert contents(data) == ALL[:3]
    message, others = (record.getMessage() for record in caplog.records)
    assert others.endswith("pictures': 1 file passed over, no pictures, such as 'notes.txt'")
    assert "2 of 5 pictures left out: " in message
    assert "a3.jpg' is not a readable image" in message and "new.heic' is a HEIC image" in message
    assert list(data.skipped) == ["a3.jpg", "new.heic"]


def test_many_bad_pictures_are_counted(folder, make, caplog):
    for i in range(NAMED + 5):
        (folder / f"bad{i}.png").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        make(folder, on_bad="skip").setup()
    assert caplog.records[0].getMessage().endswith("; and 5 more")


def test_nothing_but_bad_pictures(folder, make):
    for name in NAMES[:2] + NAMES[3:]:
        (folder / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"3 of 3 pictures cannot be used; the first: '.*a1\.png'"):
        make(folder, on_bad="skip").setup()


def test_missing_files_of_a_list(folder, make):
    listing = folder / "list.txt"
    listing.write_text("a1.png\nnone.png\na\0b.png\n../../etc\n")
    with pytest.raises(UserError, match=r"3 of 4 .* the first: '.*none\.png': no such image"):
        make(listing).setup()
    assert contents(make(listing, on_bad="skip")) == ALL[:1]


def test_a_picture_that_goes_bad_later_is_refused(folder, make):
    data = make(folder, on_bad="skip")
    data.setup()
    (folder / "a2.PNG").write_bytes(b"")
    with pytest.raises(UserError, match=r"'a2\.PNG' is not a readable image"):
        data.everything()[1]


def test_findings_are_cached_until_something_changes(folder, make, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        module, "decode", lambda data, name: decoded.append(name) or photographs.decode(data, name)
    )
    make(folder).setup()
    assert decoded == ["a1.png", "a2.PNG", "a10.png"]
    make(folder).setup()
    assert len(decoded) == 3
    (cached,) = (folder.parent / "cache" / "images").iterdir()
    for damage in ("", "[]", '{"bad": [], "points": {}}', '{"bad": {}, "points": {"0": [[1]]}}'):
        cached.write_text(damage)
        decoded.clear()
        make(folder).setup()
        assert len(decoded) == 3
    decoded.clear()
    (folder / "a1.png").write_bytes(b"other")
    with pytest.raises(UserError, match="1 of 3"):
        make(folder).setup()
    assert len(decoded) == 3


def test_a_cache_that_cannot_be_written_costs_only_time(folder):
    data = ImageFolderDataModule(folder, image_size=8, cache=folder / "notes.txt")
    assert contents(data) == ALL[:3]


def test_names_in_a_zip_file_lead_nowhere(tmp_path, make, monkeypatch):
    """Nothing is extracted: names that climb, and absolute ones, are only names."""
    path = tmp_path / "slip.zip"
    names = ["../../escape.png", "/tmp/escape.png", "C:\\escape.png", "x\n\x1b[31m.png"]
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, picture(100))
    work = tmp_path / "a" / "b"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    assert {name for name, _ in contents(make(path))} == set(names)
    assert not [p for p in tmp_path.rglob("*") if "escape" in p.name]
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("\n\x1b[31m.png", b"bad")
    with pytest.raises(UserError, match="1 of 5") as error:
        make(path).setup()
    assert str(error.value).isprintable()


def test_zip_bombs(tmp_path, make, monkeypatch):
    monkeypatch.setattr(photographs, "MAX_BYTES", 100_000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", picture(1) + bytes(10**7))
    with pytest.raises(UserError, match=r"'bomb\.png': 10000\d\d\d bytes; expected at most 100000"):
        make(path).setup()
    # the same with a lie: a declared size below the limit; no more than that is inflated
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        struct.pack_into("<I", data, data.index(signature) + offset, 50_000)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"'bomb\.png' in '.*bomb\.zip' is damaged \(Bad CRC-32"):
        make(path).setup()


@pytest.mark.parametrize(("method", "number"), [(zipfile.ZIP_BZIP2, 12), (zipfile.ZIP_LZMA, 14)])
def test_unbounded_compression_is_refused(tmp_path, make, method, number):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.png", picture(1))
    with pytest.raises(UserError, match=rf"'a\.png' in .*: compression method {number}; expected"):
        make(path).setup()


def test_encrypted_and_damaged_members(archive, make):
    data = bytearray(archive.read_bytes())
    position = data.index(b"PK\1\2")
    data[position + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"1 of 4 .*'a10\.png' in .* is encrypted"):
        make(archive).setup()
    data[position + 8] &= ~1
    offset = data.index(b"PK\3\4") + 30 + len("a10.png")
    data[offset + 5] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(UserError, match=r"1 of 4 .*'a10\.png' in .* is damaged"):
        make(archive).setup()


def test_a_zip_file_cut_short(archive):
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"^'.*pictures\.zip': expected a folder of images"):
        open_source(archive)
    with pytest.raises(UserError, match=r"pictures\.zip' is not a readable zip file"):
        PictureZip(archive)


def test_what_is_no_source(tmp_path, folder):
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.txt").write_text("\n\n")
    os.mkfifo(tmp_path / "pipe")
    expected = "expected a folder of images, a zip file or a text file of paths"
    for name in ("bytes.txt", "pipe", "a\0b", "n" * 5000):
        with pytest.raises(UserError, match=rf"^'.*': (no such file; )?{expected}") as error:
            open_source(tmp_path / name)
        assert str(error.value).isprintable()
    with pytest.raises(UserError, match=f"^'': {expected}"):
        open_source("")
    with pytest.raises(UserError, match=rf"^'none': no such file; {expected}"):
        open_source("none")
    with pytest.raises(UserError, match=r"^'.*empty\.txt': no images there; expected \.png"):
        open_source(tmp_path / "empty.txt")
    with pytest.raises(UserError, match=r"no images there \(3 other files, such as 'bytes"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"align": "ffqh"}, "unknown align 'ffqh' .did you mean 'ffhq'"),
        ({"on_bad": "skipp"}, "unknown on_bad 'skipp' .did you mean 'skip'"),
        ({"val_size": -1}, "val_size=-1: expected a number from 0 to"),
        ({"image_size": 4}, "image_size=4: expected a number from 8 to 2048"),
    ],
)
def test_bad_settings(folder, options, message):
    with pytest.raises(UserError, match=message):
        ImageFolderDataModule(folder, **options)


def test_registered():
    spec = registry("datamodules").get("images")
    assert load(spec.module) is ImageFolderDataModule


@pytest.mark.network
def test_the_pictures_that_insightface_ships(make):
    """Two photographs of faces, and four masks on nothing."""
    fetch("scrfd-500m")
    folder = Path(str(files("insightface") / "data" / "images"))
    data = make(folder, align="ffhq", on_bad="skip", num_workers=2)
    data.prepare_data()
    assert list(data.skipped) == [f"mask_{c}.jpg" for c in ("black", "blue", "green", "white")]
    (batch,) = data.predict_dataloader()
    assert batch["name"] == ["t1.jpg", "Tom_Hanks_54745.png"]
    assert batch["image"].shape == (2, 3, 8, 8)


class _Brightness:
    """Stands for a detector: no face in dark pictures, the same five points in all others."""

    threshold, overlap = 0.5, 0.4

    class weights:
        label, sha256 = "toy", "0"

    def detect(self, images, sizes):
        from gan3d_bench.faces.scrfd import Faces

        points = torch.tensor([[[16.0, 12], [24, 12], [20, 16], [17, 20], [23, 20]]])
        box = torch.tensor([[10.0, 5, 30, 27]])
        none = Faces(box[:0], torch.empty(0), points[:0])
        one = Faces(box, torch.ones(1), points)
        # found again in the cut of 256 pixels: not where it was, so the first finding counts
        return [one if image.mean() > -0.9 else none for image in images]


def test_aligned_faces_and_pictures_without_one(folder, make, caplog):
    values = np.full((32, 40, 3), 100, np.uint8)
    values[10:15, 14:27] = 250  # about the eyes
    Image.fromarray(values).save(folder / "face.png")
    with pytest.raises(UserError, match=r"1 of 4 .*'a10\.png': no face found by SCRFD toy above"):
        make(folder, align="ffhq", detector=_Brightness()).setup()
    with caplog.at_level(logging.WARNING):
        data = make(folder, align="ffhq", on_bad="skip", detector=_Brightness())
        data.setup()
    assert "1 of 4 pictures left out: 'a10.png': no face found" in caplog.text
    item = data.everything()[2]
    assert item["name"] == "face.png" and item["image"].shape == (3, 8, 8)
    assert item["image"][0, 3, 2:6].min() > 0.1 > item["image"][0, 6].max()
