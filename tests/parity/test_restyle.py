"""ReStyle's encoders, identity loss and optimiser give what the released code gives."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan3d_bench.faces.irse import IRSEEmbedding, identity_crop
from gan3d_bench.generators.encoders import (
    BackboneEncoder,
    GradualStyleEncoder,
    ProgressiveBackboneEncoder,
    Ranger,
)

HERE = Path(__file__).parent


def read(name: str) -> tuple[dict, dict[str, Tensor]]:
    arrays = np.load(HERE / name / "outputs.npz")
    vector = json.loads((HERE / name / "vector.json").read_text())
    return vector, {key: torch.from_numpy(arrays[key]).float() for key in arrays}


def draw(rules: list[dict], keys: dict[str, list[int]]) -> dict[str, Tensor]:
    """State dict by the vector's rule for weights."""
    state = {}
    for key, shape in keys.items():
        rule = next(rule for rule in rules if re.search(rule["regex"], key))
        if rule.get("int0"):
            state[key] = torch.zeros(shape, dtype=torch.long)
            continue
        values = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF).randn(*shape)
        values = np.abs(values) if rule.get("abs") else values
        scale = rule["scale"]
        if scale == "fan_in":
            scale = rule.get("gain", 1.0) / np.sqrt(np.prod(shape[1:]))
        values = rule.get("mean", 0.0) + scale * values
        state[key] = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return state


def filled(make: Callable[[], nn.Module], vector: dict, name: str = "") -> nn.Module:
    """A network with the vector's weights under the released names, all of them and no other."""
    keys = vector["weights"]["keys"]
    with torch.device("meta"):  # nothing is drawn that is replaced at once
        network = make()
    state = draw(vector["weights"]["patterns"], keys[name] if name else keys)
    network.load_state_dict(state, assign=True)
    return network.eval()


def uniform(rule: dict) -> Tensor:
    values = np.random.RandomState(rule["seed"]).rand(*rule["shape"])
    return torch.from_numpy((rule["shift"] + rule["scale"] * values).astype(np.float32))


def near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def restyle() -> tuple[dict, dict[str, Tensor]]:
    return read("restyle_encoder")


@torch.no_grad()
def test_backbone_and_progressive_encoders(restyle: tuple) -> None:
    vector, found = restyle
    with torch.device("meta"):
        whole = BackboneEncoder(14)
    assert sum(p.numel() for p in whole.parameters()) == 166_778_240
    encoder = filled(lambda: BackboneEncoder(3), vector, "backbone")
    for size in ("x64", "x256"):
        images = uniform(vector["inputs"][size])
        near(encoder(images), found[f"backbone.codes_{size}"])
        near(encoder.stages(images)[-1][:, ::16], found[f"backbone.features_{size}"])
    with torch.device("meta"):
        progressive = ProgressiveBackboneEncoder(3)
    progressive.load_state_dict(encoder.state_dict(), assign=True)
    progressive.eval()
    images = uniform(vector["inputs"]["x64"])
    for progressive.stage in (0, 1, 18):
        near(progressive(images), found[f"e4e.codes_stage{progressive.stage}"])


@torch.no_grad()
def test_gradual_encoder(restyle: tuple) -> None:
    vector, found = restyle
    with torch.device("meta"):
        whole = GradualStyleEncoder(14)
    assert sum(p.numel() for p in whole.parameters()) == 209_452_416
    encoder = filled(lambda: GradualStyleEncoder(9), vector, "gradual")
    near(encoder(uniform(vector["inputs"]["x64"])), found["gradual.codes"])


@torch.no_grad()
def test_identity_loss() -> None:
    vector, found = read("arcface_irse50")
    network = filled(IRSEEmbedding, vector)
    a, noise = (
        uniform(vector["inputs"][key]).repeat_interleave(16, 2).repeat_interleave(16, 3)
        for key in ("a", "noise")
    )
    crops = [identity_crop(x) for x in (a, 0.7 * a + 0.3 * noise)]
    torch.testing.assert_close(crops[0][:, :, ::4, ::4], found["pooled_a"], rtol=0, atol=2e-5)
    one, other = (network(x) for x in crops)
    torch.testing.assert_close(one, found["features_a"], rtol=0, atol=2e-5)
    torch.testing.assert_close(other, found["features_b"], rtol=0, atol=2e-5)
    loss = (1 - (one * other).sum(1)).mean()
    torch.testing.assert_close(loss[None], found["id_loss"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("resumed", [None, 4, 6, 9])
def test_ranger(resumed: int | None) -> None:
    """The trajectory, also of an optimiser that is saved and loaded on the way."""
    vector, found = read("ranger")
    config, rng = vector["config"], np.random.RandomState(vector["inputs"]["seed"])
    shapes = vector["inputs"]["shapes"]

    def drawn() -> list[Tensor]:
        return [torch.from_numpy(rng.randn(*s).astype(np.float32)) for s in shapes.values()]

    weights = [nn.Parameter(x) for x in drawn()]
    settings = {"lr": config["lr"], "betas": tuple(config["betas"]), "eps": config["eps"]}
    settings |= {"every": config["k"], "alpha": config["alpha"]}
    optimizer = Ranger(weights, **settings)
    for step in range(config["steps"]):
        if step == resumed:
            state = optimizer.state_dict()
            optimizer = Ranger(weights, **settings)
            optimizer.load_state_dict(state)
        for p, grad in zip(weights, drawn(), strict=True):
            p.grad = grad
        optimizer.step()
        for name, p in zip(shapes, weights, strict=True):
            expected = found[f"{name}.trajectory"][step]
            torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-5)
