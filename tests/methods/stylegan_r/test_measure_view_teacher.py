"""How `tools/measure_view_teacher.py` reads angles, and which pictures it compares."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from gan3d_bench.methods.stylegan_r.subjects import SUBJECTS

TOOLS = Path(__file__).parents[3] / "tools"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    sys.path.insert(0, str(TOOLS))  # tools import each other
    try:
        name = "measure_view_teacher"
        spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(TOOLS))
    return module


@pytest.mark.parametrize("turn", [0.0, 90.0, 355.0])
def test_spread_does_not_depend_on_where_zero_is(tool: ModuleType, turn: float) -> None:
    angles = (torch.tensor([[-10.0, 10.0], [0.0, 0.0], [-30.0, 60.0]]) + turn) % 360
    expected = torch.tensor([10.0, 0.0, 45.0])
    torch.testing.assert_close(tool.spread(angles), expected, atol=1e-3, rtol=0)


def test_angles_are_apart_by_half_a_turn_at_most(tool: ModuleType) -> None:
    a, b = torch.tensor([350.0, 0.0, 90.0]), torch.tensor([10.0, 180.0, 90.0])
    assert tool.apart(a, b).tolist() == tool.apart(b, a).tolist() == [20.0, 180.0, 0.0]


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_view_code_keeps_its_view_whatever_the_content(tool: ModuleType, name: str) -> None:
    subjects = SUBJECTS[name]
    latents: Tensor = tool.pairs(subjects, 3, 4)
    azimuth = subjects.sample(latents).azimuth.unflatten(0, (3, 4))
    torch.testing.assert_close(azimuth, azimuth[:, :1].expand(-1, 4), atol=1e-2, rtol=0)
    contents = latents.unflatten(0, (3, 4))[:, :, subjects.view.stop :]
    alike = torch.cosine_similarity(contents[0], contents[1], dim=-1)
    torch.testing.assert_close(alike, torch.ones(4))
    assert len(set(azimuth[:, 0].tolist())) == 3
