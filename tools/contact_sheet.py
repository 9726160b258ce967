"""The contact sheet of the head data for the docs.

python tools/contact_sheet.py --out docs/figures/heads.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from gan3d_bench.datamodules.heads import head_latents, render_heads, sample_heads


def contact_sheet(rows: int, columns: int, image_size: int, detailed: int, seed: int) -> Tensor:
    """(3, H, W) in [0, 1]: `rows` rows of heads, then depth, normals and albedo of `detailed`."""
    latents = head_latents("test", range(rows * columns), seed)
    tiles = []
    details = {"depth": [], "normal": [], "albedo": []}
    with torch.inference_mode():
        for row in range(rows):
            maps = render_heads(
                sample_heads(latents[row * columns : (row + 1) * columns]), image_size, 3
            )
            tiles.append((maps["image"] + 1) / 2)
            if row < detailed:
                nearness = ((1.05 - maps["depth"]) / 0.13).clamp(0, 1)
                details["depth"].append(nearness.expand(-1, 3, -1, -1))
                towards = maps["normal"] * torch.tensor([1.0, -1.0, -1.0])[:, None, None]
                details["normal"].append((towards + 1) / 2)
                details["albedo"].append((maps["albedo"] + 1) / 2)
    order = tiles[:1]
    for i in range(detailed):
        order += ([tiles[i]] if i else []) + [details[name][i] for name in details]
    order += tiles[detailed:]
    return make_grid(torch.cat(order), nrow=columns, padding=1, pad_value=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--columns", type=int, default=9)
    parser.add_argument("--image-size", type=int, default=72)
    parser.add_argument("--detailed", type=int, default=1, help="rows shown with their maps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sheet = contact_sheet(
        options.rows, options.columns, options.image_size, options.detailed, options.seed
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray((sheet * 255).round().byte().permute(1, 2, 0).numpy())
    picture.save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
