"""What a scene looks like, written to files and sent to W&B.

Grids of pictures, turntables (MP4 or GIF), depth and normal maps, meshes (GLB). Rendering happens
without gradient, one view of all subjects at a time. Rank zero writes; elsewhere nothing happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from gan3d_bench.files.atomic import atomic_write, write_errors
from gan3d_bench.files.glb import save_glb
from gan3d_bench.geometry.views import View
from gan3d_bench.pictures.grids import (
    Column,
    depth_colours,
    image_grid,
    labelled_grid,
    normal_colours,
    on_white,
    resized,
    save_depth,
    save_png,
    shape_picture,
    to_image,
    unit_range,
)
from gan3d_bench.rendering.shading import Light
from gan3d_bench.scenes.base import Rendering, Scene
from gan3d_bench.scenes.preview import Preview

GRID_YAWS = (-40.0, -20.0, 20.0, 40.0)
# name -> direction from the subject towards the light (x right, y down, z forward)
GRID_LIGHTS = {
    "left": (-1.2, -0.2, -1.0),
    "above": (0.0, -1.2, -1.0),
    "right": (1.2, -0.2, -1.0),
    "below": (0.0, 1.2, -1.0),
}


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
            ``scene.png``, ``turntable.mp4`` and, for the first subjects, depth maps (coloured and
            16-bit), normal maps and meshes, as far as its capabilities go.
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
            media["turntable"] = [turntable(scene, pictures / "turntable.mp4")]
            for kind, files in write_maps(scene, pictures).items():
                # a method's own batch of images may be called depth or normal
                media[kind if kind == "mesh" else f"maps/{kind}"] = files
    return media


def write_overview(scene: Scene, folder: Path, inputs: Tensor | None = None) -> list[Path]:
    """Write all subjects of a scene as ``overview.png`` and ``overview.mp4`` into `folder`.

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
            turntable(scene, folder / "overview.mp4", subjects=subjects),
        ]


def contact_grid(
    scene: Scene, inputs: Tensor | None = None, *, tile: int = 128, subjects: int = 16
) -> Image.Image:
    """One row a subject: input, reconstruction, albedo, depth, normal, shape, rotated, relit.

    Columns that the scene cannot give are left out. Everything but the rotated views is seen from
    the input view if the scene has one, else from the canonical view.

    Args:
        scene: the subjects.
        inputs: (B, 3, H, W) in [-1, 1]; other batch sizes are not shown.
        tile: width of a picture in pixels.
        subjects: at most so many rows.
    """
    reference = _look(scene, reference_view(scene))
    seen: list[Column] = []
    if inputs is not None and len(inputs) == scene.batch_size:
        seen.append(Column("input", unit_range(inputs)))
    mask = reference.mask
    title = "reconstruction" if scene.input_view is not None else "rendered"
    seen.append(Column(title, _rgb(reference)))
    factors: list[Column] = []
    if reference.albedo is not None:
        factors.append(Column("albedo", on_white(unit_range(reference.albedo), mask)))
    if reference.depth is not None:
        factors.append(Column("depth", on_white(depth_colours(reference.depth, mask), mask)))
    if reference.normal is not None:
        factors.append(Column("normal", on_white(normal_colours(reference.normal), mask)))
        factors.append(Column("shape", on_white(shape_picture(reference.normal), mask)))
    rotated = [
        Column(f"yaw {yaw:+.0f}°", _rgb(_look(scene, _view(scene, yaw)))) for yaw in GRID_YAWS
    ]
    relit: list[Column] = []
    if "relight" in scene.capabilities:
        for name, direction in GRID_LIGHTS.items():
            light = side_light(reference, direction)
            picture = _rgb(_look(scene, reference_view(scene), light))
            relit.append(Column(f"light {name}", picture))
    groups = [
        [Column(column.label, column.pictures[:subjects]) for column in group]
        for group in (seen, factors, rotated, relit)
    ]
    return labelled_grid(groups, tile=tile)


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
    frames = [_frame(_look(scene, _view(scene, float(a))), tile, subjects) for a in angles]
    middle = steps // 2  # begin and end frontal: the first frame is what a still shows
    order = [*range(middle, steps - 1), *range(steps - 1, 0, -1), *range(middle)]
    return write_video([frames[i] for i in order], Path(path), fps=fps)


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
    rendering = _look(scene, reference_view(scene))
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
        written["mesh"] = [save_glb(scene, i, folder / f"mesh_{i:02d}.glb") for i in count]
    return written


def _save_each(pictures: Tensor, folder: Path, kind: str, indices: Iterable[int]) -> list[Path]:
    return [save_png(to_image(pictures[i]), folder / f"{kind}_{i:02d}.png") for i in indices]


def _send(logger: WandbLogger, media: Mapping[str, list[Path]], step: int) -> None:
    import wandb

    kinds = {
        ".png": lambda path: wandb.Image(str(path), caption=path.stem),
        ".mp4": lambda path: wandb.Video(str(path), format="mp4"),
        ".glb": lambda path: wandb.Object3D.from_file(str(path), "glb"),
    }
    row: dict[str, Any] = {
        f"preview/{key}": [kinds[p.suffix](p) for p in paths] for key, paths in media.items()
    }
    if row:
        logger.log_metrics(row, step=step)


def _look(scene: Scene, view: View, light: Light | None = None) -> Rendering:
    with torch.no_grad():
        return scene.render(view, light)


def reference_view(scene: Scene) -> View:
    """The input view of a scene if it has one, else the canonical view."""
    return scene.input_view if scene.input_view is not None else _view(scene, 0.0)


def _view(scene: Scene, yaw: float) -> View:
    return View.from_angles(torch.full((scene.batch_size,), yaw))


def side_light(own: Rendering, direction: tuple[float, float, float]) -> Light:
    """Light from a direction as those of `GRID_LIGHTS`, as bright as the subjects' own.

    Args:
        own: the subjects in their own light; where its shading is unknown, the light is such that
            what faces it shows its albedo.
        direction: towards the light, camera space, of any length.
    """
    full = brightness(own)
    towards = F.normalize(torch.tensor(direction), dim=0).expand(len(full), 3)
    return Light(0.3 * full, 0.7 * full, towards)


def brightness(own: Rendering) -> Tensor:
    """The brightest shading (B,) of subjects, on the CPU; 1 where it is unknown."""
    if own.shading is None:
        return torch.ones(len(own.rgb))
    return (own.shading * own.mask).float().flatten(1).amax(1).cpu()


def _rgb(rendering: Rendering) -> Tensor:
    return on_white(unit_range(rendering.rgb), rendering.mask)


def _frame(rendering: Rendering, tile: int, subjects: int) -> Image.Image:
    """Colour above bare shape, at most six subjects a line."""
    rows = [_rgb(rendering)]
    if rendering.normal is not None:
        rows.append(on_white(shape_picture(rendering.normal), rendering.mask))
    rows = [resized(pictures[:subjects], tile) for pictures in rows]
    count = min(6, len(rows[0]))
    cells: list[Tensor] = []
    for start in range(0, len(rows[0]), count):
        for pictures in rows:
            line = pictures[start : start + count]
            cells += [*line, *torch.ones(count - len(line), *line.shape[1:])]
    return to_image(make_grid(torch.stack(cells), nrow=count, padding=4, pad_value=1.0))
