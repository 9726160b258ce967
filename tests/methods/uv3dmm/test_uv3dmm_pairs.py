"""Pairs of stylecodes and fits: what is kept, left out and refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gan3d_bench.config import compose
from gan3d_bench.errors import UserError
from gan3d_bench.faces.face_model import FaceModel
from gan3d_bench.faces.head_landmarks import COUNT, HeadLandmarks, spread_vertices
from gan3d_bench.faces.morphable_fit import FaceFit, FitConfig, MorphableFit
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.geometry.morphable_model import MorphableModel
from gan3d_bench.heads.sampling import sample_heads
from gan3d_bench.methods.uv3dmm.config import UV3DMMConfig
from gan3d_bench.methods.uv3dmm.pairs import Pairs, head_part
from gan3d_bench.methods.uv3dmm.training_views import KeptPictures, Pictures
from gan3d_bench.registry import registry

SHAPE, COLOUR = 5, 4


class Fitter:
    """Fits as they come out, by number."""

    fingerprint, source = "stub", None

    def __init__(self, lost: set[int], far: set[int]) -> None:
        self.lost, self.far, self.seen = lost, far, 0

    def __call__(self, images: Tensor) -> FaceFit:
        numbers = range(self.seen, self.seen + len(images))
        self.seen += len(images)
        row = torch.tensor(list(numbers), dtype=torch.float32)
        found = torch.tensor([i not in self.lost for i in numbers])
        error = torch.tensor([99.0 if i in self.far else 1.0 for i in numbers])
        one = torch.ones(len(images), 1)
        return FaceFit(
            found,
            0.001 * row[:, None].expand(-1, 6),
            row[:, None] * one.expand(-1, SHAPE),
            one.expand(-1, COLOUR),
            one[:, :, None].expand(-1, 3, 9),
            error,
            error,
        )


def pairs_of(
    monkeypatch: pytest.MonkeyPatch, folder: Path, lost: set[int], far: set[int]
) -> tuple[Pairs, Fitter]:
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(folder))
    overrides = ["teacher=random-16", "image_size=16", "pairs.landmarks=landmarks-106",
                 "pairs.count=70", "pairs.batch=8"]  # fmt: skip
    config = compose(registry("methods").get("uv3dmm"), "check", overrides=overrides)
    assert isinstance(config, UV3DMMConfig)
    generator = load_teacher("random-16").generator
    pairs = Pairs(config, generator, generator.mapping, "t", SimpleNamespace())  # type: ignore[arg-type]
    pairs.__dict__["fit"] = fitter = Fitter(lost, far)
    return pairs, fitter


def test_pictures_without_a_usable_face_are_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pairs, fitter = pairs_of(monkeypatch, tmp_path, lost={3, 65}, far={10})
    assert pairs.shards == 2
    first = pairs.make_shard(0)
    assert first["usable"].item() == pytest.approx(62 / 64)
    pairs.make_shard(1)
    assert fitter.seen == 70
    assert pairs.make_shard(0) == first  # nothing is left to do, and the same is said
    assert fitter.seen == 70
    assert pairs.summary.counts()["missing"] == 2
    assert str(pairs.summary).startswith("67 of 70 fits usable; no face in 2")
    (w, packed), (held_w, held) = pairs.train, pairs.held_out
    assert len(w) + len(held_w) == 67 and len(held) == round(0.05 * 67)
    numbers = torch.cat((packed, held))[:, 0].tolist()
    assert numbers == [i for i in range(70) if i not in (3, 65, 10)]
    # each code is with its own fit
    generator = pairs.generator
    from gan3d_bench.generators.latents import numbered_z

    expected = generator.mapping(numbered_z("train", [int(numbers[20])], generator.z_dim))
    assert torch.allclose(w[20], expected[0], atol=1e-5)


def test_a_second_run_takes_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, _ = pairs_of(monkeypatch, tmp_path, set(), set())
    first.make_shard(0)
    again, fitter = pairs_of(monkeypatch, tmp_path, set(), set())
    fitter.seen = 64  # a stub counts from where the first stopped
    again.make_shard(0)
    assert fitter.seen == 70
    assert again.summary.counts()["usable"] == 70


def test_too_few_usable_fits_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pairs, _ = pairs_of(monkeypatch, tmp_path, lost=set(range(60)), far=set())
    pairs.make_shard(0)
    pairs.make_shard(1)
    with pytest.raises(UserError, match=r"pairs.count=70: 10 of 70 fits usable; .* at least 16"):
        _ = pairs.train


def test_spread_vertices_lie_on_the_face_and_apart() -> None:
    space = FaceModel.of(MorphableModel.load_heads())
    chosen = spread_vertices(space, COUNT)
    assert len(chosen.unique()) == COUNT
    assert set(chosen.tolist()) <= set(space.faces[space.in_region].unique().tolist())
    points = space.mean[chosen]
    apart = torch.cdist(points, points) + torch.eye(COUNT)
    # no two are nearer than the last one was to the others
    assert apart.min() >= apart[-1, :-1].min() - 1e-6


def test_exact_landmarks_tell_the_shape_of_the_teachers_heads() -> None:
    """Better by far than the mean shape, which would be the trivial answer."""
    model, teacher = MorphableModel.load_heads(), load_teacher("heads-teacher-64", 64).generator
    source = HeadLandmarks(model)
    settings = FitConfig(image_size=32, steps=3, looseness=1.0)
    fit = MorphableFit(model, settings, source=source)
    z = torch.randn(6, teacher.z_dim, generator=torch.Generator().manual_seed(0))
    heads = sample_heads(head_part(z))
    with torch.no_grad():
        images = teacher.synthesis(teacher.mapping(z)).clamp(-1, 1)
        found = fit.fit(images, source.plane(heads))
    truth = model.vertices(heads.identity, heads.expression)
    own = fit.whole.vertices(found.shape) * found.scale[:, None, None]

    def error(vertices: Tensor) -> float:
        return (vertices - truth).norm(dim=2).mean().item()

    assert error(own) < 0.4 * error(fit.whole.mean[None])
    assert error(own) < 0.3 * error(own.roll(1, 0))
    assert (found.view.yaw - heads.angles[:, 0]).abs().max() < 1.0
    with pytest.raises(UserError, match="known of synthetic heads, not found in pictures"):
        source(images)


def test_pictures_are_kept_by_number_and_made_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pairs, _ = pairs_of(monkeypatch, tmp_path, lost={3}, far=set())
    for step in range(pairs.shards):
        pairs.make_shard(step)
    made: list[int] = []

    def pictures(w: Tensor, right: Tensor) -> Pictures:
        made.append(len(w))
        side = torch.where(right, 1.0, -1.0)[:, None]
        images = pairs.generator.synthesis(w).clamp(-1, 1)
        return Pictures(w, w + side, (images, -images))

    network = torch.nn.Linear(2, 2)
    kept = KeptPictures(pairs, pictures, "settings", [network])
    kept.make_shard()
    assert sum(made) == 64
    numbers = pairs.train_numbers[[2, 3, 50]]  # the fit of pair 3 cannot be used
    assert numbers.tolist() == [2, 4, 51]
    seen = kept.read(numbers, torch.device("cpu"))  # makes what is missing
    assert sum(made) == 70
    w = pairs.train[0][[2, 3, 50]]
    assert torch.equal(seen.w, w)
    assert torch.equal(seen.symmetric, w + torch.tensor([-1.0, -1.0, 1.0])[:, None])
    first, second = seen.targets
    expected = pairs.generator.synthesis(w).clamp(-1, 1)
    assert (first - expected).abs().max() < 0.005
    assert torch.allclose(second, -first, atol=0.01)
    KeptPictures(pairs, pictures, "settings", [network]).read(numbers, torch.device("cpu"))
    assert sum(made) == 70
    with torch.no_grad():
        network.weight.add_(1)
    other = KeptPictures(pairs, pictures, "settings", [network])
    assert other.store.fingerprint != kept.store.fingerprint
