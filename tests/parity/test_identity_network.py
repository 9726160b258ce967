"""LiftedGAN's face embedding against outputs of the released code, to 1e-4."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gan3d_bench.faces.embeddings import FrozenIdentity
from gan3d_bench.faces.resnet_embedding import from_state

FOLDER = Path(__file__).parent / "liftedgan_losses"
VECTOR = json.loads((FOLDER / "vector.json").read_text())


def ruled() -> dict[str, Tensor]:
    """The weights that the vector's rule gives."""
    state = {}
    for key, rule in VECTOR["state_dicts"]["embed"].items():
        if "value" in rule:
            state[key] = torch.full(rule["shape"], rule["value"])
            continue
        values = np.random.RandomState(zlib.crc32(key.encode())).randn(*rule["shape"])
        state[key] = torch.from_numpy((rule["mean"] + rule["scale"] * values).astype(np.float32))
    return state


@pytest.fixture(scope="module")
def network() -> FrozenIdentity:
    return FrozenIdentity(from_state(ruled()), "vector")


def faces(index: int, size: int) -> Tensor:
    values = np.random.RandomState(VECTOR["seed"] + index).rand(2, 3, size, size)
    return torch.from_numpy((2 * values - 1).astype(np.float32))


def test_size_and_parameters() -> None:
    network = from_state(ruled())
    assert (network.image_size, network.width, network.dimensions) == (128, 64, 512)
    assert sum(p.numel() for p in network.parameters()) == 27_954_880


@torch.no_grad()
def test_embeddings_and_identity(network: FrozenIdentity) -> None:
    with np.load(FOLDER / "outputs.npz") as found:
        expected = {k: torch.from_numpy(found[k]) for k in ("embed_128", "embed_256", "identity")}
    small, large = network(faces(16, 128)), network(faces(17, 256))
    torch.testing.assert_close(small, expected["embed_128"], rtol=0, atol=1e-5)
    torch.testing.assert_close(large, expected["embed_256"], rtol=0, atol=1e-5)
    identity = (small - large).square().sum(1).mean()
    torch.testing.assert_close(identity, expected["identity"], rtol=1e-4, atol=0)
