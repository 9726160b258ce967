"""Table `fid` with a small stand-in for Inception, on stored random features."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gan3d_bench.benchmarks import runner
from gan3d_bench.benchmarks.fid.measure import FIDMeasure, seeded
from gan3d_bench.benchmarks.fid.spec import NETWORK, SPEC
from gan3d_bench.benchmarks.measure import Settings
from gan3d_bench.benchmarks.results import load_results
from gan3d_bench.config import RunConfig, compose, to_dict
from gan3d_bench.errors import UserError
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.base import Method
from gan3d_bench.metrics.fid import compare_features
from gan3d_bench.metrics.inception import InceptionFeatures
from gan3d_bench.registry import registry
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene

SIZE, REAL, DIM = 16, 12, 6


class Stored(InceptionFeatures):
    """Features (N, DIM) that were drawn once, chosen by what an image shows."""

    num_features = DIM

    def __init__(self) -> None:
        super().__init__(network=nn.Identity())
        self.table = torch.randn(256, DIM, generator=torch.Generator().manual_seed(0))

    def forward(self, images: Tensor) -> Tensor:
        return self.table[((images.mean((1, 2, 3)) + 1) * 1e5).round().long() % 256]


class Blot(Scene):
    """One colour, drawn at random, and the view it is seen from."""

    camera = PinholeCamera(SIZE)

    def __init__(self, colours: Tensor, seen: list[View]) -> None:
        self.colours, self.seen = colours, seen

    @property
    def batch_size(self) -> int:
        return len(self.colours)

    def _render(self, view: View, light, camera) -> Rendering:
        self.seen.append(view)
        rgb = self.colours[:, :, None, None].expand(-1, -1, SIZE, SIZE)
        return Rendering(rgb=rgb, mask=torch.ones_like(rgb[:, :1]))


class Blots(Method):
    def __init__(self) -> None:
        super().__init__(RunConfig(method="blots"))
        self.seen: list[View] = []

    def sample(self, n: int, generator: torch.Generator) -> Blot:
        return Blot(torch.rand(n, 3, generator=generator) * 2 - 1, self.seen)


def build(cache: Path, samples: int = 8, batch_size: int = 3) -> FIDMeasure:
    settings = Settings(samples, batch_size, torch.device("cpu"))
    return FIDMeasure(settings, image_size=SIZE, real=REAL, features=Stored(), root=cache)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    assert build(folder).items() == list(range(8))
    return folder


def batches(items: Sequence[int], size: int) -> list[Sequence[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def test_the_number_is_that_of_all_samples_against_all_real_images(cache: Path) -> None:
    measure, method = build(cache), Blots()
    for batch in batches(range(8), 3):
        assert measure.method(method, "", batch) == {}
    found = measure.sets()
    blots = [Blots().sample(1, seeded(item)).render(View.from_angles(), None, SIZE).rgb
             for item in range(8)]  # fmt: skip
    real = torch.stack([measure.split("train")[index]["image"] for index in range(REAL)])
    network = measure.features
    expected = compare_features(network(torch.cat(blots)), network(real), network)
    assert found["fid"].mean == pytest.approx(expected.fid, rel=1e-6)
    assert found["kid"].mean == pytest.approx(1e3 * expected.kid, rel=1e-6)
    assert found["kid"].standard_error == pytest.approx(1e3 * expected.kid_error, rel=1e-6)
    assert (found["fid"].count, found["kid"].count) == (8, 8)


def test_samples_are_seen_at_the_views_of_the_test_heads(cache: Path) -> None:
    measure, method = build(cache), Blots()
    measure.method(method, "", [2, 5])
    yaw = torch.cat([view.yaw for view in method.seen])
    assert torch.equal(yaw, measure.parameters([2, 5]).view.yaw)


def test_subjects_that_belong_into_a_picture_are_pasted_there(cache: Path) -> None:
    class Half(Blot):
        """The left half of the picture, at a view of its own."""

        def _render(self, view: View, light, camera) -> Rendering:
            whole = super()._render(view, light, camera)
            whole.mask[..., SIZE // 2 :] = 0
            return whole

    measure, seen = build(cache), []
    scene = Half(torch.full((1, 3), 0.5), seen)
    scene.input_view = View.from_angles(33.0)
    scene.background = torch.full((1, 3, SIZE, SIZE), -1.0)
    shown = measure._shown(scene, View.from_angles(5.0))
    assert seen[0].yaw.tolist() == [33.0]
    assert (shown[..., : SIZE // 2] == 0.5).all() and (shown[..., SIZE // 2 :] == -1).all()


def test_every_sample_has_a_seed_of_its_own() -> None:
    drawn = [torch.rand(1, generator=seeded(item)).item() for item in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]


def test_a_row_is_forgotten_before_the_next(cache: Path) -> None:
    measure = build(cache)
    rows = []
    for _ in range(2):
        measure.baseline(SPEC.rows[0], range(8))
        found = measure.sets()
        rows.append((found["fid"].mean, found["fid"].count, found["kid"]))
    assert rows[0] == rows[1]


def test_held_out_heads_are_nearer_than_blots(tmp_path: Path) -> None:
    class Colours(Stored):
        """Mean colours of the image's quarters, in place of a network."""

        num_features = 12

        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.adaptive_avg_pool2d(images.float(), 2).flatten(1)

    settings = Settings(24, 8, torch.device("cpu"))
    measure = FIDMeasure(settings, image_size=SIZE, real=24, features=Colours(), root=tmp_path)
    measure.items()
    measure.baseline(SPEC.rows[0], range(24))
    heads = measure.sets()
    measure.method(Blots(), "", range(24))
    blots = measure.sets()
    assert heads["fid"].mean < blots["fid"].mean / 2
    assert abs(heads["kid"].mean) < blots["kid"].mean / 2


