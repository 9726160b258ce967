"""Pickles of NVIDIA's networks: the official output, every protocol, wrong and hostile ones."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import official_files as files
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gan3d_bench.errors import UserError
from gan3d_bench.files.torch_files import load_tensors, read_file
from gan3d_bench.generators.stylegan2 import nvidia_pickle
from gan3d_bench.generators.stylegan2.official import NVIDIA, read_networks

FILES = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def write(folder: Path, content: bytes) -> Path:
    path = folder / "network.pkl"
    path.write_bytes(content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_networks(path)
    message = str(error.value)
    assert "\n" not in message
    return message


# -- whole files --------------------------------------------------------------------------------


def test_every_tensor_is_the_official_one() -> None:
    described, _ = files.vector("stylegan2_nvidia_pickle")
    content = read_file(files.PICKLE, nvidia_pickle.NAMES)
    for record, read, kind in (
        (content["G_ema"], nvidia_pickle.read_generator, "generator"),
        (content["D"], nvidia_pickle.read_discriminator, "discriminator"),
    ):
        network = read(record)
        state = load_tensors(network.state, files.PICKLE.stat().st_size)
        shapes = described[f"state_dict_{kind}"]
        assert {key: list(value.shape) for key, value in state.items()} == shapes
        for key, value in files.ruled(shapes, described[f"rules_{kind}"]).items():
            assert torch.equal(state[key], value), key
        assert network.conv_clamp == 256
    assert network.stddev_group == 4


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_output_is_the_official_one(tmp_path: Path, protocol: int | None) -> None:
    path = files.PICKLE
    if protocol:
        path = write(tmp_path, files.pickled(files.snapshot(), protocol))
    _, arrays = files.vector("stylegan2_nvidia_pickle")
    found = read_networks(path)
    assert found.origin == NVIDIA
    assert found.has_w_mean
    close(found.generator(arrays["z"]), arrays["out_G_ema_image"])
    assert found.discriminator is not None
    close(found.discriminator(arrays["x"]), arrays["out_D_logits"])


def test_the_source_text_is_not_looked_at(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"

    def poison(content: dict[str, Any]) -> None:
        for network in ("G", "D", "G_ema"):
            content[network].meta["module_src"] = f"open({str(sentinel)!r}, 'w')"

    read_networks(write(tmp_path, files.changed(poison)))
    assert not sentinel.exists()


def test_generator_alone(tmp_path: Path) -> None:
    for change in (lambda content: content.pop("D"), lambda content: content.update(D=None)):
        found = read_networks(write(tmp_path, files.changed(change)))
        assert found.discriminator is None


def test_mean_of_w_is_computed_where_it_is_missing(tmp_path: Path) -> None:
    def forget(content: dict[str, Any]) -> None:
        content["G_ema"].child("mapping").state["_buffers"] = {}

    found = read_networks(write(tmp_path, files.changed(forget)))
    assert not found.has_w_mean
    w = found.generator.mapping(torch.randn(20_000, 8, generator=torch.manual_seed(5)))
    torch.testing.assert_close(found.generator.w_mean, w.mean(0), rtol=0, atol=0.05)
    torch.testing.assert_close(found.generator.w_std, w.std(0), rtol=0.05, atol=0)


def test_what_is_not_in_the_state_dict_is_kept(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["D"].child("b4.mbstd").state["group_size"] = 8
        for network in ("G_ema", "D"):
            for path in conv_paths(content[network]):
                content[network].child(path).state["conv_clamp"] = None

    found = read_networks(write(tmp_path, files.changed(change)))
    assert found.generator.config.conv_clamp is None
    assert found.discriminator is not None
    assert found.discriminator.config.conv_clamp is None
    assert found.discriminator.config.stddev_group == 8


def conv_paths(module: Any, prefix: str = "") -> list[str]:
    paths = [prefix.rstrip(".")] if "conv_clamp" in module.state else []
    for name, child in module.state["_modules"].items():
        paths += conv_paths(child, f"{prefix}{name}.")
    return paths


# -- other networks -----------------------------------------------------------------------------


def attribute(network: str, path: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content[network].child(path).state[name] = value

    return change


def stylegan3(content: dict[str, Any]) -> None:
    modules = content["G_ema"].child("synthesis").state["_modules"]
    layer = modules.pop("b4")
    modules.clear()
    modules |= {"input": layer, "L0_36_512": layer}


def other_class(content: dict[str, Any]) -> None:
    content["G_ema"].meta["class_name"] = "TriPlaneGenerator"


def other_filter(content: dict[str, Any]) -> None:
    buffers = content["G_ema"].child("synthesis.b8.conv0").state["_buffers"]
    buffers["resample_filter"] = torch.full((4, 4), 1 / 16)


def resnet_layer(content: dict[str, Any]) -> None:
    block = content["G_ema"].child("synthesis.b8").state["_modules"]
    block["skip"] = block["conv1"]


def wide(content: dict[str, Any]) -> None:
    bias = content["D"].child("b8.conv0").state["_parameters"]
    bias["bias"] = torch.nn.Parameter(torch.zeros(10**4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (attribute("G_ema", "", "c_dim", 10), "G_ema: a conditional network (c_dim=10)"),
        (attribute("D", "", "c_dim", 10), "D: a conditional network (c_dim=10), expected c_dim=0"),
        (attribute("G_ema", "", "img_channels", 1), "img_channels=1, expected 3 (RGB)"),
        (
            attribute("G_ema", "synthesis.b8", "architecture", "resnet"),
            "'synthesis.b8' has architecture='resnet', expected skip",
        ),
        (
            attribute("D", "b16", "architecture", "orig"),
            "D: 'b16' has architecture='orig', expected resnet",
        ),
        (
            attribute("G_ema", "synthesis.b8.conv1", "activation", "relu"),
            "'synthesis.b8.conv1' has activation='relu', expected lrelu",
        ),
        (attribute("G_ema", "mapping.fc0", "bias_gain", 1), "bias_gain=1, expected 0.01"),
        (
            attribute("G_ema", "synthesis.b8.conv1", "conv_clamp", 1),
            "conv_clamp: expected the same for all layers",
        ),
        (attribute("D", "b8.conv0", "conv_clamp", -1), "D: conv_clamp: expected a number above 0"),
        (
            attribute("D", "b4.mbstd", "num_channels", 2),
            "D: expected a minibatch standard deviation of one channel",
        ),
        (
            attribute("D", "b4", "_modules", {}),
            "D: expected a minibatch standard deviation of one channel",
        ),
        (attribute("D", "b4.mbstd", "group_size", 0), "D: mbstd group_size: expected a number"),
        (attribute("D", "b4.conv", "_parameters", None), "D: a module without _parameters"),
        (attribute("D", "b4.conv", "_buffers", {"x": 3}), "D: _buffers of a module is damaged"),
        (stylegan3, "G_ema: a StyleGAN3 generator, expected StyleGAN2"),
        (other_class, "G_ema: 'TriPlaneGenerator', expected a Generator of StyleGAN2"),
        (other_filter, "resample_filter' is another FIR kernel, expected that of [1, 3, 3, 1]"),
        (resnet_layer, "unknown key 'synthesis.b8.skip."),
        (wide, "D: state dict: 'blocks.16.conv1.weight' is (8, 4, 3, 3), expected (10000, 4,"),
        (lambda content: content.update(G_ema=None), "G_ema: no network, expected a Generator"),
        (lambda content: content.pop("G_ema"), "no g_ema or G_ema in it but 'training_set_kwar"),
    ],
)
def test_networks_that_ours_cannot_stand_for(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    """Of a discriminator of another design it is told why it is left out."""
    path = write(tmp_path, files.changed(change))
    said = ""
    if message.startswith("D: ") and "damaged" not in message and "without _" not in message:
        said = read_networks(path).left_out
    said = said or refusal(path)
    assert message in said
    assert "expected" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("path", ["synthesis.b8.conv1", "mapping.fc0", "synthesis.b16.torgb"])
def test_weights_that_are_not_finite(tmp_path: Path, path: str, value: float) -> None:
    def change(content: dict[str, Any]) -> None:
        content["G_ema"].child(path).state["_parameters"]["weight"].data[0, 0] = value

    assert "not finite numbers" in refusal(write(tmp_path, files.changed(change)))


def test_weights_that_overflow(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["G_ema"].child("mapping.fc1").state["_parameters"]["weight"].data[:] = 3e38

    assert "infinite stylecodes" in refusal(write(tmp_path, files.changed(change)))


def test_tensorflow_pickles_are_named(tmp_path: Path) -> None:
    content = b"\x80\x03cdnnlib.tflib.network\nNetwork\nq\x00)\x81}b."
    assert refusal(write(tmp_path, content)).startswith("a TensorFlow pickle; convert it")


# -- damaged and hostile files ------------------------------------------------------------------


@FILES
@given(end=st.integers(0, files.PICKLE.stat().st_size - 1))
def test_a_cut_file_is_refused(tmp_path: Path, end: int) -> None:
    refusal(write(tmp_path, files.PICKLE.read_bytes()[:end]))


@FILES
@given(start=st.integers(0, files.PICKLE.stat().st_size - 9), noise=st.binary(min_size=8))
def test_changed_bytes_are_harmless(tmp_path: Path, start: int, noise: bytes) -> None:
    content = bytearray(files.PICKLE.read_bytes())
    content[start : start + len(noise)] = noise[: len(content) - start]
    try:
        read_networks(write(tmp_path, bytes(content)))
    except UserError as error:
        assert "\n" not in str(error)


HOSTILE = sorted(files.hostile(Path("sentinel")))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    sentinel = tmp_path_factory.mktemp("hostile") / "sentinel"
    read_networks(files.PICKLE)  # what a first call takes is not counted
    return sentinel, files.hostile(sentinel)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_once(
    tmp_path: Path, hostile: tuple[Path, dict[str, bytes]], name: str
) -> None:
    sentinel, contents = hostile
    path = write(tmp_path, contents[name])
    start = time.process_time()
    message = refusal(path)
    assert time.process_time() - start < 5  # a bomb takes minutes; a busy machine doubles a second
    assert "expected" in message
    assert message.isprintable()
    assert not sentinel.exists()
    assert [file.name for file in tmp_path.iterdir()] == ["network.pkl"]


def test_the_payloads_would_work(hostile: tuple[Path, dict[str, bytes]]) -> None:
    """The same bytes, read carelessly, do make the sentinel."""
    sentinel, contents = hostile
    for name in ("system-protocol0", "system-protocol4", "inst", "in-g_ema"):
        pickle.loads(contents[name])
        assert sentinel.exists()
        sentinel.unlink()
