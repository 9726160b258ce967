"""Fingerprints of data: the same for a copy, another one for anything else of the same name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gan3d_bench.files.fingerprint import BLOCK, fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "below").mkdir(parents=True)
    np.save(root / "image.npy", np.zeros(10 * BLOCK, np.uint8))
    (root / "0.png").write_bytes(b"a picture")
    (root / "below" / "notes").write_text("of no account")
    return root


CHANGES: dict[str, Callable[[Path], object]] = {
    "another name": lambda root: (root / "0.png").rename(root / "1.png"),
    "one more": lambda root: (root / "1.png").write_bytes(b""),
    "one less": lambda root: (root / "0.png").unlink(),
    "other contents of the same size": lambda root: (root / "0.png").write_bytes(b"A picture"),
    "an array of the same shape": lambda root: np.save(
        root / "image.npy", np.ones(10 * BLOCK, np.uint8)
    ),
}
NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "a time": lambda root: os.utime(root / "0.png", (1, 1)),
    "hidden": lambda root: (root / ".DS_Store").write_bytes(b"x"),
    "below the data": lambda root: (root / "below" / "more.png").write_bytes(b"x"),
    "beside the data": lambda root: (root / "notes.txt").write_bytes(b"x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_data(folder: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(folder)
    change(folder)
    assert fingerprint(folder) != before


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_the_same_data(folder: Path, tmp_path: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(folder)
    change(folder)
    assert fingerprint(folder) == before
    assert fingerprint(Path(shutil.copytree(folder, tmp_path / "copy"))) == before


def test_folders_within_count_where_there_is_no_data_beside_them(folder: Path) -> None:
    for name in ("0.png", "image.npy"):
        (folder / name).unlink()
    (folder / "below" / "back").symlink_to(folder)
    before = fingerprint(folder)
    (folder / "below" / "a").write_bytes(b"x")
    assert fingerprint(folder) != before


def test_of_a_run_the_checkpoint_counts(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"weights")
    before = fingerprint(tmp_path)
    (tmp_path / "table.json").write_text("{}")
    assert fingerprint(tmp_path) == before
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"others")
    assert fingerprint(tmp_path) != before


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0.png")
    fingerprint(tmp_path)