def test_the_protocol_says_against_what_and_with_which_network(cache: Path) -> None:
    protocol = build(cache).protocol()
    assert protocol["real_images"] == REAL
    assert protocol["networks"] == {"fid": NETWORK, "kid": NETWORK}


def test_one_sample_is_refused(cache: Path) -> None:
    with pytest.raises(UserError, match=r"samples=1: .*2 or more"):
        build(cache, samples=1)


def _rank(rank: int, cache: Path, folder: Path, port: int) -> None:
    from children import torchrun_environment

    torch.set_num_threads(1)  # a forked process has lost the parent's thread pool
    os.environ.update(torchrun_environment(rank, port))
    measure, method = build(cache), Blots()
    runner.Processes.detect().gather(lambda: None)  # connects, as the runner does
    for batch in batches(range(8), 3)[rank::2]:
        measure.method(method, "", batch)
    torch.save({k: vars(v) for k, v in measure.sets().items()}, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_numbers_of_one(
    cache: Path, tmp_path: Path, tests_on_path: None, free_port: int
) -> None:
    single = build(cache)
    for batch in batches(range(8), 3):
        single.method(Blots(), "", batch)
    expected = single.sets()
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=_rank, args=(r, cache, tmp_path, free_port)) for r in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
        rank.kill()
    assert [rank.exitcode for rank in ranks] == [0, 0]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for metric, estimate in expected.items():
            assert found[metric] == pytest.approx(vars(estimate), rel=1e-6, nan_ok=True)


def test_a_stored_row_has_numbers_of_the_set_only(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        runner,
        "load",
        lambda path: lambda settings: build(cache, settings.samples, settings.batch_size),
    )
    runner.evaluate(SPEC, [], samples=8, runs_root=tmp_path, batch_size=3)
    (row,) = load_results(tmp_path / "tables" / "fid.held-out-heads.row.json")
    assert row.values == {}
    assert set(row.sets) == {"fid", "kid"}
    assert row.estimate("fid", range(8)) == row.sets["fid"]
    assert row.estimate("fid", range(4)) is None


def test_rows_of_teachers_fitted_to_heads() -> None:
    spec = registry("methods").get("stylegan2")
    teacher = to_dict(compose(spec, "heads-64"))
    assert spec.rows("fid", teacher) == {"StyleGAN2 teacher": "sample"}
    assert spec.rows("shape", teacher) == {}
    assert spec.rows("fid", to_dict(compose(spec, "check"))) == {}  # 16 pixels
    assert spec.rows("fid", teacher | {"data": {"path": "photographs"}}) == {}
    unfitted = {"regression": {"steps": 0}, "adversarial": {"anchor": 0.0}}
    assert spec.rows("fid", teacher | unfitted) == {}
