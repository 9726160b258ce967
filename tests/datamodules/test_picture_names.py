"""Which files of a folder, zip file or list are pictures, and that the others are said."""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from gan3d_bench.datamodules.base import open_data
from gan3d_bench.datamodules.images import ImageFolderDataModule
from gan3d_bench.errors import UserError
from gan3d_bench.files.photographs import FORMATS, HEAD, is_picture
from gan3d_bench.files.picture_sources import open_source, read_named


def picture(kind: str = "PNG", size: tuple[int, int] = (12, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (90, 120, 150)).save(buffer, kind)
    return buffer.getvalue()


FILES = {
    "1.jfif": picture("JPEG"),
    "2": picture("PNG"),
    "3.photo": picture("TIFF"),
    "4.JPG": picture("JPEG"),
    "notes.txt": b"BM is how a text may begin",
    "table.npy": b"\x93NUMPY",
    ".hidden.png": picture(),
    ".thumbs/5.png": picture(),
    "__MACOSX/6.png": picture(),
    "empty": b"",
}
PICTURES = ["1.jfif", "2", "3.photo", "4.JPG"]
OTHERS = ["empty", "notes.txt", "table.npy"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in FILES.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_known_by_its_first_bytes(kind: str) -> None:
    assert is_picture(picture(kind)[:HEAD])


def test_other_files_are_not() -> None:
    for start in (b"", b"\x93NUMPY\1\0v\0{'descr", b"PK\3\4" + bytes(12), b"P6 is a road in Wales"):
        assert not is_picture(start)
    assert is_picture(b"\0\0\0\x18ftypheic\0\0\0\0")  # is said to be one that cannot be decoded


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_pictures_of_any_name_count(source: str, request: pytest.FixtureRequest) -> None:
    found = open_source(request.getfixturevalue(source), recursive=True)
    assert found.names == PICTURES
    assert list(found.passed_over) == OTHERS
    assert len(read_named([request.getfixturevalue(source)], lambda *_: [0]).items) == 4


def test_one_picture_without_a_suffix(folder: Path) -> None:
    assert open_source(folder / "2").names == ["2"]


def test_what_is_passed_over_is_said(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        ImageFolderDataModule(folder, image_size=8, cache=tmp_path).setup()
    (record,) = caplog.records
    assert record.getMessage() == (f"'{folder}': 3 files passed over, no pictures, such as 'empty'")
    for name in PICTURES:
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"no images there \(3 other files, such as 'empty'\)"):
        open_source(folder, recursive=True)


def test_a_list_with_a_byte_order_mark(folder: Path) -> None:
    (folder / "list.txt").write_text("4.JPG\n2\n", encoding="utf-8-sig")
    source = open_source(folder / "list.txt")
    assert source.names == ["4.JPG", "2"]
    assert source.read(0) == FILES["4.JPG"]


def test_a_list_from_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "list.txt").write_text("~/4.JPG\n")
    assert open_source(folder / "list.txt").read(0) == FILES["4.JPG"]


def test_bad_pictures_have_no_number_where_they_are_skipped(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path / "home"))
    (folder / "1.jfif").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"'1.jfif' is not a readable image"):
        open_data("images", str(folder), 8).read("test", [0])
    data = open_data("images", str(folder), 8, on_bad="skip", on_bad_key="data.on_bad")
    assert [item["name"] for item in data.read("test", [0, 2])] == ["2", "4.JPG"]
    with pytest.raises(UserError, match="has only 3 good images"):
        data.read("test", [3])
    with pytest.raises(UserError, match=r"1 of 4 .* cannot be used; data\.on_bad=skip leaves them"):
        open_data("images", str(folder), 8, on_bad_key="data.on_bad").setup()
    with pytest.raises(UserError, match=r"unknown on_bad 'skp' \(did you mean 'skip'\?\)"):
        open_data("images", str(folder), 8, on_bad="skp")


def test_bad_pictures_among_named_ones(folder: Path) -> None:
    (folder / "4.JPG").write_bytes(b"no picture")

    def no_faces(found: Image.Image, name: str) -> list[int]:
        if name == "2":
            raise UserError("'2': no face found")
        return [found.width]

    with pytest.raises(UserError, match="'2': no face found"):
        read_named([folder], no_faces)
    taken = read_named([folder], no_faces, skip_bad=True)
    assert taken.items == {"1": 12, "3": 12}
    assert (taken.pictures, len(taken.bad)) == (4, 2)
    assert "'4.JPG' is not a readable image" in taken.bad[1]
    with pytest.raises(UserError, match="'2': no face found"):
        read_named([folder / "2"], no_faces, skip_bad=True)
