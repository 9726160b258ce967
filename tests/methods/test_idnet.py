"""The identity network: losses, people, verification, training."""

from __future__ import annotations

import math
from pathlib import Path

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from gan3d_bench.config import compose
from gan3d_bench.datamodules.images import ImageFolderDataset
from gan3d_bench.distributed.batch_norm import SharedBatchNorm, share_statistics
from gan3d_bench.distributed.strategy import PlainDDPStrategy
from gan3d_bench.errors import UserError
from gan3d_bench.files.picture_sources import open_source
from gan3d_bench.methods.idnet.data import PITCH, YAW, FolderPeople, HeadPeople
from gan3d_bench.methods.idnet.losses import MarginLoss
from gan3d_bench.methods.idnet.method import IdentityNetwork, augment
from gan3d_bench.methods.idnet.spec import SPEC
from gan3d_bench.methods.idnet.verification import verification


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path_factory.getbasetemp() / "idnet"))


def build(*overrides: str) -> IdentityNetwork:
    torch.manual_seed(0)
    return IdentityNetwork(compose(SPEC, "check", overrides=overrides))


def train(method: IdentityNetwork, **options: object) -> None:
    L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    ).fit(method)


# -- losses -------------------------------------------------------------------------------------


def head(kind: str, margin: float, scale: float) -> MarginLoss:
    """Three people, whose centres lie at 0, 60 and 180 degrees."""
    made = MarginLoss(kind, 3, 2, margin, scale)
    # longer ones count no more
    made.softmax.W.data = torch.tensor([[2.0, 0.5, -3.0], [0.0, math.sqrt(3) / 2, 0.0]])
    return made


EMBEDDINGS = torch.tensor([[1.0, 0.0], [0.0, 5.0]])  # at 0 and 90 degrees
COSINES = torch.tensor([[1.0, 0.5, -1.0], [0.0, math.sqrt(3) / 2, 0.0]])


def by_hand(own: list[float], people: list[int], scale: float) -> float:
    """Mean of ``-log softmax`` with the cosines of the own people replaced."""
    total = 0.0
    for row, value, person in zip(COSINES.tolist(), own, people, strict=True):
        row[person] = value
        total += math.log(sum(math.exp(scale * x) for x in row)) - scale * value
    return total / len(own)


