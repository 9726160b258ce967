"""FID and KID of a StyleGAN2 teacher against the images it was trained on, for its card.

    python tools/teacher_fid.py --generator FILE --data DIR --samples 2000

DIR holds ``image.npy`` or image files of the generator's size. Both sides have the same number of
images; FID below some thousands is biased upwards, so the number is part of the result. The real
side's features are kept beside the data and used again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.assets.fetch import fetch
from gan3d_bench.generators.base import Generator
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.stylegan2 import load_generator
from gan3d_bench.methods.stylegan2.config import DataConfig
from gan3d_bench.methods.stylegan2.data import Images, open_images
from gan3d_bench.metrics.fid import collect_features, compare_features
from gan3d_bench.metrics.inception import InceptionFeatures
from gan3d_bench.progress import StepProgress


@torch.no_grad()
def generated(generator: Generator, n: int, batch: int, seed: int, psi: float) -> Iterator[Tensor]:
    """Yield `n` images with fixed noise maps; the same ones at any batch size."""
    device = next(generator.parameters()).device
    z = sample_z(n, generator.z_dim, torch.Generator().manual_seed(seed))
    for part in z.split(batch):
        yield generator(part.to(device), psi).clamp(-1, 1)


def drawn(images: Images, n: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Yield `n` different images (all there are, if fewer), drawn at random."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:n]
    for part in order.split(batch):
        yield images.read(part.sort().values)[0]


def real_features(
    options: argparse.Namespace, images: Images, network: InceptionFeatures
) -> Tensor:
    """Return the features of the drawn real images, from the file of an earlier call if it fits."""
    what = f"{network.variant} {len(images)} {options.samples} {options.seed}"
    path = options.data / f"features-{hashlib.sha256(what.encode()).hexdigest()[:12]}.npy"
    if path.is_file():
        return torch.from_numpy(np.load(path, allow_pickle=False))
    stream = drawn(images, options.samples, options.batch, options.seed)
    features = collected("real", stream, options.samples, network)
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        np.save(file, features.numpy())
    partial.replace(path)
    return features


def collected(label: str, stream: Iterator[Tensor], n: int, network: InceptionFeatures) -> Tensor:
    with StepProgress(n, passing=True) as bar:
        return collect_features(stream, n, network, lambda done, _: bar.update(label, done))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generator", type=Path, required=True, help="generator safetensors")
    parser.add_argument("--data", type=Path, required=True, help="folder of real images")
    parser.add_argument("--samples", type=int, default=2000, metavar="IMAGES")
    parser.add_argument("--psi", type=float, default=1.0, help="truncation; 1 is none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16, metavar="IMAGES")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()

    fetch("inception-fid")
    generator = load_generator(options.generator).to(options.device)
    images = open_images(DataConfig(path=str(options.data)), generator.image_size)
    network = InceptionFeatures().to(options.device)
    real = real_features(options, images, network)
    fakes = generated(generator, options.samples, options.batch, options.seed, options.psi)
    fake = collected("generated", fakes, options.samples, network)
    result = asdict(compare_features(fake, real, network))
    print(json.dumps({**result, "psi": options.psi, "seed": options.seed}, indent=1))


if __name__ == "__main__":
    main()
