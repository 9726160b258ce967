"""Identity networks behind one contract: names, files, freezing, gradients."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.errors import UserError
from gan3d_bench.faces import ffhq
from gan3d_bench.faces.alignment import template
from gan3d_bench.faces.embeddings import FixedCrop, FrozenIdentity, build_identity
from gan3d_bench.faces.identity_files import NETWORK, import_file, read_official, save_network
from gan3d_bench.faces.resnet_embedding import ResNetEmbedding, dropout_factors, from_state
from gan3d_bench.files.weights import save_weights
from gan3d_bench.methods.idnet.data import HeadPeople
from gan3d_bench.methods.idnet.verification import verification

sys.path.insert(0, str(Path(__file__).parents[1]))
import official_files as files


def small(seed: int = 0) -> ResNetEmbedding:
    """A network whose normalisations are not at their starting values."""
    torch.manual_seed(seed)
    network = ResNetEmbedding(32, 4, 8)
    network(torch.randn(8, 3, 32, 32)).sum().backward()  # moves the running statistics
    return network.eval()


def official(network: nn.Module) -> dict[str, object]:
    """What LiftedGAN's file holds."""
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    return {"model_state_dict": state, "epoch": 3}


def pictures(count: int = 3, size: int = 32) -> Tensor:
    return 2 * torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1)) - 1


# -- the network --------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "width", "dimensions"), [(16, 3, 5), (64, 2, 7), (128, 4, 6)])
def test_shape_is_read_from_the_weights(size: int, width: int, dimensions: int) -> None:
    network = ResNetEmbedding(size, width, dimensions).eval()
    again = from_state({key: value.half() for key, value in network.state_dict().items()})
    assert (again.image_size, again.width, again.dimensions) == (size, width, dimensions)
    found = again(pictures(2, 2 * size))
    assert found.shape == (2, dimensions)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))


def test_other_sizes_are_resized() -> None:
    network, images = small(), pictures(size=64)
    torch.testing.assert_close(network(images), network(F.avg_pool2d(images, 2)))


def test_dropout_factors_keep_the_mean() -> None:
    keep = dropout_factors(50, 200, 0.4, torch.Generator().manual_seed(0))
    assert sorted(keep.unique().tolist()) == pytest.approx([0, 1 / 0.6])
    assert keep.mean().item() == pytest.approx(1, abs=0.03)
    network = small()
    none = torch.ones(3, network.num_features)
    torch.testing.assert_close(network(pictures(), none), network(pictures()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("bn4.weight"), "no 'bn4.weight'"),
        (lambda s: s.pop("fc5.weight"), "no 'conv1.weight' and 'fc5.weight'"),
        (lambda s: s.update({"bn9.weight": torch.zeros(1)}), "unknown weights in it: 1"),
        (lambda s: s.update({"bn4.bias": torch.zeros(7)}), r"'bn4.bias' has shape \(7,\)"),
        (lambda s: s["bn4.bias"].fill_(torch.nan), "'bn4.bias' is not finite"),
        (lambda s: s.update({"fc5.weight": torch.zeros(8, 96)}), "fc5.weight' has 96 columns"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(change: object, message: str) -> None:
    state = small().state_dict()
    change(state)  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        from_state(state)


# -- the contract -------------------------------------------------------------------------------


def test_frozen_whatever_is_around_it() -> None:
    identity = FrozenIdentity(small(), "small")
    around = nn.Sequential(identity, nn.Linear(8, 1)).train().requires_grad_(True)
    assert not identity.network.training
    assert list(around.state_dict()) == ["1.weight", "1.bias"]
    assert not list(identity.parameters())
    before = identity(pictures())
    around(pictures()).sum().backward()
    torch.testing.assert_close(identity(pictures()), before, rtol=0, atol=0)


def test_gradient_reaches_every_picture() -> None:
    identity = FrozenIdentity(small(), "small")
    images = pictures(2).requires_grad_()
    identity(images)[:, 0].sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().amax((1, 2, 3)) > 0).all()


def test_float32_under_autocast() -> None:
    identity = FrozenIdentity(small(), "small")
    expected = identity(pictures())
    with torch.autocast("cpu", torch.bfloat16):
        found = identity(pictures())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 32, 32), (1, 3, 32, 16)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 3, S, S\)"):
        FrozenIdentity(small(), "small")(torch.zeros(shape))


