"""Finding directions and trying them, on a generator whose faces are known."""

from types import SimpleNamespace

import pytest
import torch

from gan3d_bench.faces.yaw import YawMeter
from gan3d_bench.generators import yaw_directions
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.yaw_directions import find_directions, measure_samples, rotate_faces

SIZE = 24
YAW, IDENTITY = 2, 1  # entries of w that make them
DEGREES = 12.0  # per unit
SPREAD = torch.linspace(3, 0.5, SIZE)  # of w


class Faces(Generator):
    """Pictures that are as bright as a hundredth of the yaw; their second channel is who it is."""

    num_ws, image_size = 1, 4

    def __init__(self):
        super().__init__(z_dim=SIZE, w_dim=SIZE)
        self.w_std.copy_(SPREAD)

    def mapping(self, z):
        return z * SPREAD

    def synthesis(self, w):
        channels = torch.stack([w[:, YAW] * DEGREES / 100, w[:, IDENTITY] / 100, 0 * w[:, 0]], 1)
        return channels[:, :, None, None].expand(-1, -1, 4, 4)

    def style_weights(self):
        return [torch.diag(torch.linspace(5, 1, SIZE))]


class Finder:
    """Finds a face up to 70 degrees; its nose is as far right as the yaw in degrees."""

    label = "finder"

    def __call__(self, images):
        yaw = 100 * images[:, 0].mean((1, 2))
        found = yaw.abs() < 70
        points = torch.tensor([[-1.0, 0], [1, 0], [0, 1], [-1, 2], [1, 2]]).repeat(len(yaw), 1, 1)
        points[:, 2, 0] = yaw
        return SimpleNamespace(images=images[found], found=found, points=points[found])


METER = YawMeter(Finder(), lambda points: points[:, 2, 0])


def rng():
    return torch.Generator().manual_seed(1)


@pytest.fixture(scope="module")
def samples():
    return measure_samples(Faces(), METER, 400, 0.5, rng())


@pytest.fixture(scope="module")
def directions(samples):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaw_directions, "GANSPACE_SAMPLES", 20_000)
        return find_directions(Faces(), samples, METER, rng())


def test_samples_are_truncated_and_faces_counted(samples):
    torch.testing.assert_close(samples.w.std(0), SPREAD / 2, atol=0, rtol=0.15)
    known = ~samples.yaw.isnan()
    torch.testing.assert_close(samples.yaw[known], DEGREES * samples.w[known, YAW])
    assert len(samples.points) == len(samples.roll) == known.sum()
    pose = samples.statistics()
    assert pose["samples"] == 400
    assert pose["faces"] == int(known.sum())
    assert pose["yaw_deg"]["std"] == pytest.approx(float(samples.yaw[known].std()))
    assert pose["yaw_deg"]["range"] == pytest.approx(
        [float(samples.yaw[known].min()), float(samples.yaw[known].max())]
    )
    assert pose["roll_deg"] == {"mean": 0, "std": 0}
    # the left eye at pixel (-1, 0) of 4: in sides of the image, from its edge
    assert pose["points_sides"]["mean"][0] == pytest.approx([-0.125, 0.125])


def test_samples_without_a_face_have_no_yaw():
    known = measure_samples(Faces(), METER, 200, 1.0, rng())
    beyond = known.w[:, YAW].abs() * DEGREES > 70
    assert 0 < beyond.sum() < 50
    assert torch.equal(known.yaw.isnan(), beyond)


def test_each_step_changes_yaw_by_a_degree(directions):
    w = directions.regression.w_mean
    for kind, step in directions.steps.items():
        turned = DEGREES * step[YAW]
        tolerance = 0.2 if kind == "regression" else 1e-3  # twenty of the components
        assert float(turned) == pytest.approx(1, abs=tolerance), kind
    assert directions.card["regression"]["r2"] > 0.9
    assert float(w.norm()) < 2
    # sefa's and ganspace's directions are the entries, strongest first
    for kind in ("sefa", "ganspace"):
        assert directions.card[kind]["turning"] == YAW
        degrees = directions.card[kind]["degrees_per_unit"]
        assert abs(degrees[YAW]) == pytest.approx(DEGREES, rel=0.02)
        assert len(degrees) == 10
    along = directions.card["hyperplane"]["degrees_per_unit"]
    assert along == pytest.approx(DEGREES * float(directions.hyperplane[YAW]), rel=1e-3)


def test_rotated_faces_are_measured_and_compared_with_their_front(directions):
    w = torch.zeros(3, SIZE)
    w[:, IDENTITY] = torch.tensor([1.0, 2, 3])

    def embed(images):
        angle = images[:, 0].mean((1, 2)) * 100 / 2  # who it is changes by half a degree a degree
        return torch.stack([angle.deg2rad().cos(), angle.deg2rad().sin()], 1)

    yaws = (-60, 0, 40, 90)
    found = rotate_faces(
        Faces(), lambda yaw: directions.rotated(w, yaw, "sefa"), yaws, METER, embed
    )
    assert found.images.shape == (3, 4, 3, 4, 4)
    front = found.yaw[:, 1:2]
    assert front.abs().max() < 5
    torch.testing.assert_close(
        found.yaw[:, :3] - front, torch.tensor([-60.0, 0, 40]).expand(3, 3), atol=0.5, rtol=0
    )
    assert found.yaw[:, 3].isnan().all() and found.cosine[:, 3].isnan().all()
    expected = torch.tensor([30.0, 0, 20]).deg2rad().cos().expand(3, 3)
    torch.testing.assert_close(found.cosine[:, :3], expected, atol=5e-3, rtol=0)
    summary = found.summary()
    assert summary["found"] == [1, 1, 1, 0]
    assert summary["mean"][:3] == pytest.approx(found.yaw[:, :3].mean(0).tolist(), abs=1e-4)
    assert summary["std"][0] == pytest.approx(float(found.yaw[:, 0].std()), abs=1e-4)
    assert summary["cosine"][1] == 1
    assert summary["mean"][3] is summary["cosine"][3] is summary["std"][3] is None


def test_too_few_faces_are_refused(samples):
    few = yaw_directions.Samples(
        samples.w, samples.yaw.where(torch.arange(400) < 30, torch.nan), *(samples.roll,) * 2
    )
    with pytest.raises(ValueError, match=r"a face in \d+ of 400 samples: expected at least 40"):
        find_directions(Faces(), few, METER, rng())
