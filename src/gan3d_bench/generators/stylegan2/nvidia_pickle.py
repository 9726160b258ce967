"""Networks in pickles of NVlabs/stylegan2-ada-pytorch (and of the StyleGAN2 of stylegan3).

Such a pickle holds the source text of its classes, which the official loader runs. Here it is
never looked at: the records of modules are walked by name for their tensors and for the few
attributes that change what a network computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gan3d_bench.errors import UserError
from gan3d_bench.files.pickles import Inert, Names, RefusedPickle, UnknownName, clip
from gan3d_bench.files.torch_files import StoredTensor

MAX_MODULES = 500
MAX_ENTRIES = 50
MAX_DEPTH = 6
MAPPING_LR = 0.01


@dataclass(frozen=True)
class Module:
    """A PyTorch module as a record: the name of its class and its attributes."""

    kind: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Network:
    """What a pickle tells of a network.

    Attributes:
        state: its state dict under the official names, still in the file.
        conv_clamp: limit of the activations, None for none.
        stddev_group: group size of the minibatch standard deviation; of discriminators.
    """

    state: dict[str, StoredTensor]
    conv_clamp: float | None
    stddev_group: int = 0


def _module(record: Any) -> Module:
    match record:
        case {"type": "class", "class_name": str(kind), "state": dict(attributes)}:
            return Module(kind, attributes)
    raise RefusedPickle("a module's record is damaged")


def _ignored(*_: Any) -> None:
    """Numbers derived from a network's shape, and sets of names: nothing needs them."""


NAMES: Names = {
    "torch_utils.persistence._reconstruct_persistent_obj": _module,
    "dnnlib.util.EasyDict": lambda: {},
    "builtins.set": _ignored,
    "__builtin__.set": _ignored,
    "numpy.dtype": _ignored,
    "numpy.core.multiarray.scalar": _ignored,
    "numpy._core.multiarray.scalar": _ignored,
    # of StyleGAN3, to be told by its name
    "numpy.ndarray": None,
    "numpy.core.multiarray._reconstruct": _ignored,
    "numpy._core.multiarray._reconstruct": _ignored,
}


def explain(error: UnknownName) -> str:
    """Return what a file is that asks for a name which is not in `NAMES`."""
    if error.name.startswith(("dnnlib.tflib.", "tfutil.")):
        return "a TensorFlow pickle; convert it with legacy.py of stylegan2-ada-pytorch first"
    return str(error)


def foreign(content: Any, wanted: str, expected: str) -> UserError:
    """Return the error for a file whose `content` has nothing called as `wanted`."""
    for part in (content, *(content if isinstance(content, list | tuple) else ())):
        if isinstance(part, Inert):
            reason = explain(UnknownName(part.name))
            return UserError(f"{reason}; expected {expected}")
    keys = list(content)[:5] if isinstance(content, dict) else []
    shown = f" but {', '.join(clip(str(key), 20) for key in keys)}" if keys else ""
    return UserError(f"no {wanted} in it{shown}; expected {expected}")


def read_generator(record: Any) -> Network:
    """Return what ``G_ema`` of a pickle holds.

    Raises:
        UserError: not a StyleGAN2 generator that ours computes the same as; the message says
            what it is.
        RefusedPickle: its record is damaged.
    """
    modules = walk(record, "Generator")
    _require_image(modules[""])
    if "synthesis.b4" not in modules:
        raise UserError(
            "a StyleGAN3 generator, expected StyleGAN2"
            if "synthesis.input" in modules
            else "a generator without a block synthesis.b4, expected StyleGAN2's"
        )
    require(modules, "architecture", ("skip",))
    require(modules, "activation", ("lrelu", "linear"))
    layers = {name: m for name, m in modules.items() if name.startswith("mapping.fc")}
    require(layers, "bias_gain", (MAPPING_LR,))
    return Network(tensors_of(modules), clamp_of(modules.values()))


def read_discriminator(record: Any) -> Network:
    """Return what ``D`` of a pickle holds.

    Raises:
        UserError: not a StyleGAN2 discriminator that ours computes the same as; the message
            says what it is.
        RefusedPickle: its record is damaged.
    """
    modules = walk(record, "Discriminator")
    _require_image(modules[""])
    return discriminator_of(modules)