@pytest.mark.parametrize("size", [96, 256, 600])
def test_fixed_crop_puts_the_mean_face_on_the_template(size: int) -> None:
    # the left half red and the right half green, the border through the mean nose
    points = torch.tensor(ffhq.TEMPLATE) * size - 0.5
    columns = torch.arange(size).expand(size, size)
    left = (columns < points[2, 0]).float() * 2 - 1
    rows = torch.arange(size)[:, None].expand(size, size)
    above = (rows < points[:2, 1].mean()).float() * 2 - 1
    image = torch.stack([left, above, above])[None]
    crop = FixedCrop(nn.Identity()).crop(image)
    assert crop.shape == (1, 3, 112, 112)
    expected = template()
    x = (crop[0, 0, 56] > 0).sum().item()
    y = (crop[0, 1, :, 56] > 0).sum().item()
    assert x == pytest.approx(expected[:2, 0].mean().item(), abs=1.5)
    assert y == pytest.approx(expected[:2, 1].mean().item(), abs=3)  # the mouth counts too


def test_fixed_crop_takes_other_framings() -> None:
    inner = pictures(1, 128)
    outer = F.pad(inner, (64,) * 4, value=-1.0)
    points = [(x / 2 + 0.25, y / 2 + 0.25) for x, y in ffhq.TEMPLATE]
    expected = FixedCrop(nn.Identity()).crop(inner)
    found = FixedCrop(nn.Identity(), points).crop(outer)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


# -- names and files ----------------------------------------------------------------------------


def test_official_file_there_and_back(tmp_path: Path) -> None:
    network = small()
    for zipped in (True, False):
        path = tmp_path / "lresnet.pth.tar"
        path.write_bytes(files.torch_bytes(official(network), zipped))
        facts = import_file(path, tmp_path / f"made{zipped}")
        assert facts["parameters"]["network"] == sum(p.numel() for p in network.parameters())
        expected = network(pictures())
        for name in (path, tmp_path / f"made{zipped}", tmp_path / f"made{zipped}" / NETWORK):
            identity = build_identity(name)
            torch.testing.assert_close(identity(pictures()), expected, rtol=0, atol=1e-6)
            assert identity.name.startswith(f"idnet {name.name} (")


def test_half_precision_is_close(tmp_path: Path) -> None:
    save_network(small(), tmp_path / NETWORK)
    found = build_identity(tmp_path)(pictures())
    assert found.dtype == torch.float32
    assert F.cosine_similarity(found, small()(pictures())).min() > 0.999


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("arcface-mbv", "unknown identity network 'arcface-mbv' \\(did you mean 'arcface-mbf'"),
        ("idnet-heads", "did you mean 'idnet-heads-64'"),
        ("runs/idnet/nowhere", "no identity network 'runs/idnet/nowhere'"),
        ("missing.safetensors", "no identity network 'missing.safetensors'"),
        ("~nobody-here/network", "no identity network '~nobody-here/network'"),
        ("\0", "identity network"),
        ("x" * 5000, "no identity network 'xxx"),
    ],
)
def test_wrong_names_are_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_identity(name)


def test_wrong_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no identity network in"):
        build_identity(tmp_path)
    other = tmp_path / "other.safetensors"
    save_weights(other, small().state_dict(), "generator")
    with pytest.raises(UserError, match="holds a generator, expected a face embedding"):
        build_identity(other)
    path = tmp_path / "file.pth.tar"
    for content, message in (
        (b"no checkpoint", "not readable"),
        (files.torch_bytes({"state_dict": {}}), "no model_state_dict in it"),
        (files.torch_bytes({"model_state_dict": [1]}), "expected the names and tensors"),
        (files.torch_bytes(official(small()))[:5000], "not readable"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            build_identity(path)
        assert str(caught.value).startswith(str(path))


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    for name, content in files.hostile(sentinel).items():
        path = tmp_path / "hostile.pth.tar"
        path.write_bytes(content)
        with pytest.raises(UserError):
            read_official(path)
        assert not sentinel.exists(), name


def test_the_bundled_network_knows_turned_heads() -> None:
    people = HeadPeople("test", 8, 6, 64)
    embeddings = build_identity("idnet-heads-64")(people.render(range(48)))
    found = verification(embeddings, people.person, people.yaw)
    assert found["auc"] > 0.95
    assert found["same@45"] - found["different@45"] > 0.4
