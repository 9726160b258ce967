"""What the `liftedgan` method is. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from gan3d_bench.spec import (
    RECONSTRUCT,
    SAMPLE,
    Capability,
    Exporter,
    Importer,
    MethodSpec,
    Reported,
)

_PAPER = "LiftedGAN (Shi et al., 2021)"
ROW = "LiftedGAN"
_ABLATIONS = {
    "flip": f"{ROW} without L_flip",
    "perturbation": f"{ROW} without L_perturb",
    "identity": f"{ROW} without L_idt",
    "albedo": f"{ROW} without L_regA",
}
_FFHQ = ("identity-rotation-ffhq", "depth-pose-ffhq")
_ABLATED = ("fid", "depth-pose", "depth-pose-ffhq")  # tables that show the rows of Table 2
_HEADS = ("fid", "depth-pose", "identity-rotation", "novel-view", "relight", "intrinsics")
# Table 2: FID of samples; depth, yaw, pitch and roll of the teacher's samples
_TABLE_2 = {
    _ABLATIONS["flip"]: (28.69, 0.623, 9.37, 5.34, 0.91),
    _ABLATIONS["perturbation"]: (21.30, 0.548, 2.68, 5.03, 1.02),
    _ABLATIONS["identity"]: (30.63, 0.498, 1.82, 4.66, 1.15),
    _ABLATIONS["albedo"]: (27.34, 0.467, 1.89, 4.81, 1.06),
    ROW: (29.81, 0.435, 1.86, 4.77, 1.07),
}


def _reported() -> tuple[Reported, ...]:
    images, samples = f"{_PAPER}, Table 2, FFHQ", f"{_PAPER}, Table 2, StyleGAN2 samples"
    found = [Reported("fid", row, "fid", numbers[0], images) for row, numbers in _TABLE_2.items()]
    found += [
        Reported(table, row, metric, value, samples, count=1000)
        for table in ("depth-pose", "depth-pose-ffhq")
        for row, numbers in _TABLE_2.items()
        for metric, value in zip(("depth", "yaw", "pitch", "roll"), numbers[1:], strict=True)
    ]
    return tuple(found)


def table_rows(table: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Rows of a table that a run with `config` fills, and their kinds of scene."""
    teacher, size = config["teacher"], config["image_size"]
    fits = (
        teacher.startswith("mobilestylegan-ffhq")
        if table in _FFHQ
        else table in _HEADS and (teacher, size) == ("heads-teacher-64", 64)
    )
    row = _row(config["losses"])
    if not fits or row is None or (row != ROW and table not in _ABLATED):
        return {}
    return {row: SAMPLE if table == "fid" else RECONSTRUCT}


def _row(losses: Mapping[str, float]) -> str | None:
    """The row of Table 2 that a run with these weights is; None for no row of it."""
    gone = {key for key in _ABLATIONS if not losses[key]}
    if len(gone) > 1:
        return None
    # without L_perturb nothing of Eq. 4 is left
    if ("perturbation" in gone) != (not losses["cycle"] and not losses["prior"]):
        return None
    return _ABLATIONS[gone.pop()] if gone else ROW


CAPABILITIES: frozenset[Capability] = frozenset({"depth", "normal", "albedo", "relight", "mesh"})
SPEC = MethodSpec(
    name="liftedgan",
    title="LiftedGAN: a generator of 3D faces distilled from StyleGAN2",
    paper=(
        "Shi et al., Lifting 2D StyleGAN for 3D-Aware Face Generation, CVPR 2021 (arXiv:2011.13126)"
    ),
    module="gan3d_bench.methods.liftedgan.method:LiftedGAN",
    config="gan3d_bench.methods.liftedgan.config:LiftedGANConfig",
    presets={
        "heads-64": "synthetic heads at 64 pixels; on a CPU core 10 minutes, 40 without bfloat16",
        "ffhq-128": "real faces at 128 pixels, on a GPU",
        "paper-ffhq-256": "FFHQ at 256 pixels, released schedule; on a GPU, needs teacher=FILE",
        "paper-cats-256": "cats at 256 pixels, released schedule; on a GPU, needs teacher=FILE",
        "check": "seconds on a CPU with a random teacher; for `gan3d-bench check`",
    },
    default_preset="heads-64",
    scenes={SAMPLE: CAPABILITIES, RECONSTRUCT: CAPABILITIES},
    needs=(
        "heads-64: the bundled head model, teacher and identity network",
        "ffhq-128: the assets mobilestylegan-ffhq, vgg16-lpips and arcface-mbf",
        "paper-*: teacher=FILE (StyleGAN2, 256 pixels) and the assets vgg16-lpips and arcface-mbf",
    ),
    assets=("heads", "heads-teacher-64", "idnet-heads-64"),
    status=(
        "networks, rendering and every loss match the released code, gradients of a step up to the "
        "border's chance (README.md); the paper's numbers need its teacher and a GPU; on heads "
        "shapes are nearly one"
    ),
    reported=_reported(),
    rows=table_rows,
    importer=Importer(
        "gan3d_bench.methods.liftedgan.checkpoint:import_file",
        files=".pth of seasonSH/LiftedGAN",
        method="liftedgan",
        setting="start={folder}",
    ),
    exporter=Exporter(
        "gan3d_bench.methods.liftedgan.checkpoint:export_folder",
        files=".pth of seasonSH/LiftedGAN",
        needs="networks.safetensors",
    ),
)