def test_cosface() -> None:
    loss, right = head("cosface", 0.2, 4.0)(EMBEDDINGS, torch.tensor([1, 1]))
    expected = by_hand([0.5 - 0.2, math.sqrt(3) / 2 - 0.2], [1, 1], 4.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert right.item() == 0.5  # the first is nearer to person 0


def test_arcface() -> None:
    loss, _ = head("arcface", 0.3, 4.0)(EMBEDDINGS, torch.tensor([1, 0]))
    own = [math.cos(math.pi / 3 + 0.3), math.cos(math.pi / 2 + 0.3)]
    assert loss.item() == pytest.approx(by_hand(own, [1, 0], 4.0), rel=1e-5)


@pytest.mark.parametrize(("kind", "margin"), [("cosface", 0.35), ("arcface", 0.5)])
def test_margins_of_the_papers_are_the_default(kind: str, margin: float) -> None:
    people = torch.tensor([1, 1])
    given, default = head(kind, margin, 64.0), head(kind, 0.0, 64.0)
    assert given(EMBEDDINGS, people)[0] == default(EMBEDDINGS, people)[0]
    assert given(EMBEDDINGS, people)[0] > head(kind, margin / 2, 64.0)(EMBEDDINGS, people)[0]


def test_loss_is_float32_under_autocast() -> None:
    people = torch.tensor([1, 1])
    expected, _ = head("arcface", 0.3, 64.0)(EMBEDDINGS, people)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = head("arcface", 0.3, 64.0)(EMBEDDINGS.bfloat16(), people)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


# -- people -------------------------------------------------------------------------------------


def test_a_head_keeps_shape_and_skin_only() -> None:
    people = HeadPeople("train", 3, 4, 16)
    assert people.person.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for name in ("identity", "albedo", "expression", "angles", "ambient", "background"):
        values = getattr(people.parameters, name).view(3, 4, -1)
        within = (values - values[:, :1]).abs().amax((1, 2))
        own = name in ("identity", "albedo")
        assert ((within == 0) if own else (within > 0.01)).all(), name
        assert ((values[0, 0] - values[1, 0]).abs() > 0.01).any()


def test_views_are_uniform_within_bounds() -> None:
    angles = HeadPeople("val", 40, 25, 16).parameters.angles
    for column, bound in ((0, YAW), (1, PITCH)):
        values = angles[:, column]
        assert 0.95 * bound < values.abs().max() <= bound
        quarter = (values.abs() < bound / 4).float().mean().item()
        assert quarter == pytest.approx(0.25, abs=0.06)


def test_people_held_out_are_others_and_more_people_change_none() -> None:
    few, many = (HeadPeople("train", count, 2, 16).parameters for count in (2, 3))
    assert torch.equal(few.identity, many.identity[:4])
    assert torch.equal(few.angles, many.angles[:4])
    others = HeadPeople("val", 3, 2, 16).parameters
    distances = torch.cdist(many.identity[::2], others.identity[::2])
    assert distances.min() > 1


def test_pictures_are_rendered_once() -> None:
    people = HeadPeople("val", 2, 2, 16, seed=5)
    with pytest.raises(UserError, match="not rendered yet"):
        people.read([0])
    people.prepare()
    torch.testing.assert_close(people.read([3, 0]), people.render([3, 0]), rtol=0, atol=1 / 127)
    files = list(people.folder.iterdir())
    times = [file.stat().st_mtime_ns for file in files]
    people.prepare()
    assert [file.stat().st_mtime_ns for file in people.folder.iterdir()] == times


def folder(root: Path, counts: list[int]) -> Path:
    """Grey pictures: person i has the level 40 i + picture."""
    for person, count in enumerate(counts):
        home = root / f"person{person}"
        home.mkdir(parents=True)
        for picture in range(count):
            Image.new("RGB", (20, 16), (40 * person + picture,) * 3).save(home / f"{picture}.png")
    return root


def pictures(root: Path) -> ImageFolderDataset:
    return ImageFolderDataset(open_source(root, recursive=True), 16)


def test_a_folder_of_people(tmp_path: Path) -> None:
    items = pictures(folder(tmp_path / "p", [3, 1, 2]))
    people = FolderPeople(items, 1, 2, 0, "images")
    assert people.person.tolist() == [0, 1, 1]
    levels = (people.read([0, 2]).mean((1, 2, 3)) + 1) * 127.5
    torch.testing.assert_close(levels, torch.tensor([40.0, 81.0]))
    assert FolderPeople(items, 0, 1, 2, "images").person.tolist() == [0, 0]


def test_folders_that_do_not_do_are_one_line(tmp_path: Path) -> None:
    root = folder(tmp_path / "p", [1, 1])
    with pytest.raises(UserError, match="2 people in it, expected at least 3"):
        FolderPeople(pictures(root), 1, 2, 0, "images='p'")
    (root / "person0" / "0.png").rename(root / "0.png")
    with pytest.raises(UserError, match=r"'0.png' is nobody's"):
        FolderPeople(pictures(root), 0, 1, 0, "images='p'")


# -- verification -------------------------------------------------------------------------------


def test_verification_by_hand() -> None:
    angles = torch.tensor([0.0, 20.0, 30.0, 90.0]).deg2rad()
    embeddings = torch.stack([angles.cos(), angles.sin()], 1)
    found = verification(embeddings, torch.tensor([0, 0, 1, 1]))
    cosine = {d: math.cos(math.radians(d)) for d in (10, 20, 30, 60, 70, 90)}
    assert found["same"] == pytest.approx((cosine[20] + cosine[60]) / 2)
    different = (cosine[30] + cosine[90] + cosine[10] + cosine[70]) / 4
    assert found["different"] == pytest.approx(different)
    # 20 beats 30, 70, 90 and 60 beats 70, 90: 5 of 8
    assert found["auc"] == pytest.approx(5 / 8)
    # between 60 and 70 degrees: both pairs of one person right, two of four of different people
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["rank1"] == 0.5  # the outer two; the inner two are nearest to each other


def test_verification_of_turned_pairs() -> None:
    embeddings = torch.eye(4)[[0, 1, 0, 3]]
    yaw = torch.tensor([0.0, 40.0, 50.0, 10.0])
    found = verification(embeddings, torch.tensor([0, 0, 0, 1]), yaw)
    # 40 degrees apart: 0-1 of cosine 0 and 2-3; 50: 0-2 of cosine 1
    assert found["same@45"] == pytest.approx(0.5)
    assert found["different@45"] == 0
    assert "same@45" not in verification(embeddings, torch.tensor([0, 0, 0, 1]), yaw / 10)


# -- training -----------------------------------------------------------------------------------


def test_augmentation() -> None:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    chosen = torch.tensor([False, True, False])
    found = augment(images, chosen, chosen.roll(1))
    assert torch.equal(found[0], images[0])
    assert torch.equal(found[1], images[1].flip(2))
    half = F.avg_pool2d(images[2:], 2)
    torch.testing.assert_close(F.avg_pool2d(found[2:], 2).mean(), half.mean(), rtol=0, atol=0.02)
    assert found[2].var() < images[2].var()


def test_training_tells_apart_whom_it_sees() -> None:
    method = build(
        "steps=60",
        "mirror=0",
        "soften=0",
        "people.train=3",
        "batch=12",
        "dropout=0.2",
        "optimizer=adamw",
    )
    method.prepare_data()
    before = method.measure(method.train_people)
    train(method)
    assert method.finished
    after = method.measure(method.train_people)
    assert after["auc"] > max(0.95, before["auc"])
    assert after["same"] - after["different"] > 0.5


def test_shared_normalisation_alone_is_the_ordinary_one() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(12))
    shared = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(12))
    share_statistics(shared)
    assert isinstance(shared[2], SharedBatchNorm)
    x = 3 + torch.randn(5, 3, 2, 2)
    torch.testing.assert_close(shared(x), plain(x))
    torch.testing.assert_close(shared.state_dict(), plain.state_dict())


