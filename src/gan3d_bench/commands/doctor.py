"""``gan3d-bench doctor``: what this installation has, lacks, and how to mend it."""

from __future__ import annotations

import importlib
import platform
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from gan3d_bench import __version__
from gan3d_bench.machine.environment import PACKAGES, installed_version
from gan3d_bench.registry import BUILTIN, registry


def doctor() -> int:
    """Print versions, devices, assets, plug-ins, tools and folders; return the exit code.

    The code is 1 if something the suite always needs is broken, 0 otherwise: a missing asset only
    locks what it unlocks.
    """
    broken = 0
    for title, lines in (
        ("versions", _versions()),
        ("devices", _devices()),
        ("tools", _tools()),
        ("assets", _assets()),
        ("plug-ins", _plugins()),
        ("folders", _folders()),
    ):
        print(title)
        for name, text, sound in lines:
            print(f"  {name:18} {text}")
            broken += not sound
    return 1 if broken else 0


Line = tuple[str, str, bool]


def _versions() -> Iterator[Line]:
    yield "gan3d-bench", __version__, True
    yield "python", f"{platform.python_version()} on {platform.platform()}", True
    for name in PACKAGES:
        found = installed_version(name)
        yield name, found or "not installed", found is not None


def _devices() -> Iterator[Line]:
    import torch

    from gan3d_bench.machine.environment import machine

    here = machine()
    memory = f", {here['memory_gib']} GiB" if here["memory_gib"] else ""
    yield "cpu", f"{here['processor']}, {here['cores']} cores{memory}", True
    yield "threads", f"{torch.get_num_threads()} (trainer.threads, OMP_NUM_THREADS)", True
    for index, name in enumerate(here["gpus"]):
        size = torch.cuda.get_device_properties(index).total_memory / 2**30
        yield f"gpu {index}", f"{name}, {size:.0f} GiB, CUDA {here['cuda']}", True
    if not here["gpus"]:
        yield "gpu", "none: the 64-pixel presets run on the CPU", True


def _tools() -> Iterator[Line]:
    for module, purpose in (
        ("pytorch3d", "engine 'pytorch3d', mesh losses"),
        ("kornia", "augmentation, colour, filters"),
        ("trimesh", "meshes (GLB)"),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(module)
            yield module, f"imports ({purpose})", True
        except Exception as error:  # a compiled package may fail to load in many ways
            reason = " ".join(str(error).split())[:200]
            yield module, f"does not import: {type(error).__name__}: {reason}", False
    try:
        import imageio_ffmpeg

        yield "ffmpeg", imageio_ffmpeg.get_ffmpeg_exe(), True
    except (ImportError, RuntimeError):
        yield "ffmpeg", "not found: no turntables (MP4); pip install imageio-ffmpeg", False


def _assets() -> Iterator[Line]:
    from gan3d_bench.assets.registry import PackagedAsset
    from gan3d_bench.assets.registry import registry as assets
    from gan3d_bench.assets.store import is_present

    for name, asset in assets().assets.items():
        if is_present(name):
            yield name, f"present; unlocks {asset.unlocks}", True
        elif isinstance(asset, PackagedAsset):
            command = f"gan3d-bench assets fetch {name}"
            yield name, f"missing; would unlock {asset.unlocks}: {command}", True
        else:
            yield name, f"missing in this installation; would unlock {asset.unlocks}", False


def _plugins() -> Iterator[Line]:
    from gan3d_bench.assets.registry import registry as assets

    broken = False
    for kind in BUILTIN:
        found = registry(kind)
        joined = [name for name in found.names() if name not in BUILTIN[kind]]
        if joined:
            yield kind, ", ".join(joined), True
        for name, reason in found.broken.items():
            broken = True
            yield name, f"left out of {kind}: {reason}", name not in BUILTIN[kind]
    for name, reason in assets().broken.items():
        broken = True
        yield name, f"left out of assets: {reason}", True
    if not broken:
        yield "failed", "none", True


def _folders() -> Iterator[Line]:
    from gan3d_bench.assets.store import cache_dir
    from gan3d_bench.training.run_folder import runs_root

    for name, folder in (("cache", cache_dir()), ("runs", runs_root())):
        yield name, f"{folder} ({_free(folder):.1f} GB free)", True


def _free(folder: Path) -> float:
    """Return the free space (GB) where `folder` is or would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free / 1e9
