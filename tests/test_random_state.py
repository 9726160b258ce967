"""What tests draw from the global random states does not depend on what ran before them."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
import torch


def drawn() -> tuple[float, float, float]:
    return random.random(), np.random.random_sample(), torch.rand((), dtype=torch.float64).item()


def expected(name: str) -> tuple[float, float, float]:
    seed = zlib.crc32(name.encode())
    rng = torch.Generator().manual_seed(seed)
    return (
        random.Random(seed).random(),
        np.random.RandomState(seed).random_sample(),
        torch.rand((), dtype=torch.float64, generator=rng).item(),
    )


@pytest.fixture(scope="module")
def shared() -> tuple[float, float, float]:
    return drawn()


@pytest.mark.parametrize("again", range(2))
def test_a_test_begins_with_its_own_state(again: int, shared: tuple[float, float, float]) -> None:
    assert shared == expected("shared")
    assert drawn() == expected("test_a_test_begins_with_its_own_state")
    random.seed()
    np.random.seed()
    torch.seed()
