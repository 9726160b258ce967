"""The names of the weights: ours and those of seasonSH/LiftedGAN's checkpoints."""

from __future__ import annotations

ENTRIES = {
    "netD": "depth",
    "netT": "transformation",
    "netSD": "decomposition",
    "netSC": "manipulation",
}
"""Entry of a released checkpoint -> our name of the network."""

AFFINE = {"scale": "10.weight", "shift": "10.bias"}
"""Of an `Embedding`. In a released file they have one row."""

EMBEDDINGS = {"embed_w": "embed_style", "embed_light": "embed_light", "embed_view": "embed_view"}

TO_W = "model.mlp."
STYLE_HEAD = "model_style.mlp."
"""A third head of netSD, with layers like those of M under `TO_W`. The released code overwrites
what it gives and never trains it, but every checkpoint has it. It is no module of ours: an import
checks that it is there as a whole or absent, and leaves it out."""


def upsampling(block: int) -> str:
    """Return netD's key of the convolution of an upsampling block, counted from 4x4."""
    return f"network.{4 + 6 * block}.weight"


def official_key(network: str, key: str, blocks: int) -> str:
    """Return the released name of a weight.

    Args:
        network: our name of its network, see `ENTRIES`.
        key: of that network's state dict.
        blocks: number of upsampling blocks between 4x4 and S/2.

    Raises:
        KeyError: no such network or weight.
    """
    module, _, parameter = key.rpartition(".")
    if parameter in AFFINE:
        return f"{EMBEDDINGS[module]}.mlp.{AFFINE[parameter]}"
    return f"{_MODULES[network](blocks)[module]}.{parameter}"


def _depth(blocks: int) -> dict[str, str]:
    names = _mlp("mapping", "mlp") | {"start": "network.0", "start_conv": "network.2"}
    for i in range(blocks):
        first = 4 + 6 * i
        names |= _block(f"ups.{i}", "network", first) | _block(f"convs.{i}", "network", first + 3)
    names |= {"inject": "inject", "to_depth": "head.6"}
    return names | _block("head.0", "head", 0) | _block("head.1", "head", 3)


def _transformation(blocks: int) -> dict[str, str]:
    names = _mlp("mapping", "mlp") | {"start": "network.0"}
    for i in range(blocks):
        names |= _block(f"ups.{i}", "network", 2 + 3 * i)
    # the nearest upsampling between them counts as one
    last = 3 + 3 * blocks
    return names | _block("head", "network", last) | {"to_map": f"network.{last + 3}"}


def _decomposition(_: int) -> dict[str, str]:
    return _mlp("light", "model_light.mlp") | _mlp("view", "model_view.mlp")


def _manipulation(_: int) -> dict[str, str]:
    names = _normed_mlp("to_w", "model.mlp")
    for ours, official in EMBEDDINGS.items():
        names |= _normed_mlp(f"{ours}.mlp", f"{official}.mlp")
    return names


_MODULES = {
    "depth": _depth,
    "transformation": _transformation,
    "decomposition": _decomposition,
    "manipulation": _manipulation,
}


def _block(ours: str, official: str, index: int) -> dict[str, str]:
    return {f"{ours}.conv": f"{official}.{index}", f"{ours}.norm": f"{official}.{index + 1}"}


def _mlp(ours: str, official: str) -> dict[str, str]:
    return {f"{ours}.layers.{i}": f"{official}.{2 * i}" for i in range(4)}


def _normed_mlp(ours: str, official: str) -> dict[str, str]:
    layers = {f"{ours}.layers.{i}": f"{official}.{3 * i}" for i in range(4)}
    return layers | {f"{ours}.norms.{i}": f"{official}.{3 * i + 1}" for i in range(3)}
