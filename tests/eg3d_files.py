"""Pickles as NVlabs/eg3d writes them, made here from the names that its classes go by."""

from __future__ import annotations

import copy
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from official_files import EasyDict, Persistent, nvidia_modules, pickled
from torch import Tensor, nn

BUFFERS = ("resample_filter", "noise_const", "w_avg", "dataset_label_std")
RELEASED_AXES = [
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[1, 0, 0], [0, 0, 1], [0, 1, 0]],
    [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
]
CORRECTED_AXES = [*RELEASED_AXES[:2], [[0, 0, 1], [0, 1, 0], [1, 0, 0]]]


class OSGDecoder(nn.Module):
    pass


class ImportanceRenderer(nn.Module):
    pass


class MipRayMarcher2(nn.Module):
    pass


class RaySampler(nn.Module):
    pass


HOMES = {
    "training.triplane": OSGDecoder,
    "training.volumetric_rendering.renderer": ImportanceRenderer,
    "training.volumetric_rendering.ray_marcher": MipRayMarcher2,
    "training.volumetric_rendering.ray_sampler": RaySampler,
}


@contextmanager
def official_modules() -> Iterator[None]:
    """The names that these four classes go by in a pickle."""
    added = {}
    for path, member in HOMES.items():
        parts = path.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            added.setdefault(name, types.ModuleType(name))
        setattr(added[path], member.__name__, member)
        member.__module__ = path
    sys.modules.update(added)
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


def dumps(content: Any, protocol: int = 4) -> bytes:
    with official_modules():
        return pickled(content, protocol)


def snapshot(
    state: dict[str, Tensor],
    options: dict[str, Any],
    config: dict[str, Any],
    *,
    discriminator: dict[str, Tensor] | None = None,
    axes: Any = RELEASED_AXES,
) -> dict[str, Any]:
    """A training snapshot: G, G_ema and D as records, as objects that may be changed.

    Args:
        state: of G_ema, released names.
        options: its rendering_kwargs.
        config: z_dim, img_resolution, neural_rendering_resolution.
        discriminator: state of D, released names; None for none.
        axes: of the planes.
    """
    generator = _record(_tree(state), "", _generator_class(options))
    generator.state.update(
        {
            "_init_args": (),
            "_init_kwargs": EasyDict(
                z_dim=config["z_dim"],
                c_dim=25,
                w_dim=512,
                img_resolution=config["img_resolution"],
                img_channels=3,
                rendering_kwargs=EasyDict(options),
            ),
            "z_dim": config["z_dim"],
            "c_dim": 25,
            "img_resolution": config["img_resolution"],
            "img_channels": 3,
            "neural_rendering_resolution": config["neural_rendering_resolution"],
            "rendering_kwargs": EasyDict(options),
            "_last_planes": None,
        }
    )
    renderer, sampler = ImportanceRenderer(), RaySampler()
    renderer.ray_marcher = MipRayMarcher2()
    renderer.plane_axes = torch.tensor(axes, dtype=torch.float32)
    sampler.ray_origins_h = sampler.depths = None
    generator.state["_modules"].update(renderer=renderer, ray_sampler=sampler)
    content: dict[str, Any] = {
        "training_set_kwargs": {"path": "faces.zip", "use_labels": True},
        "G": None,
        "D": None,
        "G_ema": generator,
        "augment_pipe": None,
    }
    if discriminator is not None:
        tree = _tree(discriminator)
        tree["b4"]["mbstd"] = {}
        content["D"] = _record(tree, "", _discriminator_class)
        content["D"].child("b4.mbstd").state.update(group_size=4, num_channels=1)
    return content


def changed(content: dict[str, Any]) -> dict[str, Any]:
    """A copy whose records can be changed without changing `content`."""
    with nvidia_modules():
        return copy.deepcopy(content)


def _tree(state: dict[str, Tensor]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in state.items():
        *path, name = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[name] = value
    return tree


def _record(tree: dict[str, Any], path: str, kind: Any) -> Any:
    """A module of the tensors and children in `tree`."""
    own = {k: v for k, v in tree.items() if isinstance(v, Tensor)}
    children = {k: v for k, v in tree.items() if not isinstance(v, Tensor)}
    name = kind(path)
    modules = OrderedDict(
        (k, _record(v, f"{path}.{k}".lstrip("."), kind)) for k, v in children.items()
    )
    if name == "OSGDecoder":
        decoder = OSGDecoder()
        decoder._modules.update(modules)
        decoder.hidden_dim = 64
        return decoder
    if name == "Sequential":
        layers = nn.Sequential()
        layers._modules.update({"0": modules["0"], "1": nn.Softplus(), "2": modules["2"]})
        return layers
    state: dict[str, Any] = {
        "training": False,
        "_parameters": OrderedDict(
            (k, nn.Parameter(v, requires_grad=False)) for k, v in own.items() if k not in BUFFERS
        ),
        "_buffers": OrderedDict((k, v) for k, v in own.items() if k in BUFFERS),
        "_non_persistent_buffers_set": set(),
        "_modules": modules,
        **_attributes(path, name),
    }
    meta = {
        "type": "class",
        "version": 6,
        "module_src": "raise SystemExit('this is never run')",
        "class_name": name,
        "state": state,
    }
    return Persistent(meta)


def _attributes(path: str, name: str) -> dict[str, Any]:
    if name == "FullyConnectedLayer":
        mapping = path.rpartition(".")[2].startswith("fc") and "mapping" in path
        return {"activation": "lrelu" if mapping else "linear", "bias_gain": 0.01 if mapping else 1}
    if name in ("SynthesisBlock", "SynthesisBlockNoUp"):
        return {"architecture": "skip"}
    if name == "DiscriminatorBlock":
        return {"architecture": "resnet"}
    if name in ("SynthesisLayer", "ToRGBLayer"):
        clamp = 256 if path.startswith("superresolution") else None
        return {"conv_clamp": clamp, "activation": "lrelu"}
    if name == "Conv2dLayer":
        return {"conv_clamp": 256, "activation": "lrelu"}
    return {}


def _generator_class(options: dict[str, Any]) -> Any:
    upscaling = options["superresolution_module"].rpartition(".")[2]

    def kind(path: str) -> str:
        whole = {
            "": "TriPlaneGenerator",
            "backbone": "StyleGAN2Backbone",
            "backbone.mapping": "MappingNetwork",
            "backbone.synthesis": "SynthesisNetwork",
            "superresolution": upscaling,
            "superresolution.block0": "SynthesisBlockNoUp",
            "decoder": "OSGDecoder",
            "decoder.net": "Sequential",
        }
        if path in whole:
            return whole[path]
        last = path.rpartition(".")[2]
        if last.startswith("conv"):
            return "SynthesisLayer"
        if last == "torgb":
            return "ToRGBLayer"
        return "SynthesisBlock" if last.startswith("b") else "FullyConnectedLayer"

    return kind


def _discriminator_class(path: str) -> str:
    last = path.rpartition(".")[2]
    whole = {"": "DualDiscriminator", "mapping": "MappingNetwork", "b4": "DiscriminatorEpilogue"}
    if path in whole:
        return whole[path]
    if last == "mbstd":
        return "MinibatchStdLayer"
    if path.startswith("mapping") or last in ("fc", "out"):
        return "FullyConnectedLayer"
    return "DiscriminatorBlock" if last.startswith("b") else "Conv2dLayer"
