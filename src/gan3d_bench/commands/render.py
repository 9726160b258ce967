"""``gan3d-bench render``: pictures, a turntable and a mesh of a run's scene."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import require_folder
from gan3d_bench.files.run_folder import Run
from gan3d_bench.terminal import say
from gan3d_bench.training.fit import load_method

MOST = 1024  # subjects


def render(
    path: Path, yaw: Sequence[float], pitch: float, roll: float, count: int, seed: int,
    out: Path | None,
) -> int:  # fmt: skip
    """Write pictures of the run's scene at each yaw (degrees), a turntable (MP4) and meshes (GLB).

    Raises:
        UserError: not a run, no readable checkpoint, or nothing to show.
    """
    run = Run.open(path)
    folder = out or run.pictures / "render"
    require_folder("--out", folder)
    method = load_method(run)

    import torch
    from torchvision.utils import save_image

    from gan3d_bench.geometry.views import View
    from gan3d_bench.tracking.media import save_mesh, write_overview

    with torch.no_grad():
        preview = method.preview()
        scene = preview.scene
        if run.spec.samples:
            scene = method.sample(count, torch.Generator().manual_seed(seed))
        if scene is None:
            raise UserError(f"{run}: method '{run.spec.name}' has no scene to render")
        written = write_overview(scene, folder, preview.images.get("input"))
        for angle in yaw:
            view = View.from_angles([angle] * scene.batch_size, pitch, roll)
            rgb = scene.render(view).rgb
            written.append(folder / f"yaw_{angle + 0.0:+g}.png")
            save_image(rgb, written[-1], normalize=True, value_range=(-1, 1))
        if "mesh" in scene.capabilities:
            for index in range(min(count, scene.batch_size)):
                written.append(save_mesh(scene, index, folder))
    for file in written:
        say(file)
    return 0
