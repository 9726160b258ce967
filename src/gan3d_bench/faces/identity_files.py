"""Files of identity networks: our safetensors, LiftedGAN's ``lresnet_casia.pth.tar``, IR-SE50's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan3d_bench.errors import UserError
from gan3d_bench.faces.irse import IRSEEmbedding
from gan3d_bench.faces.resnet_embedding import DROPPED, ResNetEmbedding, from_state
from gan3d_bench.files.pickles import Inert, RefusedPickle, UnknownName
from gan3d_bench.files.torch_files import load_tensors, read_file
from gan3d_bench.files.weights import (
    is_state,
    read_torch,
    read_weights,
    require_weights,
    save_weights,
    shapes_of,
    without_wrappers,
)

PURPOSE = "face embedding"
"""Of the safetensors that hold one, see `weights.save_weights`."""
NETWORK = "network.safetensors"
"""Their name in a folder that `import` or a tool wrote."""
REPOSITORY = "seasonSH/LiftedGAN"
OFFICIAL = f"{REPOSITORY}'s lresnet_casia.pth.tar"
IRSE = "model_ir_se50.pth of TreB1eN/InsightFace_Pytorch, which pSp, e4e and ReStyle use"


def read_network(path: Path) -> ResNetEmbedding:
    """Read a file of weights: ours (safetensors) or the official one, in evaluation mode.

    Raises:
        UserError: missing, damaged, hostile or foreign file, or weights of another network.
    """
    try:
        if path.suffix == ".safetensors":
            return from_state(read_weights(path, PURPOSE)[0])
        return read_official(path)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def read_official(path: Path) -> ResNetEmbedding:
    """Read LiftedGAN's face embedding file. Its content tells the format; nothing in it is run.

    Raises:
        UserError: missing, damaged, hostile or foreign file. The message leaves it to the caller
            to name the file.
    """
    expected = f"expected one as {OFFICIAL}"
    try:
        content = read_file(path, {}, inert=True)
        if isinstance(content, Inert):
            raise UnknownName(content.name)
        if not isinstance(content, dict) or "model_state_dict" not in content:
            raise UserError(f"no model_state_dict in it; {expected}")
        state = load_tensors(content["model_state_dict"], path.stat().st_size)
    except RefusedPickle as error:
        raise UserError(f"not readable: {error}; {expected}") from error
    return from_state(without_wrappers(state))


def read_irse(path: Path) -> dict[str, Tensor]:
    """Read the weights of `IRSEEmbedding` of the released size, in float32.

    Raises:
        UserError: missing, damaged, hostile or foreign file.
    """
    try:
        content = read_torch(path, IRSE)
        if not is_state(content):
            raise UserError(f"no weights in it; expected {IRSE}")
        state = {k: v.float() for k, v in content.items() if DROPPED not in k}
        with torch.device("meta"):
            shapes = shapes_of(IRSEEmbedding())
        require_weights(state, {k: v for k, v in shapes.items() if DROPPED not in k})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return {**state, **{k: torch.tensor(0) for k in shapes if DROPPED in k}}


def save_network(network: ResNetEmbedding, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write what `read_network` reads: without the counters that evaluation does not need.

    Raises:
        UserError: the file cannot be written.
    """
    state = {key: value for key, value in network.state_dict().items() if DROPPED not in key}
    facts = {"image_size": str(network.image_size)}
    save_weights(path, state, PURPOSE, facts, dtype)


def import_file(source: Path, folder: Path) -> dict[str, Any]:
    """Write the network of an official file to `folder`, in float32; return the card's facts.

    Raises:
        UserError: see `read_official`.
    """
    network = read_official(source)
    save_network(network, folder / NETWORK, torch.float32)
    return {
        "origin": REPOSITORY,
        "image_size": network.image_size,
        "width": network.width,
        "dimensions": network.dimensions,
        "parameters": {"network": sum(p.numel() for p in network.parameters())},
    }
