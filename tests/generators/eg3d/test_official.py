"""Files of NVlabs/eg3d: whole ones to ours and back, wrong and hostile ones in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eg3d_files
import official_files
import pytest
import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.generators.eg3d.config import EG3DConfig
from gan3d_bench.generators.eg3d.discriminator import DualDiscriminator
from gan3d_bench.generators.eg3d.export import export_discriminator, export_generator
from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.official import read_networks, read_official
from gan3d_bench.generators.eg3d.official_names import all_names
from gan3d_bench.generators.eg3d.teacher import random_pair
from gan3d_bench.generators.stylegan2 import DiscriminatorConfig, GeneratorConfig
from gan3d_bench.generators.stylegan2.generator import channel_table
from gan3d_bench.generators.teachers import load_teacher

CONFIG = json.loads((official_files.PARITY / "eg3d_generator_128" / "vector.json").read_text())
OPTIONS = CONFIG["config"]["rendering_kwargs"]
SIZES = CONFIG["config"]


@pytest.fixture(scope="module")
def networks() -> tuple[EG3DGenerator, DualDiscriminator]:
    """Of the released shape (2X at 128 pixels) with few channels."""
    backbone = GeneratorConfig(
        256, 48, 512, 2, channel_table(256, 1024, 16), image_channels=96, label_dim=25
    )
    config = EG3DConfig(
        backbone,
        volume_size=64,
        plane_axes="released",
        features=32,
        decoder_width=64,
        super_resolution="hybrid-2x",
        sr_clamp=256.0,
    )
    discriminator = DiscriminatorConfig(128, channel_table(128, 512, 16), 4, 256.0, cmap_dim=16)
    return EG3DGenerator(config), DualDiscriminator(discriminator)


@pytest.fixture(scope="module")
def whole(networks: tuple) -> dict[str, Any]:
    """A snapshot as records."""
    generator, discriminator = networks
    state = export_generator(generator)
    state["backbone.mapping.w_avg"] = torch.randn(512)
    state["dataset_label_std"] = torch.ones(25)
    return eg3d_files.snapshot(
        state, OPTIONS, SIZES, discriminator=export_discriminator(discriminator)
    )


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    """A snapshot of few weights, of a backbone that the released code does not have."""
    backbone = GeneratorConfig(
        16, 8, 16, 2, dict.fromkeys((4, 8, 16), 8), image_channels=24, label_dim=25
    )
    config = EG3DConfig(backbone, features=8, super_resolution="hybrid-2x", sr_clamp=256.0)
    generator = EG3DGenerator(config).requires_grad_(False)
    weights = generator.state_dict()
    state = {name: weights[ours] for ours, name in all_names(config).items()}
    discriminator = DualDiscriminator(DiscriminatorConfig(16, backbone.channels, 4, 256.0))
    return eg3d_files.snapshot(
        state, OPTIONS, {**SIZES, "z_dim": 8}, discriminator=export_discriminator(discriminator)
    )


def write(folder: Path, content: Any, protocol: int = 4) -> Path:
    path = folder / "network.pkl"
    path.write_bytes(content if isinstance(content, bytes) else eg3d_files.dumps(content, protocol))
    return path


def refusal(path: Path, read: Callable[[Path], Any] = read_networks) -> str:
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert "\n" not in message
    return message


def same(one: dict[str, Tensor], other: dict[str, Tensor], but: tuple[str, ...] = ()) -> None:
    assert one.keys() == other.keys()
    for key in one.keys() - set(but):
        assert torch.equal(one[key], other[key]), key


# -- whole files --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickles(tmp_path: Path, networks: tuple, whole: dict[str, Any], protocol: int) -> None:
    generator, discriminator = networks
    found = read_networks(write(tmp_path, whole, protocol))
    assert not found.left_out and found.discriminator is not None
    same(found.generator.state_dict(), generator.state_dict(), ("w_mean", "w_std"))
    w_mean = whole["G_ema"].child("backbone.mapping").state["_buffers"]["w_avg"]
    assert torch.equal(found.generator.w_mean, w_mean)
    same(found.discriminator.state_dict(), discriminator.state_dict())
    assert found.discriminator.config == discriminator.config
    config = found.generator.config
    assert config.plane_axes == "released"
    assert config.super_resolution == "hybrid-2x"
    assert (config.volume_size, config.image_size, config.sr_clamp) == (64, 128, 256)
    assert config.backbone == generator.config.backbone
    assert config.volume.ray_range == (0.1, 2.6)
    assert (config.volume.coarse_samples, config.volume.fine_samples) == (8, 8)
    assert (config.volume.box_warp, config.volume.white_back) == (1.6, True)
    assert (config.orbit.radius, config.orbit.pivot) == (1.7, (0.0, 0.0, 0.0))
    assert config.orbit.focal == 1.7074
    # of codes at the frontal camera
    z = torch.randn(4000, 48)
    w = found.generator.stylecodes(z, config.orbit.frontal(4000))
    torch.testing.assert_close(found.generator.w_std, w.std(0), rtol=0.1, atol=0)


def test_plane_axes_are_told_apart(tmp_path: Path, small: dict[str, Any]) -> None:
    content = eg3d_files.changed(small)
    renderer = content["G_ema"].state["_modules"]["renderer"]
    renderer.plane_axes = torch.tensor(eg3d_files.CORRECTED_AXES).float()
    assert read_networks(write(tmp_path, content)).generator.config.plane_axes == "corrected"
    renderer.plane_axes = torch.eye(3).repeat(3, 1, 1)
    assert "expected those of released or corrected" in refusal(write(tmp_path, content))


def test_there_and_back_by_the_command_line(
    cli: Callable[..., Any], toy: Path, whole: dict[str, Any], networks: tuple
) -> None:
    write(toy, whole)
    listed = cli("list", "generators")
    assert "eg3d" in listed.out
    found = cli("import", "network.pkl", "--as", "eg3d")
    assert found.code == 0, found.err
    assert "NVlabs/eg3d, 128 x 128 pixels" in found.out
    assert "released axes" in found.out
    card = json.loads((toy / "network" / "card.json").read_text())
    assert card["plane_axes"] == "released"
    assert card["parameters"]["generator"] == sum(p.numel() for p in networks[0].parameters())
    teacher = load_teacher("eg3d:network", conditional=True)
    done = cli("export", "network", "back.pt", "--as", "eg3d")
    assert done.code == 0, done.err
    assert "TriPlaneGenerator(**file['G_init_kwargs'])" in done.out
    # plain weights, under the released names, with the released buffers
    content = torch.load(toy / "back.pt", weights_only=True)
    assert set(content["G_ema"]) == set(CONFIG["weights"]["keys"])
    made = content["G_init_kwargs"]
    assert (made["z_dim"], made["channel_base"], made["channel_max"]) == (48, 1024, 16)
    kept = {key: OPTIONS[key] for key in OPTIONS}
    assert {key: content["rendering_kwargs"][key] for key in kept} == kept
    again = load_teacher("eg3d:back.pt", conditional=True)
    same(again.generator.state_dict(), teacher.generator.state_dict())
    same(again.discriminator.state_dict(), teacher.discriminator.state_dict())
    assert again.generator.config == teacher.generator.config
    assert again.discriminator.config == teacher.discriminator.config


def test_what_the_released_classes_do_not_have_is_not_exported(
    cli: Callable[..., Any], toy: Path
) -> None:
    from gan3d_bench.generators.eg3d import save_discriminator, save_generator

    generator, discriminator = random_pair()
    save_generator(generator, toy / "small" / "generator.safetensors")
    save_discriminator(discriminator, toy / "small" / "discriminator.safetensors")
    assert load_teacher("eg3d:small", conditional=True).discriminator is not None
    done = cli("export", "small", "small.pt", "--as", "eg3d")
    assert done.code == 2
    assert "small: super_resolution=small-2x: expected hybrid-8xdc" in done.err
    with pytest.raises(UserError, match="takes labels of 25 numbers"):
        load_teacher("eg3d:small")


# -- wrong ones ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("clamp_mode", "relu", "clamp_mode='relu', expected softplus"),
        ("depth_resolution", None, "depth_resolution=something, expected a whole number"),
        ("depth_resolution", 10**9, "coarse_samples=1000000000: expected 4 to 4096"),
        ("depth_resolution", 2, "coarse_samples=2: expected 4"),
        ("ray_start", "auto", "ray_start='auto', expected a number"),
        ("ray_end", 0.05, "expected 0 < start < end"),
        ("box_warp", float("nan"), "box_warp=nan: expected"),
        ("box_warp", [1], "box_warp=something, expected a number"),
        ("white_back", "yes", "white_back='yes', expected True or False"),
        ("avg_camera_pivot", [0, 0], "avg_camera_pivot: expected three numbers"),
        ("avg_camera_pivot", [0, 0, 5], "expected three numbers within 1.7"),
        ("avg_camera_radius", -1, "radius=-1.0"),
        ("superresolution_noise_mode", "most", "expected none, const, random"),
        ("density_noise", 0.5, "density_noise=0.5, expected 0"),
    ],
)
def test_options_that_are_none(
    tmp_path: Path, small: dict[str, Any], key: str, value: Any, message: str
) -> None:
    content = eg3d_files.changed(small)
    content["G_ema"].state["rendering_kwargs"][key] = value
    found = refusal(write(tmp_path, content))
    assert message in found
    assert found.startswith("G_ema: ")


def _set(path: str, **attributes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["G_ema"].child(path).state.update(attributes)


def _class(path: str, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["G_ema"].child(path).meta.update(class_name=name)


def _without(path: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        parent, _, name = path.rpartition(".")
        del content["G_ema"].child(parent).state["_modules"][name]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_class("", "Generator"), "'Generator', expected a TriPlaneGenerator of EG3D"),
        (_class("superresolution", "Other"), "superresolution 'Other', expected one of"),
        (_set("", img_resolution=512), "img_resolution=512, expected 128"),
        (_set("", neural_rendering_resolution=10**6), "volume_size=1000000: expected 1 to 1024"),
        (_set("", neural_rendering_resolution="64"), "without neural_rendering_resolution"),
        (_set("", rendering_kwargs=3), "without rendering_kwargs"),
        (_set("", _init_kwargs=None), "without _init_kwargs"),
        (_set("backbone.synthesis.b8", architecture="orig"), "architecture='orig'"),
        (_set("backbone.mapping.fc0", bias_gain=1), "bias_gain=1"),
        (_without("renderer"), "whose renderer is no ImportanceRenderer"),
        (_without("decoder"), "whose decoder is no OSGDecoder"),
        (_without("superresolution"), "without a superresolution"),
        (_without("superresolution.block1"), "is missing"),
        (_without("backbone.mapping.embed"), "expected"),
        (
            lambda content: (
                content["G_ema"].state["_modules"]["renderer"].__dict__.pop("plane_axes")
            ),
            "without plane_axes",
        ),
        (lambda content: content.pop("G_ema"), "no G_ema in it but 'training_set_kwargs'"),
        (lambda content: content.update(G_ema=None), "no network, expected a TriPlaneGenerator"),
    ],
)
def test_what_is_no_eg3d(
    tmp_path: Path, small: dict[str, Any], change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    content = eg3d_files.changed(small)
    change(content)
    found = refusal(write(tmp_path, content))
    assert message in found
    assert "expected" in found


def test_a_stylegan2_file_is_told_from_it(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, official_files.PICKLE.read_bytes()))
    assert "'Generator', expected a TriPlaneGenerator of EG3D" in message


def test_a_discriminator_of_another_design_is_left_out(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    content = eg3d_files.changed(small)
    content["D"].meta["class_name"] = "SingleDiscriminator"
    path = write(tmp_path, content)
    found = read_networks(path)
    assert found.discriminator is None
    assert "'SingleDiscriminator', expected a DualDiscriminator" in found.left_out
    assert "makes a folder without it" in refusal(path, read_official)


# -- hostile ones -------------------------------------------------------------------------------


def test_hostile_files(tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel"
    for name, content in official_files.hostile(sentinel).items():
        assert "expected" in refusal(write(tmp_path, content)), name
        assert not sentinel.exists(), name


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.sentinel}",)


@pytest.mark.parametrize("place", ["options", "axes", "decoder", "weights", "sampler", "beside"])
def test_hostile_parts_of_a_whole_file(tmp_path: Path, small: dict[str, Any], place: str) -> None:
    evil = Evil(tmp_path / "sentinel")
    content = {**small, "G_ema": eg3d_files.changed(small)["G_ema"]}
    state = content["G_ema"].state
    if place == "options":
        state["rendering_kwargs"]["box_warp"] = evil
    elif place == "axes":
        state["_modules"]["renderer"].plane_axes = evil
    elif place == "decoder":
        state["_modules"]["decoder"] = evil
    elif place == "weights":
        content["G_ema"].child("backbone.mapping.fc0").state["_parameters"]["weight"] = evil
    elif place == "sampler":
        state["_modules"]["ray_sampler"].depths = evil
    else:
        content["training_set_kwargs"] = evil
    path = write(tmp_path, content)
    if place in ("sampler", "beside"):
        read_networks(path)  # what nobody asks for is never looked at
    else:
        assert "expected" in refusal(path) or "never run" in refusal(path)
    assert not (tmp_path / "sentinel").exists()
