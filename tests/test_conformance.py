"""The conformance check finds what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gan3d_bench.config import compose
from gan3d_bench.conformance.checks import OVERRIDES, PRESET, Report, _Checks
from gan3d_bench.conformance.dependence import dependence, require_dependence
from gan3d_bench.conformance.scenes import Failed, check_rendering
from gan3d_bench.geometry.views import View
from gan3d_bench.registry import registry
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene
from gan3d_bench.spec import MethodSpec
from gan3d_bench.training.fit import build


class Disc(Scene):
    """One flat subject; `changes` replace what its rendering should hold."""

    capabilities = frozenset({"depth"})
    camera = PinholeCamera(4)

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    @property
    def batch_size(self) -> int:
        return 1

    def _render(self, view: View, light: Any, camera: PinholeCamera) -> Rendering:
        whole = torch.ones(1, 1, 4, 4)
        right = Rendering(rgb=whole.expand(1, 3, 4, 4), mask=whole, depth=whole)
        return replace(right, **self.changes)


def test_a_right_rendering_passes() -> None:
    scene = Disc()
    check_rendering("it", scene, scene.render(View.from_angles(0.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rgb": torch.zeros(2, 3, 4, 4)}, "2 pictures of 1 subjects"),
        ({"rgb": torch.full((1, 3, 4, 4), 1.5)}, r"rgb is in \[1.5, 1.5\], expected \[-1, 1\]"),
        ({"mask": torch.zeros(1, 1, 4, 4)}, "nothing of a subject is in the picture"),
        ({"mask": torch.ones(1, 3, 4, 4)}, r"mask has shape \(1, 3, 4, 4\)"),
        ({"depth": -torch.ones(1, 1, 4, 4)}, "depth behind the camera"),
        ({"depth": torch.full((1, 1, 4, 4), float("nan"))}, "depth is not finite"),
        ({"normal": torch.ones(1, 3, 2, 2)}, "normal has shape"),
    ],
)
def test_a_wrong_rendering_fails(changes: dict[str, Any], message: str) -> None:
    scene = Disc(**changes)
    with pytest.raises(Failed, match=message):
        check_rendering("it", scene, scene.render(View.from_angles(0.0)))


def test_report_counts_failures_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> str:
        raise ValueError("two\nlines")

    report = Report()
    report.check("bad", fails)
    report.check("good", lambda: "a remark")
    assert report.failed == ["bad"]
    bad, good = capsys.readouterr().out.splitlines()
    assert bad.startswith("FAILED  bad") and "ValueError: two lines" in bad
    assert good.startswith("ok      good") and "a remark" in good


@pytest.fixture
def spec(toy: Path) -> MethodSpec:
    return registry("methods").get("toy")


def checks(spec: MethodSpec, folder: Path, *overrides: str) -> tuple[_Checks, Report]:
    report = Report()
    config = compose(spec, PRESET, overrides=(*OVERRIDES, *overrides))
    return _Checks(spec, config, report, folder), report


def test_claims_that_are_not_kept_fail(
    spec: MethodSpec,
    toy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from toy_plugin.scene import DiscScene

    monkeypatch.setattr(DiscScene, "capabilities", DiscScene.capabilities - {"relight"})
    found, report = checks(spec, toy)
    report.check("trains", found.trains)
    report.check("capabilities", found.capabilities)
    assert report.failed == ["capabilities"]
    assert "'relight' is claimed, but the sample scene does not have it" in capsys.readouterr().out


def test_state_that_is_not_saved_is_found(
    spec: MethodSpec, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toy_plugin.method import Toy

    found, report = checks(spec, toy)
    original = Toy.colour_step

    def forgetful(self: Any, batch: Any) -> Any:
        self.depth_shift = 0.5  # not in the state dict
        return original(self, batch)

    def reconstruct(self: Any, images: torch.Tensor) -> Any:
        scene = plain(self, images)
        scene.vertices = scene.vertices * (1 + getattr(self, "depth_shift", 0.0))
        return scene

    plain = Toy.reconstruct
    monkeypatch.setattr(Toy, "colour_step", forgetful)
    monkeypatch.setattr(Toy, "reconstruct", reconstruct)
    report.check("trains", found.trains)
    report.check("reloads", found.reloads)
    assert report.failed == ["reloads"]


def test_training_that_changes_nothing_is_found(spec: MethodSpec, toy: Path) -> None:
    found, report = checks(spec, toy, "colour_steps=0", "depth_steps=0")
    report.check("trains", found.trains)
    assert report.failed == ["trains"]


def _same_depth(self: Any, images: torch.Tensor) -> Any:
    from toy_plugin.scene import DiscScene

    return DiscScene(self.encoder(images).clamp(-1, 1), torch.ones(len(images)), images.shape[-1])


def _means(self: Any, images: torch.Tensor) -> Any:
    """People differ; grey, noise and the first picture are turned into the mean."""
    scene = _plain_reconstruct(self, images)
    if len(images) == 3:  # with grey and noise
        scene.vertices = scene.vertices.mean(0, keepdim=True).expand_as(scene.vertices)
    return scene


def _plain_reconstruct(self: Any, images: torch.Tensor) -> Any:
    from toy_plugin.scene import DiscScene

    colour = self.encoder(images)
    depth = 1 + self.depth(colour)[:, 0]
    return DiscScene(colour.clamp(-1, 1), depth, images.shape[-1])


def test_a_method_that_gives_everybody_the_same_shape_fails(
    spec: MethodSpec,
    toy: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from toy_plugin.method import Toy

    monkeypatch.setattr(Toy, "reconstruct", _same_depth)
    found, report = checks(spec, toy)
    report.check("trains", found.trains)
    report.check("start", lambda: require_dependence(found.watcher.start))
    report.check("result", lambda: require_dependence(found.watcher.end))
    assert report.failed == ["start", "result"]
    assert "the sample is the same whatever the input" in capsys.readouterr().out


def test_grey_and_noise_must_make_a_difference(
    spec: MethodSpec, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toy_plugin.method import Toy

    def ratios() -> dict[str, float]:
        return dependence(build(spec, compose(spec, PRESET, overrides=OVERRIDES)), spec)

    assert set(ratios()) == {"sample", "reconstruct", "reconstruct of grey and noise"}
    require_dependence(ratios())
    monkeypatch.setattr(Toy, "reconstruct", _means)
    with pytest.raises(Failed, match="the reconstruct of grey and noise is the same"):
        require_dependence(ratios())


def test_what_is_no_number_is_no_dependence() -> None:
    with pytest.raises(Failed, match="varies nan as much"):
        require_dependence({"sample": float("nan")})