def _states(*overrides: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    one, two = build(*overrides), build(*overrides)
    train(one)
    train(two, devices=2, strategy=PlainDDPStrategy(start_method="fork"))
    return one.state_dict(), two.state_dict()


def test_two_processes_learn_what_one_learns() -> None:
    # five pictures: unequal shares; batch statistics are those of all of them
    one, two = _states("steps=2", "batch=5", "dropout=0.5", "lr=0.01")
    torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-4)


def test_preview_shows_people_and_cosines() -> None:
    method = build().eval()
    with torch.no_grad():
        images = method.preview().images
    assert images["input"].shape == (16, 3, 16, 16)
    matrix = images["similarity"]
    assert matrix.shape == (1, 3, 128, 128)
    torch.testing.assert_close(matrix[0, 0].diagonal(), torch.ones(128))


@pytest.mark.parametrize(
    "key",
    [
        "data=faces",
        "data=images",
        "image_size=48",
        "width=0",
        "dropout=1",
        "mirror=1.5",
        "batch=1",
        "people.train=1",
        "people.pictures=0",
        "losses.kind=cosfase",
        "losses.margin=-0.1",
        "losses.scale=0",
        "optimizer=adamm",
    ],
)
def test_values_out_of_range_are_one_line(key: str) -> None:
    expected = "images=''" if key == "data=images" else key.partition("=")[0]
    with pytest.raises(UserError, match=expected):
        compose(SPEC, overrides=[key])
