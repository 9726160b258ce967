"""Where assets lie on this machine, and whether they are what the registry promises."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import platformdirs

from gan3d_bench.assets.manifest import BUNDLED, bundled_manifest, sha256_of
from gan3d_bench.assets.registry import Asset, BundledAsset, PackagedAsset, get_asset, registry
from gan3d_bench.errors import UserError, unknown_name

Status = Literal["present", "missing", "damaged"]


def cache_dir() -> Path:
    """Return the folder of everything the suite caches (not created here).

    ``GAN3D_BENCH_HOME`` if set, else the platform's user cache folder.
    """
    home = os.environ.get("GAN3D_BENCH_HOME")
    return Path(home).expanduser() if home else platformdirs.user_cache_path("gan3d-bench")


def asset_path(name: str) -> Path:
    """Return where the asset called `name` lies, checked against its pinned SHA-256.

    Files are hashed once per process (again if they change). An asset of several files gives its
    folder.

    Raises:
        UserError: unknown name; missing (with the command that gets it); damaged.
    """
    verify(name)
    return location(get_asset(name))


@dataclass(frozen=True)
class Weights:
    """A file of weights ready to be read. Results state `name` and, of a local file, `sha256`."""

    name: str
    path: Path
    sha256: str
    is_asset: bool

    @property
    def label(self) -> str:
        """The name; with the beginning of the hash for a local file, whose name pins nothing."""
        return self.name if self.is_asset else f"{self.name} ({self.sha256[:12]})"


def find_weights(name: str | Path) -> Weights:
    """Return the weights called `name`: an asset of one file, or the path of a local file.

    Raises:
        UserError: neither; the asset is missing, damaged or a folder.
    """
    text = str(name)
    if text in registry().assets:
        path = asset_path(text)
        if path.is_dir():
            raise UserError(f"asset '{text}' is a folder of files; expected one file of weights")
        return Weights(text, path, _hash(path), is_asset=True)
    path = Path(text).expanduser()
    if path.is_file():
        return Weights(path.name, path, _hash(path), is_asset=False)
    if len(path.parts) > 1 or path.suffix:
        raise UserError(f"no file of weights '{text}'; expected a local file or an asset's name")
    raise unknown_name("asset", text, registry().assets)


def is_present(name: str) -> bool:
    """Return whether the asset's files are there with their pinned sizes (contents unread)."""
    pinned = _pinned(get_asset(name))
    return bool(pinned) and all(
        path.is_file() and path.stat().st_size == size for path, size, _ in pinned
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
    pinned = _pinned(get_asset(name))
    if not pinned or not all(path.is_file() for path, _, _ in pinned):
        return "missing"
    if not is_present(name) or any(_hash(path) != sha256 for path, _, sha256 in pinned):
        return "damaged"
    return "present"


def location(asset: Asset) -> Path:
    """Return the path of an asset, a folder if it has several files, whether it is there or not."""
    if isinstance(asset, PackagedAsset):
        # The hash in the name keeps versions of one asset apart.
        hashes = [member.sha256 for member in asset.members]
        if len(hashes) == 1:
            version, suffix = hashes[0], PurePosixPath(asset.members[0].path).suffix
        else:
            version, suffix = hashlib.sha256("".join(hashes).encode()).hexdigest(), ""
        return cache_dir() / "assets" / f"{asset.name}-{version[:12]}{suffix}"
    assert isinstance(asset, BundledAsset)
    return BUNDLED / (asset.files[0] if len(asset.files) == 1 else asset.name)


def files(asset: Asset) -> list[Path]:
    """Return where each file of an asset lies or would lie, in the registry's order."""
    if isinstance(asset, PackagedAsset):
        path = location(asset)
        several = len(asset.members) > 1
        return [path / member.name for member in asset.members] if several else [path]
    assert isinstance(asset, BundledAsset)
    return [BUNDLED / file for file in asset.files]


def _pinned(asset: Asset) -> list[tuple[Path, int, str]]:
    """Return (path, size, SHA-256) of each file; empty where the manifest lacks a bundled one."""
    if isinstance(asset, PackagedAsset):
        pins = [(member.size, member.sha256) for member in asset.members]
    else:
        assert isinstance(asset, BundledAsset)
        manifest = bundled_manifest()
        if not all(file in manifest for file in asset.files):
            return []
        pins = [(int(manifest[f]["size"]), str(manifest[f]["sha256"])) for f in asset.files]
    return [(path, *pin) for path, pin in zip(files(asset), pins, strict=True)]


def _hash(path: Path) -> str:
    stat = path.stat()
    return _hash_once(path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _hash_once(path: Path, mtime_ns: int, size: int) -> str:
    return sha256_of(path)
