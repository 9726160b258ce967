"""What a scene looks like, written to files and sent to W&B.

Grids of pictures, turntables (MP4 or GIF), depth and normal maps, meshes (GLB). Rendering happens
without gradient, one view of all subjects at a time. Rank zero writes; elsewhere nothing happens.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import torch
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL import Image
from torch import Tensor

from gan3d_bench.files.atomic import atomic_write, write_errors
from gan3d_bench.geometry.glb import save_glb
from gan3d_bench.pictures.grids import (
    depth_colours,
    image_grid,
    normal_colours,
    on_white,
    save_depth,
    save_png,
    to_image,
)
from gan3d_bench.pictures.scene_grids import (
    contact_grid,
    look,
    reference_view,
    turntable_frame,
    yaw_view,
)
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.preview import Preview


def write_preview(
    preview: Preview,
    folder: Path,
    step: int,
    loggers: Iterable[Logger] = (),
    *,
    everything: bool = True,
) -> list[Path]:
    """Write a preview to ``<folder>/pictures/<step>/`` and send the same files to W&B.

    Args:
        preview: image batches become grids ``<name>.png``; the batch named "input", if it has
            one image a subject, is the first column of the scene's grid. The scene gives
            ``scene.png``, ``turntable.mp4`` (``.gif`` without FFmpeg) and, for the first subjects,
            depth maps (coloured and 16-bit), normal maps and meshes, as far as its capabilities go.
        folder: the run folder.
        step: the run's step.
        loggers: those of the run; W&B among them gets ``preview/...``.
        everything: False leaves out turntable, maps and meshes.

    Returns:
        the files written; empty on ranks other than zero.

    Raises:
        UserError: a file cannot be written.
    """
    if rank_zero_only.rank != 0:
        return []
    pictures = Path(folder) / "pictures" / f"{step:06d}"
    with write_errors(pictures):
        media = _write_media(preview, pictures, everything)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            _send(logger, media, step)
    return [path for paths in media.values() for path in paths]


def _write_media(preview: Preview, pictures: Path, everything: bool) -> dict[str, list[Path]]:
    media: dict[str, list[Path]] = {}
    for name, images in preview.images.items():
        file = pictures / f"{name.replace('/', '_')}.png"
        media[name] = [save_png(image_grid(images), file)]
    if preview.scene is not None:
        scene = preview.scene
        grid = contact_grid(scene, preview.images.get("input"))
        media["scene"] = [save_png(grid, pictures / "scene.png")]
        if everything:
            media["turntable"] = [turntable(scene, pictures / f"turntable{film_suffix()}")]
            for kind, files in write_maps(scene, pictures).items():
                # a method's own batch of images may be called depth or normal
                media[kind if kind == "mesh" else f"maps/{kind}"] = files
    return media


def write_overview(scene: Scene, folder: Path, inputs: Tensor | None = None) -> list[Path]:
    """Write all subjects of a scene as ``overview.png`` and ``overview.mp4`` into `folder`.

    Without FFmpeg the film is ``overview.gif``.

    Args:
        scene: the subjects.
        folder: created if needed.
        inputs: (B, 3, H, W) in [-1, 1], the images the scene was reconstructed from.

    Returns:
        the files written; empty on ranks other than zero.

    Raises:
        UserError: a file cannot be written.
    """
    if rank_zero_only.rank != 0:
        return []
    folder, subjects = Path(folder), scene.batch_size
    with write_errors(folder):
        grid = contact_grid(scene, inputs, subjects=subjects)
        return [
            save_png(grid, folder / "overview.png"),
            turntable(scene, folder / f"overview{film_suffix()}", subjects=subjects),
        ]


def turntable(
    scene: Scene,
    path: Path,
    *,
    yaw: float = 40.0,
    steps: int = 37,
    fps: int = 24,
    tile: int = 192,
    subjects: int = 8,
) -> Path:
    """Film the subjects side by side while they turn to and fro, in colour and as bare shape.

    Args:
        scene: the subjects; bare shape needs normals.
        path: ``.mp4`` (H.264) or ``.gif``, which plays where videos do not.
        yaw: greatest angle to either side, degrees.
        steps: views rendered from one side to the other.
        fps: frames a second.
        tile: width of a picture in pixels.
        subjects: at most so many are shown.

    Returns:
        `path`.
    """
    # evenly spaced in phase, so that the subject slows down where it turns back
    angles = yaw * torch.sin(torch.linspace(-torch.pi / 2, torch.pi / 2, steps))
    frames = [
        turntable_frame(look(scene, yaw_view(scene, float(a))), tile, subjects) for a in angles
    ]
    middle = steps // 2  # begin and end frontal: the first frame is what a still shows
    order = [*range(middle, steps - 1), *range(steps - 1, 0, -1), *range(middle)]
    return write_video([frames[i] for i in order], Path(path), fps=fps)


def film_suffix() -> str:
    """Return what films are written as here: ``.mp4``, or ``.gif`` where FFmpeg is missing."""
    try:
        found = shutil.which(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:  # the package came without it
        found = None
    return ".mp4" if found else ".gif"


def write_video(frames: list[Image.Image], path: Path, *, fps: int = 24) -> Path:
    """Write frames of one size as ``.mp4`` (H.264, yuv420p, padded to even sides) or ``.gif``."""
    with atomic_write(path) as temporary:
        if path.suffix == ".gif":
            palette = frames[0].quantize(255)
            quantized = [
                frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames
            ]
            quantized[0].save(
                temporary,
                save_all=True,
                append_images=quantized[1:],
                duration=round(1000 / fps),
                loop=0,
            )
            return path
        width, height = (side + side % 2 for side in frames[0].size)
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            (width, height),
            fps=fps,
            codec="libx264",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-crf", "18", "-movflags", "+faststart"],
        )
        writer.send(None)
        for frame in frames:
            even = Image.new("RGB", (width, height), "white")
            even.paste(frame)
            writer.send(np.ascontiguousarray(even))
        writer.close()
    return path


def write_maps(scene: Scene, folder: Path, *, subjects: int = 4) -> dict[str, list[Path]]:
    """Write depth maps (coloured, 16-bit), normal maps and meshes of the first subjects.

    Depth and normals are seen from the input view if there is one; meshes are canonical.

    Returns:
        kind ("depth", "depth16", "normal", "mesh") -> files, one a subject, as
        ``<kind>_<index>``; only kinds the scene can give.
    """
    rendering = look(scene, reference_view(scene))
    mask, count = rendering.mask, range(min(subjects, scene.batch_size))
    written: dict[str, list[Path]] = {}
    if rendering.depth is not None:
        colours = on_white(depth_colours(rendering.depth, mask), mask)
        written["depth"] = _save_each(colours, folder, "depth", count)
        written["depth16"] = [
            save_depth(rendering.depth[i], mask[i], folder / f"depth16_{i:02d}.png") for i in count
        ]
    if rendering.normal is not None:
        colours = on_white(normal_colours(rendering.normal), mask)
        written["normal"] = _save_each(colours, folder, "normal", count)
    if "mesh" in scene.capabilities:
        written["mesh"] = [save_mesh(scene, i, folder) for i in count]
    return written


def save_mesh(scene: Scene, index: int, folder: Path) -> Path:
    """Write the canonical mesh of subject `index` as ``mesh_<index>.glb``.

    Raises:
        UserError: the scene has no mesh.
    """
    with torch.no_grad():
        return save_glb(scene.mesh(index), folder / f"mesh_{index:02d}.glb")


def _save_each(pictures: Tensor, folder: Path, kind: str, indices: Iterable[int]) -> list[Path]:
    return [save_png(to_image(pictures[i]), folder / f"{kind}_{i:02d}.png") for i in indices]


def _send(logger: WandbLogger, media: Mapping[str, list[Path]], step: int) -> None:
    import wandb

    kinds = {
        ".png": lambda path: wandb.Image(str(path), caption=path.stem),
        ".mp4": lambda path: wandb.Video(str(path), format="mp4"),
        ".gif": lambda path: wandb.Video(str(path), format="gif"),
        ".glb": lambda path: wandb.Object3D.from_file(str(path), "glb"),
    }
    row: dict[str, Any] = {
        f"preview/{key}": [kinds[p.suffix](p) for p in paths] for key, paths in media.items()
    }
    if row:
        logger.log_metrics(row, step=step)
