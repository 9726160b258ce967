"""``gan3d-bench doctor``: what this installation has, lacks, and how to mend it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from gan3d_bench import __version__
from gan3d_bench.machine.environment import PACKAGES, installed_version
from gan3d_bench.machine.optional_packages import LITERT, PYTORCH3D, why_missing
from gan3d_bench.machine.process_settings import waiting_threads
from gan3d_bench.registry import BUILTIN, registry
from gan3d_bench.terminal import say


def doctor() -> int:
    """Print versions, devices, assets, plug-ins, tools and folders; return the exit code.

    The code is 1 if something the suite always needs is broken, 0 otherwise: a missing asset or
    optional package only locks what it unlocks.
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
        say(title)
        for name, text, sound in lines:
            say(f"  {name:18} {text}")
            broken += not sound
    return 1 if broken else 0


Line = tuple[str, str, bool]
OPTIONAL = ("easypytorch3d",)


def _versions() -> Iterator[Line]:
    yield "gan3d-bench", __version__, True
    yield "python", f"{platform.python_version()} on {platform.platform()}", True
    for name in PACKAGES:
        found = installed_version(name)
        yield name, found or "not installed", found is not None or name in OPTIONAL


def _devices() -> Iterator[Line]:
    import torch

    from gan3d_bench.machine.environment import machine
    from gan3d_bench.machine.precision import Processor, resolve

    here = machine()
    memory = f", {here['memory_gib']} GiB" if here["memory_gib"] else ""
    yield "cpu", f"{here['processor']}, {here['cores']} cores{memory}", True
    processor = Processor.here()
    limit = f", oneDNN held to {processor.onednn}" if processor.onednn else ""
    kernels = f"PyTorch's kernels use {processor.aten}{limit}"
    yield "instruction sets", f"{', '.join(processor.instructions) or 'none'}; {kernels}", True
    yield "threads", f"{torch.get_num_threads()} (trainer.threads, OMP_NUM_THREADS)", True
    yield "waiting threads", waiting_threads(), True
    for index, name in enumerate(here["gpus"]):
        size = torch.cuda.get_device_properties(index).total_memory / 2**30
        yield f"gpu {index}", f"{name}, {size:.0f} GiB, CUDA {here['cuda']}", True
    if not here["gpus"]:
        yield "gpu", "none: the 64-pixel presets run on the CPU", True
    precision = resolve("auto")
    yield "precision", f"{precision.value} ({precision.reason}; trainer.precision)", True


def _tools() -> Iterator[Line]:
    for module, purpose, remedy in (
        ("pytorch3d", "engine 'pytorch3d', mesh losses", PYTORCH3D),
        ("ai_edge_litert", "landmarks of the face mesh", LITERT),
        ("kornia", "augmentation, colour, filters", ""),
        ("trimesh", "meshes (GLB)", ""),
    ):
        reason = why_missing(module)
        if not reason:
            yield module, f"imports ({purpose})", True
        elif remedy:
            yield module, f"{reason}; would unlock {purpose}: {remedy}", True
        else:
            yield module, f"{reason} ({purpose})", False
    try:
        import imageio_ffmpeg
    except ImportError as error:
        yield "ffmpeg", f"{error}: pip install imageio-ffmpeg", False
        return
    try:
        found = shutil.which(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        found = None
    remedy = "not found, so films are GIFs: pip install --force-reinstall imageio-ffmpeg"
    yield "ffmpeg", found or remedy, True


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
    from gan3d_bench.files.run_folder import runs_root

    for name, folder in (("cache", cache_dir()), ("runs", runs_root())):
        yield name, f"{folder} ({_free(folder):.1f} GB free)", True


def _free(folder: Path) -> float:
    """Return the free space (GB) where `folder` is or would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free / 1e9
