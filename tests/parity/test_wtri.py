"""W_tri's planes against our reading of the paper, composed of the released backbone's blocks."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.generators.eg3d.cameras import LABEL_DIM
from gan3d_bench.generators.eg3d.config import EG3DConfig
from gan3d_bench.generators.eg3d.generator import EG3DSynthesis
from gan3d_bench.generators.eg3d.wtri import TriplaneCodes, wtri_planes
from gan3d_bench.generators.stylegan2.generator import GeneratorConfig, channel_table
from gan3d_bench.generators.stylegan2.official_names import generator_names

FOLDER = Path(__file__).parent / "wtri_planes"
VECTOR = json.loads((FOLDER / "vector.json").read_text())
RELATIVE = 1e-4


def drawn(key: str, shape: list[int]) -> Tensor:
    rules = VECTOR["weights"]
    rule = next(rule for rule in rules["patterns"] if re.search(rule["regex"], key))
    seed = zlib.crc32((rules["key_prefix"] + key).encode()) & 0xFFFFFFFF
    values = rule.get("mean", 0.0) + rule["scale"] * np.random.RandomState(seed).randn(*shape)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def near(actual: Tensor, expected: Tensor) -> None:
    scale = float(expected.std())
    torch.testing.assert_close(actual, expected, rtol=RELATIVE, atol=RELATIVE * scale)


@torch.no_grad()
def test_planes() -> None:
    channels = channel_table(256, 2048, 32)
    own = GeneratorConfig(256, 512, 512, 2, channels, image_channels=96, label_dim=LABEL_DIM)
    synthesis = EG3DSynthesis(EG3DConfig(own))
    names = [
        name for name in generator_names(256, 2, True) if name.nvidia in VECTOR["weights"]["keys"]
    ]
    state = {
        name.ours.removeprefix("synthesis."): drawn(
            name.nvidia, VECTOR["weights"]["keys"][name.nvidia]
        )
        for name in names
    }
    shapes = synthesis.backbone.state_dict()
    state = {key: value.view(shapes[key].shape) for key, value in state.items()}
    synthesis.backbone.load_state_dict(state)
    inputs = {
        key: torch.from_numpy(
            (x["scale"] * np.random.RandomState(x["seed"]).randn(*x["shape"])).astype(np.float32)
        )
        for key, x in VECTOR["inputs"].items()
    }
    planes = torch.stack([inputs[f"w_{plane}"] for plane in ("xy", "xz", "yz")], 1)
    codes = TriplaneCodes(inputs["w_shared"], planes, torch.zeros(1, 1, 512))
    made = wtri_planes(synthesis, codes)
    with np.load(FOLDER / "outputs.npz") as arrays:
        found = {key: torch.from_numpy(arrays[key]) for key in arrays}
    near(made[..., 5::16, 5::16], found["planes_sample"])
    near(made.mean((3, 4)), found["planes_mean"])
    near(made.std((3, 4)), found["planes_std"])
