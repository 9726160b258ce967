"""Teach A of a GAN2Shape start to repeat the picture it is given, where it gave all the same.

    python tools/teach_albedo.py START OUT [--preset heads-64] [--samples 2000] [--steps 1500]

A of a run is each instance's own, so that joint training teaches a start nothing about it; what it
begins with is best near the picture. It learns from samples of the teacher, unlabelled. The other
networks are START's; the card is START's with what was done to A.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from distil_start import answering, distil, unchanged

from gan3d_bench.assets.store import asset_path
from gan3d_bench.config import compose
from gan3d_bench.generators.latents import numbered_z
from gan3d_bench.methods.gan2shape.checkpoint import save_networks
from gan3d_bench.methods.gan2shape.config import START, assets_with
from gan3d_bench.methods.gan2shape.method import GAN2Shape
from gan3d_bench.methods.gan2shape.model import CHUNK
from gan3d_bench.registry import registry


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("start")
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", default="heads-64")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    began = time.time()
    keys = [f"start={options.start}", "instances=1"]
    method = GAN2Shape(compose(registry("methods").get("gan2shape"), options.preset, None, keys))  # type: ignore[arg-type]
    method.networks.load_means()
    method.networks.reset()
    generator = method.teacher.generator
    with torch.no_grad():
        z = numbered_z("train", range(options.samples), generator.z_dim)
        w = generator.truncate(generator.mapping(z), method.config.warmup.truncation)
        images = torch.cat([method.teacher.generated(part).half() for part in w.split(CHUNK)])
    net = method.networks.albedo_net.requires_grad_(True)
    lost = distil(
        "A", net, answering(net, unchanged), images, images.float(),
        steps=options.steps, people=options.samples,
    )  # fmt: skip
    save_networks(method.networks, options.out)
    known = options.start in assets_with(START)
    folder = asset_path(options.start) if known else Path(options.start)
    card = json.loads((folder / "card.json").read_text())
    card["albedo_net"] = {
        "taught": "to repeat the picture it is given (tools/teach_albedo.py)",
        "samples": options.samples,
        "steps": options.steps,
        "lost": lost,
        "hours": round((time.time() - began) / 3600, 2),
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    print(lost)


if __name__ == "__main__":
    main()
