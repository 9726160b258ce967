"""What a run was made with: versions, commit, machine, command line, hashes of assets."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gan3d_bench import __version__

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "easypytorch3d",
    "kornia",
    "torchmetrics",
    "wandb",
)


def describe(assets: Iterable[str] = ()) -> dict[str, Any]:
    """Return the environment of a run as plain values, `assets` with their pinned hashes."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        # the program by its name: its path is this machine's business
        "command": ["gan3d-bench", *sys.argv[1:]],
        "gan3d_bench": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: installed_version(name) for name in PACKAGES},
        "machine": machine(),
        "assets": {name: asset_hash(name) for name in assets},
    }


def installed_version(package: str) -> str | None:
    """Return the installed version of a distribution, None when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the git commit the package runs from, with ``+dirty`` for local changes."""
    folder = Path(__file__).parent
    if shutil.which("git") is None:
        return None
    found = _git(folder, "rev-parse", "HEAD")
    if found is None or _git(folder, "ls-files", "--error-unmatch", __file__) is None:
        return None  # installed as a package, perhaps inside somebody else's repository
    return found + ("+dirty" if _git(folder, "status", "--porcelain", "--", ".") else "")


def machine() -> dict[str, Any]:
    """Return processor, cores, memory (GiB) and GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
    }


def asset_hash(name: str) -> Any:
    """Return the pinned SHA-256 of an asset: one, or one for each of several files."""
    from gan3d_bench.assets.manifest import bundled_manifest
    from gan3d_bench.assets.registry import BundledAsset, PackagedAsset, get_asset

    asset = get_asset(name)
    if isinstance(asset, PackagedAsset):
        hashes = {member.name: member.sha256 for member in asset.members}
        return hashes if len(hashes) > 1 else asset.members[0].sha256
    assert isinstance(asset, BundledAsset)
    return {file: bundled_manifest().get(file, {}).get("sha256") for file in asset.files}


def _git(folder: Path, *arguments: str) -> str | None:
    result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return round(size / 2**30, 1)
