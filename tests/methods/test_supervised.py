"""The supervised depth network: losses, scene, training and its door."""

import lightning as L
import pytest
import torch

from gan3d_bench.config import compose, to_dict
from gan3d_bench.distributed.strategy import PlainDDPStrategy
from gan3d_bench.errors import UserError
from gan3d_bench.geometry.views import View
from gan3d_bench.methods.supervised.losses import depth_losses
from gan3d_bench.methods.supervised.method import Supervised
from gan3d_bench.methods.supervised.networks import DepthNetwork
from gan3d_bench.methods.supervised.spec import SPEC
from gan3d_bench.metrics.depth import scale_invariant_depth_error
from gan3d_bench.scenes.input_depth import InputDepthScene
from gan3d_bench.spec import RECONSTRUCT


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path_factory.getbasetemp() / "supervised"))


def build(*overrides: str) -> Supervised:
    torch.manual_seed(0)
    return Supervised(compose(SPEC, "check", overrides=["image_size=16", *overrides]))


def train(method: Supervised, **options) -> None:
    L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    ).fit(method)


def maps(batch: int = 2, size: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    depth, target = 1 + 0.05 * torch.rand(2, batch, 1, size, size, generator=generator).double()
    mask = torch.zeros(batch, 1, size, size, dtype=torch.float64)
    mask[:, :, 3:13, 4:12] = 1
    return depth, target, mask


def test_scale_invariant_loss_is_side():
    depth, target, mask = maps()
    loss = depth_losses(depth, target, mask, unit=0.1)["scale_invariant"]
    side = scale_invariant_depth_error(depth, target, mask).double()
    torch.testing.assert_close(0.1 * loss, side.mean(), rtol=1e-4, atol=0)


def test_losses_over_the_subject_ignore_scale_and_background():
    depth, target, mask = maps()
    expected = depth_losses(depth, target, mask, unit=0.1)
    other = torch.where(mask > 0, 1.3 * depth, torch.full_like(depth, 0.5))
    changed = depth_losses(other, target, mask, unit=0.1)
    for name in ("scale_invariant", "gradient"):
        torch.testing.assert_close(changed[name], expected[name])
    assert changed["absolute"] > 2 * expected["absolute"]


def test_gradients_of_the_losses():
    depth, target, mask = maps(1, 8)

    def total(x: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(depth_losses(x, target, mask[..., :8, :8], 0.1).values())).sum()

    assert torch.autograd.gradcheck(total, depth.requires_grad_())


@pytest.mark.parametrize("size", [16, 64])
def test_network_gives_depth_in_range_at_the_image_size(size):
    depth = DepthNetwork(size, 8, 0.9, 1.1)(10 * torch.randn(2, 3, size, size))
    assert depth.shape == (2, 1, size, size)
    assert 0.9 <= depth.min() < depth.max() <= 1.1


def scene(size: int = 24, bowl: float = 0.08) -> InputDepthScene:
    line = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(line, line, indexing="ij")
    depth = (0.97 + bowl * (x**2 + y**2)).clamp(max=1.1).expand(2, 1, -1, -1)
    images = torch.stack((x, y, x * y)).expand(2, -1, -1, -1)
    return InputDepthScene(images, depth, (0.9, 1.1), fov=10.0)


def test_input_view_shows_the_image_and_the_predicted_depth():
    subject = scene(bowl=0.03)
    rendering = subject.render(subject.input_view)
    # the surface between pixels is flat: curvature alone makes the difference
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(rendering.depth[inner], subject.depth[inner], rtol=0, atol=2e-4)
    torch.testing.assert_close(rendering.rgb[inner], subject.albedo[inner], rtol=0, atol=0.02)
    assert rendering.mask.min() == 1
    torch.testing.assert_close(rendering.normal.norm(dim=1), torch.ones(2, 24, 24))
    assert rendering.albedo is None


def test_yaw_moves_the_near_centre_to_the_right():
    subject = scene(25)
    subject.albedo = torch.full_like(subject.albedo, -1.0)
    subject.albedo[:, :, 11:14, 11:14] = 1
    seen = subject.render(View.from_angles([30.0, -30.0])).rgb.mean(1) + 1
    columns = (seen * torch.arange(25)).sum((1, 2)) / seen.sum((1, 2))
    assert columns[0] > 13 > 11 > columns[1]


def test_other_image_sizes_show_the_same():
    subject = scene(bowl=0.03)
    larger = subject.render(subject.input_view, image_size=47).depth[..., ::2, ::2]
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(larger[inner], subject.depth[inner], rtol=0, atol=2e-4)


def test_relighting_is_refused_and_the_mesh_leaves_out_the_background():
    subject = scene()
    with pytest.raises(UserError, match="cannot give 'relight'"):
        subject.render(subject.input_view, light=object())
    mesh = subject.mesh(0)
    assert 0 < len(mesh.faces) < 2 * 23 * 23


@pytest.mark.parametrize(
    "key",
    [
        "image_size=48",
        "image_size=4096",
        "channels=12",
        "steps=0",
        "lr_end=-1",
        "losses.gradient=-1",
        "losses.absolute=nan",
        "data.seed=-1",
    ],
)
def test_values_out_of_range_are_one_line(key):
    with pytest.raises(UserError, match=key.partition("=")[0]):
        compose(SPEC, overrides=[key])


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"expected \(B, 3, 16, 16\)"):
        build().reconstruct(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(("size", "row"), [(64, "Supervised"), (32, None)])
def test_runs_at_the_tables_image_size_have_a_row(size, row):
    config = to_dict(compose(SPEC, "check", overrides=[f"image_size={size}"]))
    assert SPEC.rows("shape", config) == ({row: RECONSTRUCT} if row else {})


def test_training_lowers_the_error_on_what_it_sees():
    method = build("steps=60", "data.train=4")
    batch = method._load  # the heads are rendered by the first training
    method.prepare_data()
    seen = batch("train", range(4))

    def error() -> float:
        with torch.no_grad():
            depth = method.network(seen["image"])
        mask = (seen["depth"] < 1.1).float()
        return scale_invariant_depth_error(depth, seen["depth"], mask).mean().item()

    before = error()
    train(method)
    assert method.finished
    assert error() < 0.5 * before


def test_preview_shows_inputs_and_a_scene():
    method = build().eval()
    with torch.no_grad():
        preview = method.preview()
    assert preview.images["input"].shape == (4, 3, 16, 16)
    assert preview.scene.batch_size == 4


def test_two_processes_learn_what_one_learns():
    one = build("steps=2")
    train(one)
    two = build("steps=2")
    train(two, devices=2, strategy=PlainDDPStrategy(start_method="fork"))
    torch.testing.assert_close(two.state_dict(), one.state_dict(), rtol=1e-4, atol=1e-5)
