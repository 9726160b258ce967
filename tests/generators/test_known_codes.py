"""Stylecodes are found once, and found again where anything that makes them differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gan3d_bench.generators.inversion import known_codes
from gan3d_bench.generators.inversion.config import InversionConfig, RefinementConfig
from gan3d_bench.generators.inversion.known_codes import FOLDER, stylecodes

CONFIG = InversionConfig(steps=3)


class Finder:
    """Finds noise, another each time, and counts how often it was asked."""

    asked = 0

    def __call__(self) -> Tensor:
        self.asked += 1
        return torch.randn(2, 8, generator=torch.Generator().manual_seed(self.asked))


def pictures(seed: int = 0) -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def find() -> Finder:
    return Finder()


def test_the_same_batch_is_inverted_once(tmp_path: Path, find: Finder) -> None:
    first = stylecodes(pictures(), "a", CONFIG, 0, find, tmp_path)
    again = stylecodes(pictures(), "a", replace(CONFIG), 0, find, tmp_path)
    assert find.asked == 1
    assert torch.equal(first, again)


def test_found_and_kept_codes_lie_alike_in_memory(tmp_path: Path) -> None:
    """Networks round otherwise where they do not: scenes changed once their codes were kept."""

    def find() -> Tensor:
        return torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).T

    found, kept = (stylecodes(pictures(), "a", CONFIG, 0, find, tmp_path) for _ in range(2))
    assert torch.equal(found, kept)
    assert found.is_contiguous() and kept.is_contiguous()
    assert found.data_ptr() % 64 == kept.data_ptr() % 64 == 0


@pytest.mark.parametrize(
    ("seed", "teacher", "config", "run_seed"),
    [
        (1, "a", CONFIG, 0),
        (0, "b", CONFIG, 0),
        (0, "a", replace(CONFIG, steps=4), 0),
        (0, "a", replace(CONFIG, refinement=RefinementConfig(steps=1)), 0),
        (0, "a", CONFIG, 1),
    ],
)
def test_anything_else_is_found_anew(
    tmp_path: Path, find: Finder, seed: int, teacher: str, config: InversionConfig, run_seed: int
) -> None:
    stylecodes(pictures(), "a", CONFIG, 0, find, tmp_path)
    stylecodes(pictures(seed), teacher, config, run_seed, find, tmp_path)
    assert find.asked == 2


def test_so_it_is_with_another_version(
    tmp_path: Path, find: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylecodes(pictures(), "a", CONFIG, 0, find, tmp_path)
    monkeypatch.setattr(known_codes, "VERSION", known_codes.VERSION + 1)
    stylecodes(pictures(), "a", CONFIG, 0, find, tmp_path)
    assert find.asked == 2


def test_a_damaged_file_is_made_anew(tmp_path: Path, find: Finder) -> None:
    stylecodes(pictures(), "a", CONFIG, 0, find, tmp_path)
    (file,) = (tmp_path / FOLDER).iterdir()
    file.write_bytes(file.read_bytes()[:20])
    second = stylecodes(pictures(), "a", CONFIG, 0, find, tmp_path)
    third = stylecodes(pictures(), "a", CONFIG, 0, find, tmp_path)
    assert find.asked == 2
    assert torch.equal(second, third)


def test_where_nothing_can_be_kept_they_are_found_all_the_same(
    tmp_path: Path, find: Finder
) -> None:
    (tmp_path / FOLDER).write_text("not a folder")
    w = stylecodes(pictures(), "a", CONFIG, 0, find, tmp_path)
    assert w.shape == (2, 8)
