"""`tools/sharpen_views.py`: pictures moved in their plane get the views that they then show."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import torch

from gan3d_bench.benchmarks.heads import before_grey
from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.heads.sampling import render_heads, sample_heads
from gan3d_bench.methods.gan2shape.factors import (
    ROTATION_RANGE,
    TRANSLATION_RANGE,
    view_from_raw,
)

TOOL = Path(__file__).parents[3] / "tools" / "sharpen_views.py"


def test_a_moved_picture_is_that_of_the_moved_head() -> None:
    spec = importlib.util.spec_from_file_location("sharpen_views", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    heads = before_grey(sample_heads(head_latents("val", range(2))))
    heads = replace(heads, ambient=torch.ones(2), diffuse=torch.zeros(2))  # light would turn, too
    before = render_heads(heads, 32)["image"]
    degrees, shift = torch.tensor([14.0, -10.0]), torch.tensor([[0.08, -0.05], [-0.06, 0.07]])
    angles = heads.view.to_gan2shape()[:, :3] / math.radians(ROTATION_RANGE)
    raw = torch.cat((angles, heads.translation[:, :2] / TRANSLATION_RANGE), 1)

    picture, now = tool.moved(before, raw, degrees.deg2rad(), shift)

    view = view_from_raw(torch.cat((now, torch.zeros(2, 1)), 1))
    there = torch.stack((view.yaw, view.pitch, view.roll), 1)
    depth = heads.translation[:, 2:]
    moved = replace(heads, angles=there, translation=torch.cat((view.translation[:, :2], depth), 1))
    expected = render_heads(moved, 32)["image"]
    inner = (..., slice(6, -6), slice(6, -6))
    error = (picture - expected)[inner].abs().mean()
    assert error < 0.3 * (before - expected)[inner].abs().mean()
