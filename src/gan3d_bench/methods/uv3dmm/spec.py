"""What the `uv3dmm` method is. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from gan3d_bench.spec import RECONSTRUCT, SAMPLE, Capability, MethodSpec

ROW = "UV 3DMM"
HYPERPLANE = "hyperplane"
"""Kind of scene: the teacher's pictures, turned by the yaw direction."""
_HYPERPLANE_ROW = "Yaw hyperplane"  # InterFaceGAN's way
_ABLATIONS = {
    "displacement": f"{ROW} without displacement",
    "scalar": f"{ROW}, displacement along normals",
    "symmetric": f"{ROW} without symmetric view",
    "gan": f"{ROW} without GAN loss",
}
_FFHQ = ("identity-rotation-ffhq", "depth-pose-ffhq")
_HEADS = (
    "shape",
    "fid",
    "depth-pose",
    "identity-rotation",
    "novel-view",
    "relight",
    "intrinsics",
)
_ABLATED = ("fid", "novel-view", "identity-rotation", "shape")


def table_rows(table: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Rows of a table that a run with `config` fills, and their kinds of scene."""
    teacher, size = config["teacher"], config["image_size"]
    fits = config["preset"] != "check" and (
        teacher.startswith("mobilestylegan-ffhq")
        if table in _FFHQ
        else table in _HEADS and (teacher, size) == ("heads-teacher-64", 64)
    )
    row = _row(config)
    if not fits or row is None or (row != ROW and table not in _ABLATED):
        return {}
    rows = {row: SAMPLE if table == "fid" else RECONSTRUCT}
    if table == "identity-rotation" and row == ROW:
        rows[_HYPERPLANE_ROW] = HYPERPLANE
    return rows


def _row(config: Mapping[str, Any]) -> str | None:
    """The row that a run with these keys is; None where two things are left out at once."""
    maps, losses = config["maps"], config["losses"]
    changed = {
        "displacement": maps["displacement"] == "none",
        "scalar": maps["displacement"] == "scalar",
        "symmetric": not losses["symmetric"],
        "gan": not losses["gan"],
    }
    found = [name for name, is_so in changed.items() if is_so]
    if len(found) > 1:
        return None
    return _ABLATIONS[found[0]] if found else ROW


CAPABILITIES: frozenset[Capability] = frozenset({"depth", "normal", "albedo", "relight", "mesh"})
SPEC = MethodSpec(
    name="uv3dmm",
    title="3DMM UV-map generator: textured head meshes from StyleGAN2's stylecodes",
    paper=(
        "a pre-trained StyleGAN2 turned into a 3D face generator with a diffuse and a "
        "displacement UV map (no official code)"
    ),
    module="gan3d_bench.methods.uv3dmm.method:UV3DMM",
    config="gan3d_bench.methods.uv3dmm.config:UV3DMMConfig",
    presets={
        "heads-64": "synthetic heads at 64 pixels; all phases in an hour on two CPU cores",
        "heads-128": "synthetic heads at 128 pixels, on a GPU; needs teacher=FOLDER",
        "ffhq-128": "real faces at 128 pixels (MobileStyleGAN); hours on two CPU cores, or a GPU",
        "paper-ffhq-256": "FFHQ at 256 pixels, as published; on a GPU, needs teacher=FILE",
        "check": "seconds on a CPU; for `gan3d-bench check`",
    },
    default_preset="heads-64",
    scenes={SAMPLE: CAPABILITIES, RECONSTRUCT: CAPABILITIES, HYPERPLANE: frozenset()},
    needs=(
        "heads-64: the bundled head model and teacher",
        "heads-128: teacher=FOLDER, made by method stylegan2, preset heads-128",
        "ffhq-128: the assets mobilestylegan-ffhq, scrfd-500m, landmarks-106 and alexnet-lpips",
        "paper-*: teacher=FILE (StyleGAN2, 256 pixels), vgg16-lpips; Basel Face Model files for "
        "model=FOLDER, or the bundled heads",
    ),
    assets=("heads", "heads-teacher-64"),
    status="built from the paper's text, which has no code and no numbers; see README.md",
    rows=table_rows,
)
