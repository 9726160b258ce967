"""FID and KID on small stand-in networks, against torchmetrics and torch-fidelity.

The real Inception is checked in tests/parity/test_assets_networks.py.
"""

from __future__ import annotations

import dataclasses
import multiprocessing

import numpy as np
import pytest
import torch
from torch import nn
from torch_fidelity.interpolate_compat_tensorflow import (
    interpolate_bilinear_2d_like_tensorflow1x,
)
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from gan3d_bench.errors import UserError
from gan3d_bench.metrics.feature_cache import FeatureStatistics, cached_features, cached_statistics
from gan3d_bench.metrics.fid import (
    ImageSetDistance,
    InceptionFID,
    collect_features,
    compare_features,
    fid_of,
    frechet_distance,
)
from gan3d_bench.metrics.inception import InceptionFeatures, StoredFeatures
from gan3d_bench.metrics.kid import InceptionKID
from gan3d_bench.rendering.images import to_uint8

DIM = 12


class Tiny(nn.Module):
    """Images -> DIM features; takes the place of Inception."""

    num_features = DIM

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(48, DIM, generator=generator), requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(images.float(), 4).flatten(1)
        return (pooled @ self.weight).relu()


class Shared(InceptionFeatures):
    """The real wrapper (8-bit, resize) around the tiny network."""

    num_features = DIM

    def __init__(self) -> None:
        super().__init__(network=Tiny())


def images(n: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(n, 3, 8, 8, generator=generator) * 2 - 1 + shift).clamp(-1, 1)


REAL, FAKE = images(60, 1), images(40, 2, 0.2)


def test_agrees_with_torchmetrics():
    ours, theirs = InceptionFID(Tiny()), FrechetInceptionDistance(Tiny())
    for metric in (ours, theirs):
        for batch in REAL.split(16):
            metric.update(batch, real=True)
        for batch in FAKE.split(7):
            metric.update(batch, real=False)
    torch.testing.assert_close(ours.compute(), theirs.compute(), rtol=1e-5, atol=1e-6)


def test_formula_agrees_with_torch_fidelity_and_the_low_rank_identity():
    """300 features of 50 images: singular covariances, where a naive root goes wrong."""
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(30, 300, generator=generator, dtype=torch.float64)
    a, b = (
        torch.randn(50, 30, generator=generator, dtype=torch.float64) @ base + offset
        for offset in (0.0, 0.3)
    )
    ours = frechet_distance(a.mean(0), a.T.cov(), b.mean(0), b.T.cov())
    sides = [{"mu": x.mean(0).numpy(), "sigma": x.T.cov().numpy()} for x in (a, b)]
    theirs = fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]
    assert ours.item() == pytest.approx(theirs, rel=1e-4)
    # tr((Sa Sb)^(1/2)) is the nuclear norm of A B^T / sqrt((na - 1)(nb - 1)), A and B centred.
    centred = [x - x.mean(0) for x in (a, b)]
    root = torch.linalg.matrix_norm(centred[0] @ centred[1].T, "nuc") / 49
    low_rank = (
        (a.mean(0) - b.mean(0)).square().sum() + sum(x.T.cov().trace() for x in (a, b)) - 2 * root
    )
    assert ours.item() == pytest.approx(low_rank.item(), rel=1e-6)


def test_gaussians_in_closed_form():
    zero, eye = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    distance = frechet_distance(zero, 4 * eye, zero + 1, 9 * eye)
    assert distance.item() == pytest.approx(3 + 3 * (2 - 3) ** 2)
    assert frechet_distance(zero, eye, zero, eye).item() == pytest.approx(0, abs=1e-12)


def test_the_distance_of_a_set_from_itself_is_never_negative():
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        features = torch.randn(40, 12, generator=rng).double()
        mean, covariance = features.mean(0), features.T.cov()
        distance = frechet_distance(mean, covariance, mean, covariance).item()
        assert 0 <= distance < 1e-10


