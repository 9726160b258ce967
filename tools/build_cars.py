"""Build the bundled cars from two Debian packages: real meshes with textures, openly licensed.

    apt-get download torcs-data sweethome3d-furniture
    python tools/build_cars.py --packages DIR --out src/gan3d_bench/assets/bundled/cars

Needs the extra `cars-build`, and `dpkg-deb`. Of each car what can be seen is kept, decimated and
baked into one atlas of colours with a fourth channel for the body's paint. Left out: cars under
the GPL (155-DTM, buggy, p406), and the textures of TORCS's drivers, for which the package's
copyright file states GPL-2+ as for all that it does not list.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from car_pack import atlas, sources, surface

from gan3d_bench.assets.manifest import sha256_of

FORMAT = 1
PACKAGES = {
    "torcs-data_1.3.7+dfsg-5_all.deb": (
        "33a170ec9db8bdf7e33cb07b96b9854d5ef9e47b1f82705e4c24d6caaf13fb99"
    ),
    "sweethome3d-furniture_1.8-1_all.deb": (
        "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668"
    ),
}
TRIANGLES, TEXTURE_SIZE = 3000, 256
STEPS = 65535  # of a coordinate within the car's box, and of a texture coordinate
CHANGES = (
    "moved and scaled to one unit of length; glass made opaque; what cannot be seen from outside "
    f"removed; decimated to about {TRIANGLES} triangles; colours and textures baked into one "
    f"atlas of {TEXTURE_SIZE} x {TEXTURE_SIZE} texels; the body's paint marked for recolouring"
)
LICENCES = {
    # licence -> its text's file, package whose copyright file has it, heading there
    "Free Art License 1.3": ("FreeArtLicense-1.3.txt", "torcs-data", "Free-Art-License"),
    "CC-BY-3.0": ("CC-BY-3.0.txt", "sweethome3d-furniture", "CC-BY-3.0"),
    "CC-BY-3.0-US": ("CC-BY-3.0-US.txt", "sweethome3d-furniture", "CC-BY-3.0-USA"),
}


def unpack(folder: Path, root: Path) -> None:
    """Check both packages and unpack them into one folder."""
    for name, expected in PACKAGES.items():
        path = folder / name
        actual = sha256_of(path)
        if actual != expected:
            raise SystemExit(f"{path}: SHA-256 is {actual}, expected {expected}")
        subprocess.run(["dpkg-deb", "-x", path, root], check=True)


def build_car(source: sources.Source, root: Path) -> tuple[dict, dict]:
    """Arrays of one car, and its entry in the manifest."""
    original, textures = sources.load(source, root)
    seen, twice = surface.outside(original)
    mesh = atlas.decimate(seen, TRIANGLES, TEXTURE_SIZE)
    baked = atlas.bake(mesh, surface.both_sides(seen, twice), textures, TEXTURE_SIZE)
    lightness, colour = sources.paint_of(baked)
    file = root / source.file.partition(":")[0]
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    half = (high - low) / (high - low)[2] / 2  # thin aerials may have gone: in its own box again
    arrays = {
        "vertices": np.round((mesh.vertices - low) / (high - low) * STEPS).astype(np.uint16),
        "bounds": np.stack((-half, half)).astype(np.float32),
        "faces": mesh.faces.astype(np.uint16),
        "uvs": np.round(np.clip(mesh.uvs, 0, 1) * STEPS).astype(np.uint16),
        "face_uvs": mesh.face_uvs.astype(np.uint16),
        "atlas": np.round(np.clip(baked, 0, 1) * 255).astype(np.uint8),
    }
    entry = {
        "name": source.name,
        "creator": source.creator,
        "licence": source.licence,
        "package": "torcs-data 1.3.7+dfsg-5" if source.wheel else "sweethome3d-furniture 1.8-1",
        "file": source.file,
        "sha256": sha256_of(file),
        "wheels": f"{sources.GAMES}/wheels/{source.wheel}/wheel0.acc" if source.wheel else None,
        "changes": CHANGES,
        "triangles": {"original": len(original), "seen": len(seen), "here": len(mesh.faces)},
        "paint": {"lightness": round(lightness, 4), "colour": colour},
    }
    return arrays, entry


def licence_text(root: Path, package: str, heading: str) -> str:
    """One licence's text from a package's copyright file."""
    lines = (root / "usr/share/doc" / package / "copyright").read_text("utf-8").splitlines()
    start = max(i for i, line in enumerate(lines) if line == f"License: {heading}")
    text = []
    for line in lines[start + 1 :]:
        if line and not line.startswith(" "):
            break
        text.append("" if line.strip() == "." else line.removeprefix(" "))
    return "\n".join(text).strip() + "\n"


def write_pack(root: Path, out: Path) -> None:
    """Build every car of the packages unpacked in `root`, and write the pack."""
    arrays, entries = {}, []
    for source in sources.CARS:
        parts, entry = build_car(source, root)
        arrays |= {f"{source.name}.{key}": value for key, value in parts.items()}
        entries.append(entry)
        print(source.name, entry["triangles"], entry["paint"], flush=True)
    out.mkdir(parents=True, exist_ok=True)
    for file, package, heading in LICENCES.values():
        (out / file).write_text(licence_text(root, package, heading), "utf-8")
    meta = {
        "format": FORMAT,
        "packages": {name: version(name) for name in ("numpy", "xatlas", "meshoptimizer")},
        "modified_by": "the authors of gan3d-bench, by tools/build_cars.py",
        "licences": {name: file for name, (file, _, _) in LICENCES.items()},
        "cars": entries,
    }
    np.savez_compressed(out / "cars.npz", meta=np.array(json.dumps(meta)), **arrays)
    manifest = json.dumps(meta, indent=1, ensure_ascii=False)
    (out / "manifest.json").write_text(manifest + "\n", "utf-8")
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {len(entries)} cars, {size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--packages", type=Path, required=True, help="folder of the two .deb files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        unpack(options.packages, Path(root))
        write_pack(Path(root), options.out)


if __name__ == "__main__":
    main()
