"""ONNX graphs as modules, on small graphs made here, against onnxruntime."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from gan3d_bench.assets.store import find_weights
from gan3d_bench.errors import UserError
from gan3d_bench.faces.arcface import ArcFace
from gan3d_bench.faces.onnx_network import OnnxNetwork, open_session
from gan3d_bench.losses.identity import IdentityLoss
from gan3d_bench.metrics.identity import IdentityDistance

ATTRIBUTES = {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 2, "kernel_shape": [3, 3]}


def write(path: Path, nodes, weights, inputs=("x",), size=8) -> Path:
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4, size, size]) for n in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6])],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    onnx.save(model, path)
    return path


def residual_network(path: Path, channels: int = 4, size: int = 8) -> Path:
    """What an iresnet has: BN before a convolution, a residual sum, PReLU, BN, Gemm, BN."""
    r = np.random.RandomState(0)
    out = (size // 2) ** 2 * 4
    weights = {
        **{f"bn.{k}": r.randn(channels) for k in ("scale", "bias", "mean")},
        "bn.variance": r.rand(channels) + 0.5,
        "conv": r.randn(4, channels // 2 if channels % 2 == 0 else channels, 3, 3) * 0.3,
        "conv.bias": r.randn(4),
        "slope": r.rand(4, 1, 1),
        "short": r.randn(4, channels, 1, 1),
        "fc": r.randn(6, out) * 0.2,
        "fc.bias": r.randn(6),
        **{f"last.{k}": r.randn(6) for k in ("scale", "bias", "mean")},
        "last.variance": r.rand(6) + 0.5,
    }
    attributes = {**ATTRIBUTES, "group": 2 if channels % 2 == 0 else 1}
    bn = [f"bn.{k}" for k in ("scale", "bias", "mean", "variance")]
    last = [f"last.{k}" for k in ("scale", "bias", "mean", "variance")]
    node = helper.make_node
    nodes = [
        node("BatchNormalization", ["x", *bn], ["a"], epsilon=2e-5),
        node("Conv", ["a", "conv", "conv.bias"], ["b"], **attributes),
        node("PRelu", ["b", "slope"], ["c"]),
        node("Conv", ["x", "short"], ["d"], strides=[2, 2], kernel_shape=[1, 1]),
        node("Add", ["c", "d"], ["e"]),
        node("Flatten", ["e"], ["f"], axis=1),
        node("Gemm", ["f", "fc", "fc.bias"], ["g"], transB=1),
        node("BatchNormalization", ["g", *last], ["y"]),
    ]
    path = write(path, nodes, weights, size=size)
    if channels != 4:
        model = onnx.load(path)
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = channels
        onnx.save(model, path)
    return path


def test_equals_onnxruntime_and_has_right_gradients(tmp_path):
    path = residual_network(tmp_path / "net.onnx")
    network, session = OnnxNetwork(path), open_session(path)
    x = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = session.run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(network(x), expected, rtol=1e-5, atol=1e-5)
    one = torch.cat([network(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(x), one, rtol=1e-5, atol=1e-5)

    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    y = x.clone().requires_grad_()
    network(y).sum().backward()
    slope = (network(x + 1e-2 * direction) - network(x - 1e-2 * direction)).sum() / 2e-2
    # PReLU's kinks within the step cost a little
    assert (y.grad * direction).sum().item() == pytest.approx(slope.item(), rel=2e-2)


def test_carries_no_state_and_travels(tmp_path):
    network = OnnxNetwork(residual_network(tmp_path / "net.onnx"))
    x = torch.randn(1, 4, 8, 8)
    assert network.state_dict() == {} and not list(network.parameters())
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        torch.testing.assert_close(other(x), network(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(network(x), network(x.double()))


def test_an_untransposed_gemm_and_arithmetic(tmp_path):
    r = np.random.RandomState(1)
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["a"]),
        helper.make_node("Mul", ["a", "factor"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "fc"], ["y"]),
    ]
    weights = {"mean": r.randn(1), "factor": r.randn(1), "fc": r.randn(256, 6)}
    path = write(tmp_path / "net.onnx", nodes, weights)
    x = r.randn(1, 4, 8, 8).astype(np.float32)
    expected = open_session(path).run(None, {"x": x})[0]
    np.testing.assert_allclose(OnnxNetwork(path)(torch.from_numpy(x)), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([helper.make_node("Softmax", ["x"], ["y"])], "unknown operator Softmax; known: Conv"),
        ([helper.make_node("Flatten", ["x"], ["y"], axis=2)], "Flatten with axis=2"),
        (
            [helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 0, 1, 1])],
            "Conv with padding that is not symmetric",
        ),
        ([helper.make_node("Gemm", ["x", "w"], ["y"], alpha=0.5)], "Gemm with transA, alpha"),
        ([helper.make_node("Conv", ["x", "w"], ["y"], pads=3)], "Conv with "),
        ([helper.make_node("Conv", ["x", "w"], ["y"], strides=3)], "Conv with "),
    ],
)
def test_unknown_graphs_are_refused_at_once(tmp_path, nodes, reason):
    path = write(tmp_path / "net.onnx", nodes, {"w": np.ones((1, 4, 3, 3))})
    with pytest.raises(UserError, match=reason):
        OnnxNetwork(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "w600k_r50.onnx"
    path.write_bytes(b"\xff\xfe no network" * 9)
    with pytest.raises(UserError, match="cannot be read as an ONNX file"):
        OnnxNetwork(path)
    with pytest.raises(UserError, match="cannot be read as an ONNX file"):
        open_session(path)
    with pytest.raises(UserError, match="cannot be read by onnxruntime"):
        open_session(write(path, [helper.make_node("Nonsense", ["x"], ["y"])], {}))
    nodes = [helper.make_node("Add", ["x", "z"], ["y"])]
    with pytest.raises(UserError, match="2 inputs and 1 outputs"):
        OnnxNetwork(write(path, nodes, {}, inputs=("x", "z")))


def external(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "secret"), ("offset", "0"), ("length", "144")):
        tensor.external_data.add(key=key, value=value)


def texts(tensor: TensorProto) -> None:
    tensor.CopyFrom(helper.make_tensor("w", TensorProto.STRING, [2], [b"a", b"b"]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (external, "the values of 'w' are in another file, expected in it"),
        (texts, "the values of 'w' are texts, expected numbers"),
        (lambda tensor: setattr(tensor, "name", "v"), "Conv reads 'w', which is nowhere"),
        (lambda tensor: tensor.dims.append(10**9), "cannot be read as an ONNX file"),
        (lambda tensor: setattr(tensor, "data_type", 999), "cannot be read as an ONNX file"),
    ],
)
def test_weights_that_are_not_there(tmp_path, monkeypatch, change, reason):
    """Nothing is read from where the file says: its own folder or the working one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(bytes(144))
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    path = write(tmp_path / "net.onnx", nodes, {"w": np.ones((1, 4, 3, 3))})
    model = onnx.load(path)
    change(model.graph.initializer[0])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match=reason):
        OnnxNetwork(path)
    if change in (external, texts):
        with pytest.raises(UserError, match=reason):
            open_session(path)


