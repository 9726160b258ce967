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


def bundled_files() -> list[Path]:
    """Return the files that lie in ``bundled/``, without the manifest and the licence notes."""
    files = (path for path in BUNDLED.rglob("*") if path.is_file() and path != MANIFEST)
    return sorted(path for path in files if path.suffix != ".md" and not path.name.startswith("."))


def write_manifest() -> list[str]:
    """Rewrite the manifest from the files that lie in ``bundled/``; return their names.

    Run it (``python tools/update_manifest.py``) after an asset was rebuilt.
    """
    entries = {
        path.relative_to(BUNDLED).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in bundled_files()
    }
    MANIFEST.write_text(json.dumps(entries, indent=1) + "\n")
    bundled_manifest.cache_clear()
    return list(entries)
