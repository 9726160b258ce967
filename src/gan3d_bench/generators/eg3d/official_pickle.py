"""Networks in the pickles of NVlabs/eg3d: nothing in them is run, see `nvidia_pickle`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gan3d_bench.errors import UserError
from gan3d_bench.files.pickles import Names, RefusedPickle
from gan3d_bench.files.torch_files import StoredTensor
from gan3d_bench.generators.stylegan2 import nvidia_pickle
from gan3d_bench.generators.stylegan2.nvidia_pickle import (
    MAPPING_LR,
    Module,
    Network,
    clamp_of,
    require,
    tensors_of,
    walk,
)

FAMILY = "EG3D"
BY_NAME = (
    "training.triplane.OSGDecoder",
    "training.volumetric_rendering.renderer.ImportanceRenderer",
    "training.volumetric_rendering.ray_marcher.MipRayMarcher2",
    "training.volumetric_rendering.ray_sampler.RaySampler",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.activation.Softplus",
)
"""Classes of modules that are not stored with their source, but by their names."""


def _plain(name: str) -> Callable[..., Module]:
    def make(*_: Any) -> Module:
        return Module(name.rpartition(".")[2], {})

    return make


NAMES: Names = {**nvidia_pickle.NAMES, **{name: _plain(name) for name in BY_NAME}}


def build(made: Any, state: Any) -> None:
    """Give a module that is stored by the name of its class its attributes."""
    if isinstance(made, Module) and isinstance(state, dict):
        made.attributes.update(state)


@dataclass(frozen=True)
class GeneratorRecord:
    """What a pickle tells of a generator.

    Attributes:
        state: its state dict under the released names, still in the file.
        options: its `rendering_kwargs`.
        plane_axes: (3, 3, 3) of its renderer, still in the file.
        super_resolution: class of its super-resolution network.
        volume_size: side of the volume's picture when it was last used.
        image_size: that it was made for.
        conv_clamp, sr_clamp: limits of the activations in backbone and super-resolution.
    """

    state: dict[str, StoredTensor]
    options: dict[str, Any]
    plane_axes: StoredTensor
    super_resolution: str
    volume_size: int
    image_size: int
    conv_clamp: float | None
    sr_clamp: float | None


def read_generator(record: Any) -> GeneratorRecord:
    """Return what ``G_ema`` of a pickle holds.

    Raises:
        UserError: not an EG3D generator that ours computes the same as; the message says what it
            is.
        RefusedPickle: its record is damaged.
    """
    modules = walk(record, "TriPlaneGenerator", FAMILY)
    root = modules[""].attributes
    for path, kind in (("decoder", "OSGDecoder"), ("renderer", "ImportanceRenderer")):
        found = modules.get(path)
        if found is None or found.kind != kind:
            raise UserError(f"a generator whose {path} is no {kind}, expected EG3D's")
    if "superresolution" not in modules:
        raise UserError("a generator without a superresolution, expected EG3D's")
    require(modules, "architecture", ("skip",))
    require(modules, "activation", ("lrelu", "linear"))
    fully = {name: m for name, m in modules.items() if name.startswith("backbone.mapping.fc")}
    require(fully, "bias_gain", (MAPPING_LR,))
    created, options = root.get("_init_kwargs"), root.get("rendering_kwargs")
    if not isinstance(created, dict):
        raise RefusedPickle("a generator without _init_kwargs")
    if options is None:
        options = created.get("rendering_kwargs")
    if not isinstance(options, dict):
        raise RefusedPickle("a generator without rendering_kwargs")
    axes = modules["renderer"].attributes.get("plane_axes")
    if not isinstance(axes, StoredTensor):
        raise UserError("a renderer without plane_axes, expected those it was trained with")
    parts = {
        part: [m for name, m in modules.items() if name.startswith(f"{part}.")]
        for part in ("backbone", "superresolution")
    }
    return GeneratorRecord(
        tensors_of(modules),
        options,
        axes,
        modules["superresolution"].kind,
        _whole(root, "neural_rendering_resolution"),
        _whole(root, "img_resolution"),
        clamp_of(parts["backbone"]),
        clamp_of(parts["superresolution"]),
    )


def read_discriminator(record: Any) -> Network:
    """Return what ``D`` of a pickle holds.

    Raises:
        UserError: no dual discriminator that ours computes the same as.
        RefusedPickle: its record is damaged.
    """
    return nvidia_pickle.discriminator_of(walk(record, "DualDiscriminator", FAMILY))


def _whole(attributes: dict[str, Any], key: str) -> int:
    value = attributes.get(key)
    if type(value) is not int:
        raise RefusedPickle(f"a generator without {key}")
    return value