def test_batches_and_stored_statistics_give_the_same():
    whole, parts, stored = (InceptionFID(Tiny()) for _ in range(3))
    whole.update(REAL, real=True)
    for batch in REAL.split(9):
        parts.update(batch, real=True)
    stored.add_statistics(whole.statistics(real=True), real=True)
    for metric in (whole, parts, stored):
        metric.update(FAKE, real=False)
    torch.testing.assert_close(parts.compute(), whole.compute())
    torch.testing.assert_close(stored.compute(), whole.compute(), rtol=0, atol=0)
    assert whole.real_features_sum.dtype == torch.float64
    before = stored.compute()
    stored.add_statistics(whole.statistics(real=False), real=True)
    assert stored.compute() != before  # no stale result


def test_too_few_images():
    metric = InceptionFID(Tiny())
    metric.update(REAL, real=True)
    metric.update(FAKE[:1], real=False)
    with pytest.raises(RuntimeError, match="60 real, 1 fake"):
        metric.compute()


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)  # a forked process has lost the parent's thread pool
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    metric = InceptionFID(Tiny())
    metric.update(REAL[rank::2], real=True)
    metric.update(FAKE[rank::2], real=False)
    # rank 1 has no real image and another number of updates
    both = ImageSetDistance(Shared())
    for batch in REAL.split(16) if rank == 0 else ():
        both.update(batch, real=True)
    both.update(FAKE[rank::2], real=False)
    torch.save((metric.compute(), dataclasses.asdict(both.compute())), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_single_process_result(tmp_path):
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=_rank, args=(rank, str(tmp_path))) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
        rank.kill()
    assert [rank.exitcode for rank in ranks] == [0, 0]
    single = InceptionFID(Tiny())
    single.update(REAL, real=True)
    single.update(FAKE, real=False)
    expected = ImageSetDistance(Shared())
    expected.update(REAL, real=True)
    expected.update(FAKE, real=False)
    for rank in range(2):
        found, both = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, single.compute(), rtol=1e-6, atol=1e-6)
        assert both.pop("variant") == Shared().variant
        numbers = dataclasses.asdict(expected.compute())
        assert both == pytest.approx({key: numbers[key] for key in both}, rel=1e-9)


