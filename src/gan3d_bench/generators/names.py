"""What a key ``teacher`` may say. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gan3d_bench.assets.manifest import sha256_of
from gan3d_bench.config import key
from gan3d_bench.machine.environment import asset_hash
from gan3d_bench.registry import registry
from gan3d_bench.spec import GeneratorSpec, Pretrained

RANDOM = "random-"
RANDOM_EG3D = "random-eg3d"


def pretrained() -> dict[str, tuple[GeneratorSpec, Pretrained]]:
    """Return the teachers that have names, with their families."""
    return {
        name: (spec, teacher)
        for spec in registry("generators").specs.values()
        for name, teacher in spec.teachers.items()
    }


def teacher_names() -> set[str]:
    """Return what is a name and no path."""
    return {*pretrained(), *(f"{RANDOM}{size}" for size in (16, 32)), RANDOM_EG3D}


def expected_teachers() -> str:
    """Return in words what a teacher may be."""
    return (
        f"a teacher's name ({', '.join(sorted(pretrained()))}), a folder that `gan3d-bench import` "
        "or a stylegan2 run made, or an official StyleGAN2 file (.pt with g_ema, .pkl)"
    )


def teacher_key(default: str = "") -> Any:
    """The key ``teacher`` of a config; without a default it has to be given."""
    return key(
        default,
        "the GAN: a name, a folder or an official StyleGAN2 file",
        required=expected_teachers,
        path=True,
        names=teacher_names,
    )


def teacher_hash(name: str) -> Any:
    """SHA-256 of the file or files a teacher was read from; None for a random one."""
    if name in pretrained():
        return asset_hash(pretrained()[name][1].asset)
    path = Path(name)
    if not path.exists():
        path = Path(name.partition(":")[2] or name)
    if path.is_dir():
        return {file.name: sha256_of(file) for file in sorted(path.glob("*.safetensors"))}
    return sha256_of(path) if path.is_file() else None