def test_arcface_of_a_local_file(tmp_path):
    """A file's path stands where the asset's name does; its hash goes with results."""
    path = residual_network(tmp_path / "mine.onnx", channels=3, size=112)
    net = ArcFace(path)
    sha256 = find_weights(path).sha256
    assert net.label == f"ArcFace mine.onnx ({sha256[:12]})"
    images = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = open_session(path).run(None, {"x": images.numpy()})[0]
    np.testing.assert_allclose(net.embed(images), expected, rtol=1e-3, atol=1e-3)
    assert net.embed(images[..., :40, :40]).shape == (2, 6)
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\)"):
        net.embed(images[0])
    assert IdentityLoss(path).name == f"identity ({net.label})"
    distance = IdentityDistance(arcface=net)
    assert distance.instances(images, images[:1])[0] < 1e-3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("arcface-mfb", "did you mean 'arcface-mbf'"),
        ("nowhere/w600k_r50.onnx", "no file of weights"),
        ("w600k_r50.onnx", "no file of weights"),
        ("heads-teacher-64", "is a folder"),
    ],
)
def test_names_that_lead_nowhere(name, reason):
    with pytest.raises(UserError, match=reason):
        find_weights(name)


def test_a_missing_asset_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN3D_BENCH_HOME", str(tmp_path))
    for make in (ArcFace, IdentityLoss, IdentityDistance):
        with pytest.raises(UserError, match="gan3d-bench assets fetch arcface-mbf"):
            make()
