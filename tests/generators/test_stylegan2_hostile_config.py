"""Network files whose architecture is damaged or asks for more than the file holds."""

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
    load_discriminator,
    load_generator,
    save_network,
)

CHANNELS = {4: 2, 8: 3}


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
        {"image_channels": 10**9},
        {"image_channels": "x"},
        {"label_dim": 10**9},
        {"label_dim": -1},
        {"label_dim": "x"},
    ],
)
def test_a_file_cannot_ask_for_more_than_it_holds(tmp_path: Path, change: dict[str, Any]) -> None:
    network = Generator(GeneratorConfig(8, 4, 4, 1, CHANNELS))
    save_network(network, tmp_path / "g.safetensors")
    load_generator(tmp_path / "g.safetensors")
    state, metadata = open_weights(tmp_path / "g.safetensors")
    config = {**json.loads(metadata["config"]), **change}
    save_file(state, tmp_path / "g.safetensors", {**metadata, "config": json.dumps(config)})
    with pytest.raises(UserError, match=r"g\.safetensors: "):
        load_generator(tmp_path / "g.safetensors")


@pytest.mark.parametrize(
    "change", [{"mapping_layers": 10**12}, {"cmap_dim": 10**9}, {"label_dim": 0}, {"channels": {}}]
)
def test_nor_can_a_conditional_discriminator(tmp_path: Path, change: dict[str, Any]) -> None:
    network = Discriminator(DiscriminatorConfig(8, CHANNELS, label_dim=2, mapping_layers=2))
    save_network(network, tmp_path / "d.safetensors")
    load_discriminator(tmp_path / "d.safetensors")
    state, metadata = open_weights(tmp_path / "d.safetensors")
    config = {**json.loads(metadata["config"]), **change}
    save_file(state, tmp_path / "d.safetensors", {**metadata, "config": json.dumps(config)})
    with pytest.raises(UserError, match=r"d\.safetensors: "):
        load_discriminator(tmp_path / "d.safetensors")


@pytest.mark.parametrize(
    "config", ["[" * 100_000, '{"a":' * 100_000, "[]", "3", '{"channels": {"4": 1e999}}', "{"]
)
def test_a_card_that_is_none(tmp_path: Path, config: str) -> None:
    save_network(Generator(GeneratorConfig(8, 4, 4, 1, CHANNELS)), tmp_path / "g.safetensors")
    state, metadata = open_weights(tmp_path / "g.safetensors")
    save_file(state, tmp_path / "g.safetensors", {**metadata, "config": config})
    with pytest.raises(UserError, match=r"g\.safetensors: its architecture is missing or damaged"):
        load_generator(tmp_path / "g.safetensors")


def test_precision_of_the_file(tmp_path: Path) -> None:
    network = Generator(GeneratorConfig(8, 4, 4, 1, CHANNELS))
    save_network(network, tmp_path / "g.safetensors", dtype=torch.float32)
    loaded = load_generator(tmp_path / "g.safetensors")
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
