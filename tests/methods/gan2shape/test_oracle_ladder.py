"""`tools/oracle_ladder.py`: what it knows of heads, and what it says of shapes."""

from __future__ import annotations

import json
from pathlib import Path

import oracle_ladder as ladder
import pytest
import torch

from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.gan2shape.factors import light_from_raw, view_from_raw
from gan3d_bench.methods.gan2shape.networks import Regressor
from gan3d_bench.rendering.shading import LambertLight


def test_known_views_and_lights_are_what_the_method_makes_of_raw_ones() -> None:
    view = View.from_angles([30.0, -5.0], [4.0, 9.0], [-2.0, 3.0], (0.002, -0.001, 0.004))
    again = view_from_raw(ladder.raw_view(view))
    torch.testing.assert_close(again.rotation_matrix(), view.rotation_matrix())
    torch.testing.assert_close(again.translation[:, :2], view.translation[:, :2])
    light = LambertLight.from_slopes(*torch.tensor([[0.4, 0.3], [0.5, 0.6], [0.2, -0.4], [0.1, 0]]))
    seen = light_from_raw(ladder.raw_light(light, view)).in_camera(view)
    torch.testing.assert_close(seen.direction, light.direction)
    torch.testing.assert_close(seen.ambient, light.ambient)


def test_a_network_is_overruled_where_poses_are_known() -> None:
    mean, images = torch.full((6,), 0.25), torch.rand(3, 3, 16, 16)
    network = Regressor(16, 6, width=4)
    known = ladder.KnownPoses(network, mean)
    torch.testing.assert_close(known(images), network(images))
    raw = torch.randn(3, 6)
    known.know(images, raw)
    torch.testing.assert_close(known(images[[2, 0]]) + mean, raw[[2, 0]])


def test_true_shapes_score_best_and_another_heads_worse() -> None:
    truth = ladder.Truth(head_latents("val", range(3)), 32)
    values = ladder.scores(truth, truth.depth, truth.view)
    assert min(values["correlation"]) == pytest.approx(1)
    means = ladder.summary(values)
    assert means["side, own shape, true view"]["mean"] < 0.2
    for shape in ("mean", "another"):
        assert means[f"side, {shape} less own shape, true view"]["mean"] > 0.1
    inside_out = ladder.scores(truth, 2 - truth.depth, truth.view)
    assert max(inside_out["correlation"]) == pytest.approx(-1)


def test_a_row_takes_the_place_of_its_like(tmp_path: Path) -> None:
    path, data = tmp_path / "ladder.json", {"heads": 2}
    for rung, keys, number in (("a", [], 1), ("b", [], 2), ("a", ["x=1"], 3), ("a", [], 4)):
        ladder.add_row(path, {"rung": rung, "keys": keys, "number": number}, data)
    assert [row["number"] for row in json.loads(path.read_text())["rows"]] == [2, 3, 4]
    ladder.add_row(path, {"rung": "b", "keys": [], "number": 5}, {"heads": 3})
    assert [row["number"] for row in json.loads(path.read_text())["rows"]] == [5]
