"""The contact sheet of the cars for the docs: every shape from front and back, looks, and maps.

python tools/car_sheet.py --out docs/figures/cars.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from gan3d_bench.cars.pack import LOOKS, CarPack
from gan3d_bench.cars.sampling import CarParameters, render_cars

COLUMNS = 13


def parameters(shape: list[int], look: list[int], azimuth: list[float], elevation: float):
    """Cars of ordinary size, lit from above the camera's left."""
    count = len(shape)
    return CarParameters(
        torch.tensor(shape),
        torch.tensor(look),
        torch.tensor(azimuth),
        torch.full((count,), elevation),
        scale=torch.full((count,), 1.05),
        stretch=torch.ones(count, 3),
        ambient=torch.full((count,), 0.45),
        diffuse=torch.full((count,), 0.6),
        light_direction=torch.nn.functional.normalize(
            torch.tensor([[-0.5, -0.7, -1.0]]), dim=1
        ).expand(count, 3),
        background=torch.tensor([[0.9, 0, 0, 0.1, 0, -0.6, 0, 0]]).expand(count, 8),
    )


def sheet(image_size: int) -> Tensor:
    """(3, H, W) in [0, 1]."""
    pack = CarPack.load()
    every = list(range(len(pack)))
    many = len(every)
    wide = [(3 * k) % many for k in range(COLUMNS)]
    rows = [
        parameters(every, [0] * many, [35.0] * many, 15.0),
        parameters(every, [0] * many, [215.0] * many, 25.0),
        # one car all round, then other looks
        parameters([many - 2] * COLUMNS, [0] * COLUMNS,
                   [360.0 * k / COLUMNS for k in range(COLUMNS)], 10.0),
        parameters(wide, [k % len(LOOKS) for k in range(COLUMNS)], [325.0] * COLUMNS, 15.0),
    ]  # fmt: skip
    with torch.inference_mode():
        drawn = [render_cars(row, image_size, 3) for row in rows]
        last = drawn[-1]
        nearness = ((1.07 - last["depth"]) / 0.14).clamp(0, 1).expand(-1, 3, -1, -1)
        nearness = nearness * (last["mask"] >= 0.5)
        towards = (last["normal"] * torch.tensor([1.0, -1.0, -1.0])[:, None, None] + 1) / 2
    tiles = [(maps["image"] + 1) / 2 for maps in drawn]
    return make_grid(torch.cat([*tiles, nearness, towards]), nrow=COLUMNS, padding=1, pad_value=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--image-size", type=int, default=72)
    options = parser.parse_args()
    picture = sheet(options.image_size)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pixels = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
