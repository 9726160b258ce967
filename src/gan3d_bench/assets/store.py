"""Where assets lie on this machine, and whether they are what the registry promises."""

from __future__ import annotations

import functools
import os
from pathlib import Path, PurePosixPath
from typing import Literal

import platformdirs

from gan3d_bench.assets.manifest import BUNDLED, bundled_manifest, sha256_of
from gan3d_bench.assets.registry import Asset, BundledAsset, PackagedAsset, get_asset
from gan3d_bench.errors import UserError

Status = Literal["present", "missing", "damaged"]


def cache_dir() -> Path:
    """Return the folder of everything the suite caches (not created here).

    ``GAN3D_BENCH_HOME`` if set, else the platform's user cache folder.
    """
    home = os.environ.get("GAN3D_BENCH_HOME")
    return Path(home).expanduser() if home else platformdirs.user_cache_path("gan3d-bench")


def asset_path(name: str) -> Path:
    """Return where the asset called `name` lies, checked against its pinned SHA-256.

    The file is hashed once per process (again if it changes). A bundled asset of several files
    gives its folder.

    Raises:
        UserError: unknown name; missing (with the command that gets it); damaged.
    """
    verify(name)
    return location(get_asset(name))


def is_present(name: str) -> bool:
    """Return whether the asset's files are there with their pinned sizes (contents unread)."""
    files = _files(get_asset(name))
    return bool(files) and all(
        path.is_file() and path.stat().st_size == size for path, size, _ in files
    )


def verify(name: str) -> None:
    """Check every file of an asset against its pinned SHA-256.

    Raises:
        UserError: unknown name, a missing file (with the command that gets it), or a damaged one.
    """
    asset = get_asset(name)
    state = status(name)
    if state == "present":
        return
    if isinstance(asset, BundledAsset):
        raise UserError(
            f"bundled asset '{name}' is {state} in this installation ({location(asset)}); "
            "reinstall gan3d-bench, or run tools/update_manifest.py after rebuilding it"
        )
    raise UserError(
        f"asset '{name}' is {state} (needed for {asset.unlocks}); "
        f"get it with: gan3d-bench assets fetch {name}"
    )


def status(name: str) -> Status:
    """Return ``present`` (hashes agree), ``missing`` or ``damaged``. Raises UserError on `name`."""
    files = _files(get_asset(name))
    if not files or not all(path.is_file() for path, _, _ in files):
        return "missing"
    if not is_present(name) or any(_hash(path) != sha256 for path, _, sha256 in files):
        return "damaged"
    return "present"


def location(asset: Asset) -> Path:
    """Return the path of an asset, whether or not it is there."""
    if isinstance(asset, PackagedAsset):
        suffix = PurePosixPath(asset.member).suffix
        # The hash in the name keeps versions of one asset apart.
        return cache_dir() / "assets" / f"{asset.name}-{asset.sha256[:12]}{suffix}"
    assert isinstance(asset, BundledAsset)
    return BUNDLED / (asset.files[0] if len(asset.files) == 1 else asset.name)


def _files(asset: Asset) -> list[tuple[Path, int, str]]:
    """Return (path, size, SHA-256) of each file; empty where the manifest lacks a bundled one."""
    if isinstance(asset, PackagedAsset):
        return [(location(asset), asset.size, asset.sha256)]
    assert isinstance(asset, BundledAsset)
    manifest = bundled_manifest()
    if not all(file in manifest for file in asset.files):
        return []
    return [
        (BUNDLED / file, int(manifest[file]["size"]), str(manifest[file]["sha256"]))
        for file in asset.files
    ]


def _hash(path: Path) -> str:
    stat = path.stat()
    return _hash_once(path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _hash_once(path: Path, mtime_ns: int, size: int) -> str:
    return sha256_of(path)