def discriminator_of(modules: dict[str, Module]) -> Network:
    """Return what the modules of a discriminator (`walk`) hold, with or without labels.

    Raises:
        UserError, RefusedPickle: as of `read_discriminator`.
    """
    require(modules, "architecture", ("resnet",))
    require(modules, "activation", ("lrelu", "linear"))
    stddev = modules.get("b4.mbstd")
    if stddev is None or stddev.attributes.get("num_channels") != 1:
        raise UserError("expected a minibatch standard deviation of one channel")
    group = stddev.attributes.get("group_size")
    if not (group is None or (type(group) is int and group > 0)):
        raise UserError("mbstd group_size: expected a number above 0 or none")
    clamped = [m for name, m in modules.items() if not name.endswith(".skip")]
    # without a size the whole batch is one group
    return Network(tensors_of(modules), clamp_of(clamped), group or 2**31)


def walk(record: Any, kind: str, family: str = "StyleGAN2") -> dict[str, Module]:
    """Return the modules of a network by their paths; "" is the network itself.

    Args:
        record: what a pickle holds where the network is expected.
        kind: its class.
        family: whose class that is, for the error.

    Raises:
        UserError: a network of another class, or none.
        RefusedPickle: a damaged record, or too many modules.
    """
    if isinstance(record, Inert):
        raise UnknownName(record.name)
    if not isinstance(record, Module) or record.kind != kind:
        found = clip(record.kind) if isinstance(record, Module) else "no network"
        raise UserError(f"{found}, expected a {kind} of {family}")
    found, waiting = {}, [("", record)]
    while waiting:
        path, module = waiting.pop()
        found[path] = module
        if path.count(".") > MAX_DEPTH or len(found) > MAX_MODULES:
            raise RefusedPickle("a network with too many modules")
        prefix = f"{path}." if path else ""
        for name, child in _entries(module, "_modules", lambda child: isinstance(child, Module)):
            waiting.append((prefix + name, child))
    return found


def tensors_of(modules: dict[str, Module]) -> dict[str, StoredTensor]:
    """Return the state dict of a network, still in the file, from its modules (`walk`)."""
    return {
        f"{path}.{name}".lstrip("."): tensor
        for path, module in modules.items()
        for part in ("_parameters", "_buffers")
        for name, tensor in _entries(module, part, lambda x: isinstance(x, StoredTensor))
    }


def _entries(module: Module, part: str, valid: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    entries = module.attributes.get(part)
    if not isinstance(entries, dict):
        raise RefusedPickle(f"a module without {part}")
    named = [(name, entry) for name, entry in entries.items() if entry is not None]
    for _, entry in named:
        if isinstance(entry, Inert):
            raise UnknownName(entry.name)
    if len(named) > MAX_ENTRIES or not all(
        type(name) is str and len(name) < 100 and valid(entry) for name, entry in named
    ):
        raise RefusedPickle(f"{part} of a module is damaged")
    return named


def _require_image(network: Module) -> None:
    classes, channels = (network.attributes.get(key) for key in ("c_dim", "img_channels"))
    if classes != 0:
        raise UserError(f"a conditional network (c_dim={_show(classes)}), expected c_dim=0")
    if channels != 3:
        raise UserError(f"img_channels={_show(channels)}, expected 3 (RGB)")


def require(modules: dict[str, Module], key: str, allowed: tuple[Any, ...]) -> None:
    """Check an attribute of those modules that have it.

    Raises:
        UserError: one has another value than the `allowed` ones.
    """
    for path, module in modules.items():
        value = module.attributes.get(key, allowed[0])
        if value not in allowed:
            raise UserError(f"{clip(path)} has {key}={_show(value)}, expected {allowed[0]}")


def clamp_of(modules: Iterable[Module]) -> float | None:
    """Return the limit of the activations of modules, None for none.

    Raises:
        UserError: it is not the same for all, or no number above 0.
    """
    values = [m.attributes["conv_clamp"] for m in modules if "conv_clamp" in m.attributes]
    if not all(v is None or (type(v) in (int, float) and v > 0) for v in values):
        raise UserError("conv_clamp: expected a number above 0 or none")
    if len(set(values)) > 1:
        raise UserError("conv_clamp: expected the same for all layers")
    return float(values[0]) if values and values[0] is not None else None


def _show(value: Any) -> str:
    return clip(value) if type(value) is str else str(value) if type(value) is int else "something"
