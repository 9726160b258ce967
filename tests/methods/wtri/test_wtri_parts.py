"""Parts of the W_tri encoder: losses, refinement, cycle, cameras, labels."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.faces.irse import IRSEEmbedding
from gan3d_bench.generators.eg3d.cameras import CameraOrbit, mirrored
from gan3d_bench.generators.eg3d.dataset_labels import read_labels
from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.teacher import random_pair
from gan3d_bench.generators.eg3d.volume import Jitter
from gan3d_bench.generators.eg3d.wtri import TriplaneCodes
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import FIELD_OF_VIEW
from gan3d_bench.methods.wtri.camera_network import CameraNetwork
from gan3d_bench.methods.wtri.codes import CodeSpace
from gan3d_bench.methods.wtri.config import EncoderConfig
from gan3d_bench.methods.wtri.data import head_cameras
from gan3d_bench.methods.wtri.inverter import Encoder, Inverter
from gan3d_bench.methods.wtri.losses import Reconstruction, code_distance, pixel_loss, w_norm
from gan3d_bench.rendering.cameras import PinholeCamera

SIZE = 32


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- losses -------------------------------------------------------------------------------------


def test_losses_by_hand() -> None:
    codes, start = torch.zeros(2, 3, 2), torch.zeros(3, 2)
    codes[0, 0] = torch.tensor([3.0, 4.0])
    assert w_norm(codes, start).item() == 2.5  # (5 + 0) / 2
    assert w_norm(start.expand(2, -1, -1), start).item() == 0
    assert code_distance(codes, torch.zeros_like(codes)).item() == pytest.approx(7 / 12)
    assert pixel_loss(torch.ones(1, 3, 2, 2), -torch.ones(1, 3, 2, 2)).item() == 4


def test_gradients_of_the_losses() -> None:
    codes, again = (normal(2, 3, 4, seed=i).double().requires_grad_() for i in range(2))
    assert torch.autograd.gradcheck(lambda x: w_norm(x, torch.zeros(3, 4).double()), codes)
    assert torch.autograd.gradcheck(code_distance, (codes, again))
    assert torch.autograd.gradcheck(pixel_loss, (codes[None], again[None].detach()))


def test_only_terms_with_weights_are_computed() -> None:
    made, targets = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    loss = Reconstruction({"l2": 2.0, "id": 0.5}, {"id": lambda x, y: torch.tensor([1.0, 3.0])})
    terms = loss(made, targets)
    assert set(terms) == {"l2", "id"}
    assert terms["l2"] == 2 * pixel_loss(made, targets)
    assert terms["id"].item() == 1.0


# -- refinement ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> EG3DGenerator:
    return random_pair()[0]


def inverter(generator: EG3DGenerator, kind: str) -> Inverter:
    torch.manual_seed(0)
    space = CodeSpace(kind, generator.num_ws)
    config = EncoderConfig(image_size=SIZE, width=4, depths=[1, 1, 1, 1])
    return Inverter(Encoder(space, generator.w_dim, config), generator, space, SIZE, 16)


def start(made: Inverter) -> Tensor:
    return made.generator.w_mean.expand(made.space.count, -1)


@pytest.mark.parametrize(("kind", "count"), [("wtri", 14), ("w+", 6)])
def test_codes_of_a_space(generator: EG3DGenerator, kind: str, count: int) -> None:
    own = inverter(generator, kind)
    codes = own.encoder(normal(2, 3, SIZE, SIZE), normal(2, 3, SIZE, SIZE, seed=1))
    assert codes.shape == (2, count, generator.w_dim) == (2, own.space.count, generator.w_dim)
    assert (own.encoder.upscaling is None) == (kind == "w+")


@torch.no_grad()
def test_the_average_is_the_same_in_both_spaces(generator: EG3DGenerator) -> None:
    cameras = generator.config.orbit.look_at(torch.tensor([0.3, -0.2]), torch.tensor([0.1, 0.0]))
    pictures = []
    for kind in ("wtri", "w+"):
        own = inverter(generator, kind)
        pictures.append(own.picture(start(own).expand(2, -1, -1), cameras))
    assert torch.equal(*pictures)
    expected = generator.synthesis.run(
        generator.w_mean.expand(2, -1), cameras, volume_size=16
    ).image
    assert torch.equal(pictures[0], nn.functional.avg_pool2d(expected, 2))


def test_each_refinement_starts_from_the_last_and_has_its_own_graph(
    generator: EG3DGenerator,
) -> None:
    own = inverter(generator, "wtri")
    own.encoder.eval()
    targets = 0.5 * normal(2, 3, SIZE, SIZE)
    cameras = generator.config.orbit.frontal(2)
    found = list(own.steps(targets, cameras, start(own), 3))
    for (before, seen), (codes, made) in pairwise(found):
        with torch.no_grad():
            expected = before + own.encoder(targets, seen)
            assert torch.equal(codes, expected)
            assert torch.equal(made, own.picture(expected, cameras))
    codes = found[-1][0]
    codes.sum().backward()  # the earlier graphs are not entered
    found[0][0].sum().backward()  # and still there


def test_jitter_moves_the_samples(generator: EG3DGenerator) -> None:
    own = inverter(generator, "w+")
    codes, cameras = start(own).expand(1, -1, -1), generator.config.orbit.frontal()
    rng = torch.Generator().manual_seed(0)
    drawn = Jitter.draw(1, 16**2, generator.config.volume, rng)
    with torch.no_grad():
        still, moved = own.picture(codes, cameras), own.picture(codes, cameras, drawn)
    assert not torch.equal(still, moved)
    assert (still - moved).abs().mean() < 0.1 * still.std()


class Silent(nn.Module):
    """An encoder that finds nothing to change."""

    def forward(self, targets: Tensor, made: Tensor) -> Tensor:
        return torch.zeros(len(targets), 14, 16)


def test_cycle_cannot_be_solved_by_silence_but_by_the_average(generator: EG3DGenerator) -> None:
    own = inverter(generator, "wtri")
    own.encoder = Silent()  # type: ignore[assignment]
    cameras = generator.config.orbit.trajectory(120)[7:8].expand(2, -1)
    codes = start(own) + normal(2, 14, 16)
    again = own.encode_again(codes, cameras, start(own), 2)
    assert torch.equal(again, start(own).expand(2, -1, -1))
    assert code_distance(codes, again) > 0.5
    assert code_distance(start(own).expand(2, -1, -1), again) == 0


def test_the_cycle_reaches_encoder_and_code_through_the_generator(
    generator: EG3DGenerator,
) -> None:
    own = inverter(generator, "wtri")
    codes = (start(own) + normal(2, 14, 16)).requires_grad_()
    cameras = generator.config.orbit.trajectory(120)[:1].expand(2, -1)
    again = own.encode_again(codes, cameras, start(own))
    again.square().sum().backward()
    assert codes.grad is not None
    # every code is seen in the picture, the super-resolution's, too
    assert (codes.grad.abs().amax((0, 2)) > 0).all()
    assert all(p.grad is not None for p in own.encoder.backbone.styles.parameters())


def test_a_trunk_is_taken_from_a_recognition_network(generator: EG3DGenerator) -> None:
    own = inverter(generator, "wtri").encoder
    network = IRSEEmbedding(4, (1, 1, 1, 1))
    own.take(network.state_dict(), torch.Generator().manual_seed(0))
    for encoder in (own.backbone, own.upscaling):
        assert encoder is not None
        first = encoder.input_layer[0].weight
        assert torch.equal(first[:, :3], network.input_layer[0].weight)
        assert torch.equal(encoder.body[3].res_layer[3].weight, network.body[3].res_layer[3].weight)
        assert 0.6 < first[:, 3:].std() < 1.4


# -- cameras ------------------------------------------------------------------------------------

FOCAL = PinholeCamera(SIZE, FIELD_OF_VIEW).focal / SIZE
ORBITS = (CameraOrbit(1.0, (0.0, 0.0, 0.0), FOCAL), CameraOrbit(2.7, (0.0, 0.0, 0.2), FOCAL))
angle = st.floats(-45, 45)
shift = st.floats(-0.01, 0.01)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ORBITS), st.tuples(angle, angle, angle), st.tuples(shift, shift, shift))
def test_cameras_of_heads_see_what_the_heads_camera_saw(
    orbit: CameraOrbit, angles: tuple, translation: tuple
) -> None:
    """Points of a head, carried into EG3D's world, lie at the same pixels."""
    view = View.from_angles(*angles, translation)
    centre = torch.tensor([0.0, 0.0, 1.0])
    points = centre + 0.05 * normal(1, 6, 3)
    pixels = PinholeCamera(SIZE, FIELD_OF_VIEW).project(view.transform(points))
    label = head_cameras(orbit, torch.tensor([angles]), torch.tensor([translation]))
    scale, turn = orbit.centre_depth, torch.tensor([1.0, -1.0, -1.0])
    world = (points - centre) * scale * turn + torch.tensor(orbit.pivot)
    pose = label[:, :16].view(1, 4, 4)
    seen = (world - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    torch.testing.assert_close(orbit.camera(SIZE).project(seen), pixels, rtol=0, atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.tuples(angle, angle, angle), st.tuples(shift, shift, shift))
def test_mirrored_cameras_are_those_of_mirrored_heads(angles: tuple, translation: tuple) -> None:
    yaw, pitch, roll = angles
    x, y, z = translation
    label, other = (
        head_cameras(ORBITS[1], torch.tensor([a]), torch.tensor([t]))
        for a, t in ((angles, translation), ((-yaw, pitch, -roll), (-x, y, z)))
    )
    torch.testing.assert_close(mirrored(label), other, rtol=0, atol=1e-5)


@torch.no_grad()
def test_cameras_that_the_network_tells() -> None:
    orbit = ORBITS[1]
    angles = torch.stack((20 * normal(16), 8 * normal(16, seed=1), 3 * normal(16, seed=2)), 1)
    cameras = head_cameras(orbit, angles, 0.0025 * normal(16, 3, seed=3))
    network = CameraNetwork(SIZE, orbit, 4, (1, 1, 1, 1)).eval()
    network.learn_range(cameras)
    truth = (network._numbers(cameras) - network.mean) / network.deviation
    pictures = normal(16, 3, SIZE, SIZE)
    network.forward = lambda _: truth  # type: ignore[method-assign]
    torch.testing.assert_close(network.cameras(pictures), cameras, rtol=0, atol=1e-4)
    assert network.loss(pictures, cameras) < 1e-6
    network.forward = lambda _: 100 * torch.ones(16, 6)  # type: ignore[method-assign]
    far = orbit.view(network.cameras(pictures))
    assert far.yaw.max() < network.mean[0] + 4.01 * network.deviation[0]


# -- labels -------------------------------------------------------------------------------------


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_labels_are_read(tmp_path: Path) -> None:
    labels = ORBITS[1].trajectory(3)
    rows = [[f"00/{i}.png", label.tolist()] for i, label in enumerate(labels)]
    found = read_labels(write(tmp_path / "dataset.json", {"labels": rows}))
    assert list(found) == ["00/0.png", "00/1.png", "00/2.png"]
    torch.testing.assert_close(torch.stack(list(found.values())), labels)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not readable"),
        ({"label": []}, "not readable"),
        ({"labels": None}, "not readable"),
        ({"labels": []}, "expected"),
        ({"labels": [["a.png", [1.0] * 24]]}, r"labels of shape \(1, 24\)"),
        ({"labels": [["a.png", ["x"] * 25]]}, "not readable"),
        ({"labels": [["a.png", [1.0] * 25]]}, "number 0"),
        ("[" * 100_000, "not readable"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        read_labels(write(tmp_path / "dataset.json", content))
    assert "dataset.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_labels(tmp_path / "dataset.json")


def test_sizes_of_ffhqs_models() -> None:
    assert (CodeSpace("wtri", 14).count, CodeSpace("w+", 14).count) == (22, 14)
    assert TriplaneCodes.unflatten(torch.zeros(1, 22, 512)).shared.shape == (1, 12, 512)
