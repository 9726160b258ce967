"""``gan3d-bench camera``: photographs as EG3D takes them, crops with their cameras."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gan3d_bench.commands.pictures import read_pictures, require_on_bad
from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write, require_folder, write_errors
from gan3d_bench.files.escaping import comma_separated
from gan3d_bench.files.run_folder import write_json
from gan3d_bench.machine.device import require_device
from gan3d_bench.terminal import say

if TYPE_CHECKING:
    from PIL.Image import Image

    from gan3d_bench.generators.eg3d.photographs import PhotographCamera

COLUMNS = ("name", "yaw", "pitch", "roll", "landmark_error", "invented")


def camera(
    photographs: Sequence[Path],
    model: str,
    landmarks: str,
    image_size: int,
    device: str,
    out: Path,
    on_bad: str = "refuse",
) -> int:
    """Cut the largest face of each photograph and find its camera.

    Written to `out`: ``<stem>.png``, the crops; ``dataset.json`` with ``labels``, a list of file
    name and 25 numbers, as EG3D's tools read it; ``cameras.csv`` with the angles of the views in
    degrees, the landmarks' error in pixels of 256, and the share of the crop that lies outside of
    the photograph.

    Args:
        photographs: pictures, folders or zip files.
        model: ``heads``, or the path of a Basel Face Model.
        landmarks: see `faces.landmark_sources.SOURCES`.
        image_size: of the crops.
        device: such as "cpu" or "cuda"; "auto" takes a GPU if there is one.
        out: folder.
        on_bad: ``refuse`` stops at a picture that cannot be used, ``skip`` leaves it out.

    Raises:
        UserError: no such landmarks or model, or a picture that cannot be used.
    """
    require_on_bad(on_bad)
    require_folder("--out", out)

    from gan3d_bench.faces.landmark_sources import open_landmarks
    from gan3d_bench.files.photographs import to_tensor
    from gan3d_bench.generators.eg3d.photographs import PhotographCameras
    from gan3d_bench.pictures.grids import save_png, to_image, unit_range

    finder = PhotographCameras(model, open_landmarks(landmarks), device=require_device(device))

    def take(picture: Image, name: str) -> list[PhotographCamera]:
        found = finder(to_tensor(picture), image_size)
        if found is None:
            raise UserError(f"{name}: no face in it that {landmarks} finds")
        return [found]

    given = read_pictures(photographs, take, on_bad)
    rows, labels = [], []
    for name, found in given.items():
        save_png(to_image(unit_range(found.image)), out / f"{name}.png")
        labels.append([f"{name}.png", [round(x, 7) for x in found.label.tolist()]])
        view = finder.orbit.view(found.label[None])
        angles = (float(angle) for angle in (view.yaw, view.pitch, view.roll))
        numbers = [*angles, found.landmark_error, found.invented]
        rows.append([comma_separated(name), *(f"{x:.3f}" for x in numbers)])
        say("{}: yaw {}, pitch {}, roll {} degrees".format(name, *rows[-1][1:4]))
    write_json(out / "dataset.json", {"labels": labels})
    table = out / "cameras.csv"
    with write_errors(table), atomic_write(table) as draft, draft.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    for file in (out / "dataset.json", table):
        say(file)
    return 0
