"""The table of shapes is that of the networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gan3d_bench.errors import UserError
from gan3d_bench.files.weights import open_weights
from gan3d_bench.generators.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    load_generator,
    save_network,
)
from gan3d_bench.generators.stylegan2.shapes import network_shapes

CHANNELS = {4: 3, 8: 5, 16: 4, 32: 2}


@pytest.mark.parametrize(
    "network",
    [
        Generator(GeneratorConfig(32, 6, 7, 3, CHANNELS)),
        Generator(GeneratorConfig(8, 4, 4, 1, {4: 2, 8: 3})),
        Discriminator(DiscriminatorConfig(32, CHANNELS)),
        Discriminator(DiscriminatorConfig(8, {4: 2, 8: 3})),
    ],
)
def test_shapes_are_those_of_the_network(network: Generator | Discriminator) -> None:
    state = network.state_dict()
    assert network_shapes(network.config) == {k: tuple(v.shape) for k, v in state.items()}


@pytest.mark.parametrize(
    "change",
    [
        {"channels": {"4": 10**9, "8": 10**9}},
        {"image_size": 2**40},
        {"image_size": 48},
        {"mapping_layers": 10**12},
        {"mapping_layers": -1},
        {"w_dim": 10**9},
        {"z_dim": "x"},
        {"channels": None},
        {"conv_clamp": "x"},
    ],
)
def test_a_file_cannot_ask_for_more_than_it_holds(tmp_path: Path, change: dict[str, Any]) -> None:
    network = Generator(GeneratorConfig(8, 4, 4, 1, {4: 2, 8: 3}))
    save_network(network, tmp_path / "g.safetensors")
    load_generator(tmp_path / "g.safetensors")
    state, metadata = open_weights(tmp_path / "g.safetensors")
    config = {**json.loads(metadata["config"]), **change}
    save_file(state, tmp_path / "g.safetensors", {**metadata, "config": json.dumps(config)})
    with pytest.raises(UserError, match=r"g\.safetensors: "):
        load_generator(tmp_path / "g.safetensors")


def test_precision_of_the_file(tmp_path: Path) -> None:
    network = Generator(GeneratorConfig(8, 4, 4, 1, {4: 2, 8: 3}))
    save_network(network, tmp_path / "g.safetensors", dtype=torch.float32)
    loaded = load_generator(tmp_path / "g.safetensors")
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
