"""What runs look like: pictures and meshes from their folders, small enough for a page."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from gan3d_bench.errors import UserError
from gan3d_bench.files.photographs import decode, read_bytes
from gan3d_bench.files.run_folder import Run

WIDEST, TALLEST = 1600, 2400  # of one in the page
MESHES, MESH_BYTES = 4, 8 * 2**20  # a run; a mesh


@dataclass(frozen=True)
class Picture:
    """A picture in the page: its ``data:`` address and its size in pixels."""

    name: str
    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Mesh:
    """A binary glTF file, base64."""

    name: str
    content: str


@dataclass(frozen=True)
class Exhibit:
    """What one run shows. `left_out` names files that are not in the page, and why."""

    run: str
    title: str
    grid: Picture | None = None
    meshes: Sequence[Mesh] = ()
    left_out: Sequence[str] = ()
    faces: str = ""


@dataclass(frozen=True)
class Group:
    """Runs that look at the same faces."""

    exhibits: list[Exhibit] = field(default_factory=list)


def groups(runs: Iterable[Run]) -> list[Group]:
    """Return what runs show, those that were given the same pictures side by side."""
    found: dict[str, Group] = {}
    for run in runs:
        shown = exhibit(run)
        if shown.grid or shown.meshes or shown.left_out:
            found.setdefault(shown.faces or shown.run, Group()).exhibits.append(shown)
    return list(found.values())


def exhibit(run: Run) -> Exhibit:
    """Return the latest pictures and meshes of a run; empty where it has none."""
    steps = [path for path in run.pictures.glob("*") if path.name.isdecimal() and path.is_dir()]
    if not steps:
        return Exhibit(str(run), _title(run))
    folder = max(steps, key=lambda path: int(path.name))
    left_out: list[str] = []
    grid = picture(folder / "scene.png", left_out)
    files = sorted(folder.glob("mesh_*.glb"))
    left_out += [f"{file.name}: more than {MESHES} meshes" for file in files[MESHES:]]
    meshes = [mesh for file in files[:MESHES] if (mesh := _mesh(file, left_out))]
    return Exhibit(str(run), _title(run), grid, meshes, left_out, _fingerprint(folder))


def figures(table: str, folders: Iterable[Path]) -> tuple[list[Picture], list[str]]:
    """Return the figures of a table that lie beside its stored rows, and those left out."""
    left_out: list[str] = []
    here = [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]
    files = [file for folder in here for file in folder.glob(f"{table}*.png")]
    found = [shown for file in sorted(files) if (shown := picture(file, left_out))]
    return found, left_out


def picture(file: Path, left_out: list[str]) -> Picture | None:
    """Return a picture as JPEG, scaled down to the page's limits; None if there is none.

    One that cannot be shown is noted in `left_out`.
    """
    if not file.is_file():
        return None
    try:
        shown = decode(read_bytes(file), file.name)
    except UserError as error:
        left_out.append(str(error))
        return None
    shown.thumbnail((WIDEST, TALLEST), Image.Resampling.LANCZOS)
    return embedded(file.stem, shown)


def embedded(name: str, shown: Image.Image) -> Picture:
    """Return an RGB picture as it stands in a page, JPEG."""
    stream = io.BytesIO()
    shown.save(stream, "JPEG", quality=88, subsampling=0, optimize=True)
    address = f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Picture(name, address, *shown.size)


def _mesh(file: Path, left_out: list[str]) -> Mesh | None:
    size = file.stat().st_size
    if size > MESH_BYTES:
        left_out.append(f"{file.name}: {size / 2**20:.1f} MiB, more than {MESH_BYTES >> 20} MiB")
        return None
    content = file.read_bytes()
    if content[:12] != struct.pack("<4sII", b"glTF", 2, size):
        left_out.append(f"{file.name}: not a whole binary glTF file")
        return None
    return Mesh(file.stem, base64.b64encode(content).decode())


def _fingerprint(folder: Path) -> str:
    """Return what tells the faces a run was given from others; "" if it kept no picture of them."""
    file = folder / "input.png"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _title(run: Run) -> str:
    try:
        return f"{run.spec.name}, {run.config.preset}"
    except UserError:  # of a version or a plug-in that is not here; its pictures still are
        return ", ".join(run.path.parts[-3:-1])
