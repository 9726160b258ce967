"""What the `gan2shape` method is. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from gan3d_bench.spec import RECONSTRUCT, MethodSpec, Photographs, Reported

_PAPER = "GAN2Shape (Pan et al., 2021)"
_SYNFACE = "shape-synface"
_FFHQ = "identity-rotation-ffhq"
_FFHQ_DEPTH = "depth-pose-ffhq"
_PRIOR_ROWS = {
    "ellipsoid": "GAN2Shape, symmetric",
    "asymmetric": "GAN2Shape, asymmetric prior",
    "shift-6": "GAN2Shape, prior shifted by w/6",
    "shift-4": "GAN2Shape, prior shifted by w/4",
    "weak": "GAN2Shape, weak prior",
    "flat": "GAN2Shape, flat prior",
}


def _shape(row: str, side: float, mad: float, number: int) -> tuple[Reported, ...]:
    source = f"{_PAPER}, Table {number}, BFM"
    return tuple(
        Reported(table, row, metric, value, source, count=500)
        for table in ("shape", _SYNFACE)
        for metric, value in (("side", side), ("mad", mad))
    )


def _rotation(row: str, mean: float, worst: float) -> tuple[Reported, ...]:
    return tuple(
        Reported(table, row, metric, value, f"{_PAPER}, Table 3", count=100)
        for table in ("identity-rotation", _FFHQ)
        for metric, value in (("error_mean", mean), ("error_max", worst))
    )


# By a run's factors, and by projecting what they render onto the image manifold (`row_scene`).
_BY_3D, _BY_GAN = "GAN2Shape (3D)", "GAN2Shape (GAN)"
_TABLES = {
    "identity-rotation": {_BY_3D: RECONSTRUCT, _BY_GAN: "gan"},
    "novel-view": {_BY_3D: RECONSTRUCT, _BY_GAN: "gan"},
    "relight": {_BY_3D: RECONSTRUCT, _BY_GAN: "gan"},
    "intrinsics": {"GAN2Shape": RECONSTRUCT},
    "depth-pose": {_BY_3D: RECONSTRUCT},
}


def table_rows(table: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Rows of a table that a run with `config` fills, and their kinds of scene."""
    if table in (_FFHQ, _FFHQ_DEPTH):
        return _TABLES[table.removesuffix("-ffhq")] if _is_ffhq(config) else {}
    if table == _SYNFACE:
        return {_shape_row(config): RECONSTRUCT} if _is_synface(config) else {}
    # the tables are measured on held-out heads at 64 pixels, and a run on what it was fitted to
    if (config["data"], config["split"], config["image_size"]) != ("heads", "test", 64):
        return {}
    row = _shape_row(config)
    if table == "shape":
        return {row: RECONSTRUCT}
    return _TABLES.get(table, {}) if row == _PRIOR_ROWS["ellipsoid"] else {}


def _is_ffhq(config: Mapping[str, Any]) -> bool:
    """Whether a run was fitted to the samples that the table measures on."""
    keys = ("data", "split", "truncation", "image_size")
    return (
        tuple(config[key] for key in keys) == ("teacher", "test", 0.7, 128)
        and config["teacher"].startswith("mobilestylegan-ffhq")
        and not config["joint"]
    )


def _is_synface(config: Mapping[str, Any]) -> bool:
    """Whether a run was fitted to Synface's test images, in the frame of the table."""
    keys = ("data", "split", "image_size", "crop", "original_size")
    framed = tuple(config[key] for key in keys) == ("synface", "test", 64, 170, 256)
    return framed and not config["joint"]


def _shape_row(config: Mapping[str, Any]) -> str:
    symmetry = config["symmetry"]
    if symmetry["step1"] == symmetry["step3"] == "never":
        return "GAN2Shape, not symmetric"
    if config["offset"]["regularise"] == "none":
        return "GAN2Shape, symmetric, no regularisation"
    return _PRIOR_ROWS[config["prior"]["shape"]]


SPEC = MethodSpec(
    name="gan2shape",
    title="GAN2Shape: 3D shape of an image from a 2D GAN",
    paper="Pan et al., Do 2D GANs Know 3D Shape?, ICLR 2021 (arXiv:2011.00844)",
    module="gan3d_bench.methods.gan2shape.method:GAN2Shape",
    config="gan3d_bench.methods.gan2shape.config:GAN2ShapeConfig",
    presets={
        "heads-64": "eight synthetic heads at 64 pixels, minutes on a CPU, no downloads",
        "heads-64-joint": "what heads-64 starts from: joint training on 24 train heads",
        "ffhq-128": "real faces at 128 pixels: one in minutes on a CPU, a hundred on a GPU",
        "ffhq-256": "real faces at 256 pixels by the paper's schedule, on a GPU",
        "ffhq-128-joint": "what ffhq-128 starts from: joint training on the FFHQ teacher",
        "check": "seconds on a CPU with a random teacher; for `gan3d-bench check`",
        "paper-synface-joint": "BFM faces, joint pre-training on 200 images (8 GPUs)",
        "paper-synface": "BFM faces, fine-tuning; start=RUN of paper-synface-joint",
        "paper-celeba-joint": "CelebA, joint pre-training on 200 images (8 GPUs)",
        "paper-celeba": "CelebA, fine-tuning; start=RUN of paper-celeba-joint",
        "paper-cat-joint": "cats, joint pre-training on 200 images (8 GPUs)",
        "paper-cat": "cats, fine-tuning; start=RUN of paper-cat-joint",
        "paper-car": "LSUN cars, from scratch, no symmetry",
        "paper-church": "LSUN churches, from scratch, no symmetry",
    },
    default_preset="heads-64",
    scenes={
        RECONSTRUCT: frozenset({"depth", "normal", "albedo", "relight", "mesh"}),
        "gan": frozenset({"relight"}),
    },
    needs=(
        "heads-64: the bundled head model, teacher and start",
        "ffhq-*: the assets mobilestylegan-ffhq and alexnet-lpips (ffhq-256: vgg16-lpips)",
        "paper-*: teacher=FILE (StyleGAN2 with discriminator), images=PATH, view.statistics=FILE, "
        "light.statistics=FILE and the asset vgg16-lpips",
        "paper-car, paper-church: masks=FOLDER as well",
    ),
    assets=("heads", "heads-teacher-64", "gan2shape-heads-64"),
    status=(
        "networks and offsets match the released code to 1e-4, pictures and losses to 2e-4; the "
        "paper's numbers need its release's data and teachers (README.md says how to get them) "
        "and a GPU; on heads and faces shapes do not tell people apart yet"
    ),
    reported=(
        *_shape("GAN2Shape, symmetric, no regularisation", 0.925, 16.42, 1),
        *_shape("GAN2Shape, symmetric", 0.756, 14.81, 1),
        *_shape("GAN2Shape, not symmetric", 1.023, 17.09, 1),
        *_shape("GAN2Shape, asymmetric prior", 0.769, 14.95, 2),
        *_shape("GAN2Shape, prior shifted by w/6", 0.767, 14.93, 2),
        *_shape("GAN2Shape, prior shifted by w/4", 0.775, 15.07, 2),
        *_shape("GAN2Shape, weak prior", 0.764, 14.97, 2),
        *_shape("GAN2Shape, flat prior", 1.021, 20.46, 2),
        *_rotation(_BY_3D, 28.93, 43.02),
        *_rotation(_BY_GAN, 39.85, 57.21),
    ),
    rows=table_rows,
    photographs=Photographs(
        preset="ffhq-128",
        overrides=("data=images", "images={folder}", "instances={count}", "first=0"),
    ),
)
