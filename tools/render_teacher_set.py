"""Render (latent, image) pairs of heads, onto which a StyleGAN2 generator is first regressed.

    python tools/render_teacher_set.py --out .cache/teacher64 --count 60000

The latents are 256-dimensional, divided by their root mean square as StyleGAN2's mapping network
does; their first entries drive the head (`heads_sampling.LAYOUT`). Written: z256.npy (N, 256)
float16, z.npy (N, NUM_LATENTS) float16, image.npy (N, 3, S, S) uint8. A killed run goes on where
it stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from gan3d_bench.datamodules.heads_sampling import NUM_LATENTS, render_heads, sample_heads
from gan3d_bench.geometry.morphable_model import MorphableModel

BLOCK = 1000  # images that a worker renders at a time


def teacher_latents(count: int, seed: int, dim: int = 256) -> torch.Tensor:
    """Pixel-normalised standard normals (count, dim), rounded to float16."""
    normal = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return (normal / normal.square().mean(1, keepdim=True).sqrt()).half()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60000)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    latents = teacher_latents(options.count, options.seed)
    np.save(options.out / "z256.npy", latents.numpy())
    np.save(options.out / "z.npy", latents[:, :NUM_LATENTS].numpy())
    shape = (options.count, 3, options.image_size, options.image_size)
    path, marker = options.out / "image.npy", options.out / "done.json"
    done = set(json.loads(marker.read_text())) if marker.is_file() and path.is_file() else set()
    images = open_memmap(path, "r+" if done else "w+", np.uint8, None if done else shape)
    starts = [start for start in range(0, options.count, BLOCK) if start not in done]
    blocks = [latents[start : start + BLOCK].numpy() for start in starts]
    begun = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, torch.set_num_threads, (1,)) as pool:
        work = pool.map(render, blocks, [options.image_size] * len(blocks))
        for number, (start, block) in enumerate(zip(starts, work, strict=True), 1):
            images[start : start + len(block)] = block
            images.flush()
            done.add(start)
            marker.write_text(json.dumps(sorted(done)))
            left = (time.monotonic() - begun) / number * (len(starts) - number) / 60
            print(f"{len(done) * BLOCK} of {options.count}, {left:.1f} min left", flush=True)


def render(latents: np.ndarray, image_size: int) -> np.ndarray:
    """Latents (N, 256) -> images (N, 3, S, S) uint8."""
    model = MorphableModel.load_heads()
    images = []
    with torch.inference_mode():
        for part in torch.from_numpy(latents).float().split(32):
            image = render_heads(sample_heads(part, model), image_size, model=model)["image"]
            images.append(((image + 1) * 127.5).round().to(torch.uint8))
    return torch.cat(images).numpy()


if __name__ == "__main__":
    main()
