"""LiftedGAN's networks and generator against outputs of the released code.

The largest error of each output may be 1e-4 of its standard deviation.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.generators.stylegan2.generator import Generator
from gan3d_bench.generators.stylegan2.official import convert_generator
from gan3d_bench.methods.liftedgan.official import ENTRIES, from_official, to_official

HERE = Path(__file__).parent
NETWORKS = json.loads((HERE / "liftedgan_nets" / "vector.json").read_text())
GENERATOR = json.loads((HERE / "liftedgan_generator" / "vector.json").read_text())


def arrays(path: Path) -> dict[str, Tensor]:
    with np.load(path) as found:
        return {key: torch.from_numpy(found[key]) for key in found.files}


def ruled(described: dict[str, Any]) -> dict[str, Tensor]:
    """State dict by the vectors' weight rule; constant kernels are left out."""
    state = {}
    for key, rule in described.items():
        if "kernel" not in rule:
            values = np.random.RandomState(zlib.crc32(key.encode())).randn(*rule["shape"])
            state[key] = torch.from_numpy(
                np.asarray(rule["mean"] + rule["scale"] * values, dtype=np.float32)
            )
    return state


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape)).float()


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(2 * np.random.RandomState(seed).rand(*shape) - 1).float()


def close(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for key, value in actual.items():
        assert value.shape == expected[key].shape, key
        error = (value - expected[key]).abs().max() / expected[key].std()
        assert error <= 1e-4, f"{key}: {error:.1e}"


# -- networks -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["native", "small"])
def case(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any], dict]:
    """The description, the released state dicts and the outputs of a case."""
    described = NETWORKS["cases"][request.param]
    entries = {entry: ruled(keys) for entry, keys in described["state_dicts"].items()}
    return described, entries, arrays(HERE / "liftedgan_nets" / f"{request.param}.npz")


@torch.no_grad()
def test_networks(case: tuple) -> None:
    described, entries, outputs = case
    config, batch, seed = described["config"], described["batch"], described["seed"]
    found = from_official(entries)
    networks = found.architecture.build()
    for name, network in networks.items():
        network.load_state_dict(found.states[name])
    w = normal(seed, batch, config["style"])
    features = normal(seed + 1, batch, config["inject"], 256, 256)
    light, view = uniform(seed + 2, batch, 4), uniform(seed + 3, batch, 6)
    found_light, found_view = networks["decomposition"](w)
    actual = {
        "SD_light": found_light,
        "SD_view": found_view,
        "SC_style": networks["manipulation"](w, light, view),
    }
    maps = {"D": networks["depth"](w, features), "T": networks["transformation"](w)}
    for name, x in maps.items():
        assert x.shape == (batch, 1, 256, 256)
        actual |= {
            f"{name}_pool8": F.avg_pool2d(x, 8),
            f"{name}_stride16": x[:, :, 3::16, 5::16],
            f"{name}_row0": x[:, 0, 0, :],
            f"{name}_col255": x[:, 0, :, 255],
        }
    assert actual.keys() == outputs.keys() - {"SD_style"}  # of the unused head
    close(actual, outputs)


def test_the_architecture_is_told_from_the_weights(case: tuple) -> None:
    described, entries, _ = case
    config, architecture = described["config"], from_official(entries).architecture
    assert (architecture.image_size, architecture.w_dim) == (256, config["style"])
    assert (architecture.inject_channels, architecture.depth_channels) == (
        config["inject"],
        config["nfD"],
    )
    assert (architecture.depth_hidden, architecture.map_hidden) == (config["zD"], config["zT"])
    assert (architecture.map_channels, architecture.manipulation_hidden) == (
        config["nfT"],
        config["hidden"],
    )


def test_back_to_the_released_names(case: tuple) -> None:
    """Every released key, the unused head's as zeros, with the released values."""
    _, entries, _ = case
    content = to_official(from_official(entries).states)
    for entry in ENTRIES:
        assert content[entry].keys() == entries[entry].keys()
        for key, value in entries[entry].items():
            if "model_style" in key:
                assert content[entry][key].shape == value.shape
                assert not content[entry][key].any()
            else:
                assert torch.equal(content[entry][key], value), key


# -- generator ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> Generator:
    return convert_generator(ruled(GENERATOR["state_dict"]))


def test_generator_has_the_channels_of_the_facts(generator: Generator) -> None:
    assert generator.config.channels == {
        **{4: 512, 8: 512, 16: 256, 32: 128},
        **{64: 64, 128: 32, 256: 16},
    }
    assert sum(p.numel() for p in generator.parameters()) == 13_882_514


@torch.no_grad()
def test_generator(generator: Generator) -> None:
    outputs = arrays(HERE / "liftedgan_generator" / "outputs.npz")
    w = generator.mapping(normal(GENERATOR["seed"], GENERATOR["batch"], 512))
    image = generator.synthesis(w)
    (features,) = generator.features(w, [256])
    actual = {
        "w": w,
        "image_pool4": F.avg_pool2d(image, 4),
        "image_stride": image[:, :, 3::16, 5::16],
        "feat_pool": F.avg_pool2d(features, 16),
        "feat_stride": features[:, :, 3::16, 5::16],
    }
    assert actual.keys() == outputs.keys()
    close(actual, outputs)