def test_fid_of_stored_features_equals_torch_fidelity_and_torchmetrics():
    generator = torch.Generator().manual_seed(4)
    mix = torch.randn(2, 64, 64, generator=generator) / 8
    real, fake = (torch.randn(2, 400, 64, generator=generator) @ mix + 0.1).relu()
    ours, theirs = InceptionFID(StoredFeatures(64)), FrechetInceptionDistance(StoredFeatures(64))
    for metric in (ours, theirs):
        metric.update(real, real=True)
        metric.update(fake, real=False)
    sides = [
        {"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)} for x in (real.double(), fake.double())
    ]
    sides = [{key: np.asarray(value) for key, value in side.items()} for side in sides]
    fidelity = fid_statistics_to_metric(*sides, verbose=False)["frechet_inception_distance"]
    assert ours.compute().item() == pytest.approx(fidelity, rel=1e-6)
    assert ours.compute().item() == pytest.approx(theirs.compute().item(), rel=1e-6)


def stored_kid(real: torch.Tensor, fake: torch.Tensor, **options: int) -> dict[str, torch.Tensor]:
    metric = InceptionKID(StoredFeatures(real.shape[1]), **options)
    for side, rows in ((True, real), (False, fake)):
        for part in rows.split(17):
            metric.update(part, real=side)
    return metric.compute()


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception:UserWarning")
def test_kid_equals_torchmetrics():
    generator = torch.Generator().manual_seed(5)
    real, fake = torch.rand(60, 32, generator=generator), torch.rand(50, 32, generator=generator)
    fake = fake + 0.2
    # in the order in which ours draws, so that both see the same subsets
    real, fake = (x[x.double().sum(1).argsort()] for x in (real, fake))
    theirs = KernelInceptionDistance(StoredFeatures(32), subsets=20, subset_size=25)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mean, deviation = theirs.compute()
    ours = stored_kid(real, fake, subsets=20)
    assert ours["mean"].item() == pytest.approx(mean.item(), rel=1e-6)
    assert ours["subset_deviation"].item() == pytest.approx(deviation.item(), rel=1e-5)
    assert ours["standard_error"].item() == pytest.approx(deviation.item(), rel=1e-5)  # m = n / 2
    assert ours["count"] == 50
    shuffled = stored_kid(real.flip(0), fake.flip(0), subsets=20)
    assert shuffled == ours


def test_kid_is_zero_in_the_mean_where_fid_is_not():
    """Two samples of one distribution: KID is unbiased, FID is not (Binkowski et al. 2018)."""
    values = []
    for seed in range(20):
        a, b = torch.rand(2, 40, 32, generator=torch.Generator().manual_seed(seed))
        values.append(stored_kid(a, b, subsets=10)["mean"])
    values = torch.stack(values)
    assert values.mean().abs() < 3 * values.std() / len(values) ** 0.5
    assert (values < 0).any()


def test_kid_beyond_its_limit_is_unknown_and_keeps_nothing():
    metric = InceptionKID(StoredFeatures(DIM), limit=30)
    metric.update(torch.rand(20, DIM), real=False)
    for _ in range(2):
        metric.update(torch.rand(20, DIM), real=True)
    assert len(metric.rows("real")) == 0
    assert metric.compute()["mean"].isnan()
    metric.reset()
    metric.update(torch.rand(20, DIM), real=False)
    assert len(metric.rows("fake")) == 20
    assert metric.compute()["mean"].isnan()  # nothing on the other side


def test_fid_of_streams():
    features = Shared()
    n = 40
    result = fid_of(FAKE.split(9), iter(REAL.split(16)), n, features=features)
    ours = InceptionFID(features)
    ours.update(REAL[:n], real=True)
    ours.update(FAKE[:n], real=False)
    assert result.fid == pytest.approx(ours.compute().item(), rel=1e-6)
    kid = InceptionKID(features)
    kid.update(REAL[:n], real=True)
    kid.update(FAKE[:n], real=False)
    assert result.kid == pytest.approx(kid.compute()["mean"].item(), rel=1e-6)
    assert result.sets()["kid"] == {
        "mean": result.kid,
        "standard_error": result.kid_error,
        "count": n,
    }
    assert result.sets()["fid"]["mean"] == result.fid
    assert (result.num_generated, result.num_real) == (n, n)
    assert "tf1 bilinear" in result.variant and "2015-12-05" in result.variant
    assert fid_of(FAKE.split(9), REAL.split(16), n, features=features) == result


def test_large_sets_have_fid_only():
    result = fid_of(FAKE.split(9), REAL.split(16), 40, features=Shared(), kid_limit=30)
    assert np.isnan([result.kid, result.kid_std, result.kid_error]).all()
    assert result.fid > 0


def test_a_stored_reference_gives_the_same():
    features = Shared()
    expected = fid_of([FAKE], [REAL], 40, features=features)
    real = collect_features([REAL], 40, features)
    assert compare_features(collect_features([FAKE], 40, features), real, features) == expected
    stored = ImageSetDistance(features)
    stored.add_statistics(FeatureStatistics.over(real.split(7)), real=True)
    stored.update(FAKE, real=False)
    result = stored.compute()
    assert result.fid == pytest.approx(expected.fid, rel=1e-9)
    assert np.isnan(result.kid) and result.num_real == 40


def test_fid_of_leaves_the_random_state_and_reports_progress():
    state, seen = torch.get_rng_state(), []
    fid_of([FAKE], [REAL], 20, features=Shared(), progress=lambda *done: seen.append(done))
    assert torch.equal(torch.get_rng_state(), state)
    assert seen == [(20, 20), (20, 20)]


def test_fid_of_short_streams_names_both_counts():
    with pytest.raises(UserError, match="50 images asked, but there are only 40"):
        fid_of([FAKE], [REAL], 50, features=Shared())
    with pytest.raises(UserError, match="2 images a side"):
        fid_of([FAKE], [REAL], 1, features=Shared())


def test_images_are_quantised_to_nearest():
    values = torch.tensor([-1.0, -0.999, 0.0, 0.999, 1.0, 1.5, -2.0])
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255, 255, 0]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(every / 127.5 - 1), every)
    with pytest.raises(ValueError, match="uint8"):
        to_uint8(torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="finite"):
        to_uint8(torch.tensor([float("nan")]))


