"""Sizes and SHA-256 of the files that ship inside the package."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

BUNDLED = Path(__file__).parent / "bundled"
MANIFEST = BUNDLED / "manifest.json"


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@functools.cache
def bundled_manifest() -> dict[str, dict[str, str | int]]:
    """Return ``{relative path: {"size": bytes, "sha256": hex}}``; empty without a manifest."""
    if not MANIFEST.is_file():
        return {}
    return json.loads(MANIFEST.read_text())


def write_manifest() -> list[str]:
    """Rewrite the manifest from the files that lie in ``bundled/``; return their names.

    Run it (``python tools/update_manifest.py``) after an asset was rebuilt.
    """
    files = sorted(p for p in BUNDLED.rglob("*") if p.is_file() and p != MANIFEST)
    entries = {
        path.relative_to(BUNDLED).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in files
    }
    MANIFEST.write_text(json.dumps(entries, indent=1) + "\n")
    bundled_manifest.cache_clear()
    return list(entries)