def test_network_sees_299_pixels_in_its_range():
    class Probe(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = x
            return x.mean((2, 3))

    probe = Probe()
    wrapper = InceptionFeatures(network=probe)
    for size in (64, 299, 320):
        wrapper(torch.ones(1, 3, size, size))
        assert probe.seen.shape == (1, 3, 299, 299)
        assert probe.seen.max() == (255 - 128) / 128
    picture = torch.randint(256, (2, 3, 40, 333), generator=torch.Generator().manual_seed(5))
    wrapper(picture.to(torch.uint8))
    theirs = interpolate_bilinear_2d_like_tensorflow1x(
        picture.float(), (299, 299), align_corners=False
    )
    torch.testing.assert_close(probe.seen, (theirs - 128) / 128, rtol=0, atol=1e-5)
    # TensorFlow 1: pixel i of the result is pixel i*in/out of the source, no half-pixel shift.
    ramp = (torch.arange(64) / 255 * 4 * 2 - 1).expand(1, 3, 64, 64)
    wrapper(ramp)
    column = torch.arange(299) * 64 / 299
    torch.testing.assert_close(
        probe.seen[0, 0, 0] * 128 + 128, 4 * column.clamp(max=63), rtol=0, atol=1e-3
    )
    with pytest.raises(ValueError, match="expected"):
        wrapper(torch.ones(3, 64, 64))
    with pytest.raises(UserError, match="did you mean 'antialias'"):
        InceptionFeatures("antialiased", network=probe)
    assert not wrapper.train().training


def test_statistics_are_cached_by_data_and_variant(tmp_path):
    calls = []

    def stream():
        calls.append(1)
        return REAL.split(16)

    features = Shared()
    first = cached_statistics("heads/val/64/n=60", stream, features, tmp_path)
    again = cached_statistics("heads/val/64/n=60", stream, features, tmp_path)
    assert len(calls) == 1
    assert again.n == first.n == 60
    assert torch.equal(again.mean, first.mean) and torch.equal(again.covariance, first.covariance)
    torch.testing.assert_close(first.covariance, features(REAL).double().T.cov())
    cached_statistics("heads/val/64/n=61", stream, features, tmp_path)
    assert len(calls) == 2
    for path in tmp_path.iterdir():  # killed while writing, or damaged
        path.write_bytes(path.read_bytes()[:50])
    assert cached_statistics("heads/val/64/n=60", stream, features, tmp_path).n == 60
    assert len(calls) == 3


def test_features_are_cached_too(tmp_path):
    features, calls = Shared(), []

    def stream():
        calls.append(1)
        return REAL.split(16)

    first = cached_features("heads", stream, features, tmp_path)
    assert torch.equal(cached_features("heads", stream, features, tmp_path), first)
    assert torch.equal(first, features(REAL)) and len(calls) == 1
    (path,) = tmp_path.iterdir()
    np.savez(path, features=np.zeros((3, DIM + 1)))
    assert torch.equal(cached_features("heads", stream, features, tmp_path), first)
    cached_statistics("heads", stream, features, tmp_path)
    assert len(calls) == 3  # kept apart


def test_statistics_files_of_others_are_refused(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, n=3, total=np.zeros(4), outer=np.zeros((3, 3)))
    with pytest.raises(UserError, match="shapes"):
        FeatureStatistics.load(path)
    np.savez(path, n=3, total=np.array([object()], dtype=object), outer=np.zeros((1, 1)))
    with pytest.raises(UserError, match="no feature statistics"):
        FeatureStatistics.load(path)
    with pytest.raises(UserError, match="no feature statistics"):
        FeatureStatistics.load(tmp_path / "absent.npz")


def test_missing_asset_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="gan3d-bench assets fetch inception-fid"):
        InceptionFID()
