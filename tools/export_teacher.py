"""Export a StyleGAN2 run as a teacher: generator (EMA) and discriminator in float16, and a card.

    python tools/export_teacher.py RUN OUT [--note TEXT] [--hours H] [--fid FILE]

OUT is a folder that ``fit --method gan2shape teacher=OUT`` takes. To ship it, write it to
``src/gan3d_bench/assets/bundled/heads-teacher-64`` and run ``tools/update_manifest.py``.
``--fid`` adds the JSON that ``tools/teacher_fid.py`` printed for the exported generator.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from gan3d_bench.config import to_dict
from gan3d_bench.files.run_folder import Run
from gan3d_bench.generators.latents import update_w_statistics
from gan3d_bench.generators.stylegan2.checkpoint import save_network
from gan3d_bench.training.fit import load_method


def export(run: Run, out: Path, note: str, hours: float | None, fid: Path | None) -> dict[str, Any]:
    """Write the three files and return the card."""
    method = load_method(run)
    config = to_dict(run.config)
    update_w_statistics(method.generator_ema, torch.Generator().manual_seed(0))
    save_network(method.generator_ema, out / "generator.safetensors")
    save_network(method.discriminator, out / "discriminator.safetensors")
    batch, done = config["batch"], {}
    for index, phase in enumerate(method.schedule):
        steps = phase.steps if index < method.phase_index else method.phase_step
        done[phase.name] = steps * batch if index <= method.phase_index else 0
    card = {
        "name": out.name,
        "what": "StyleGAN2 of synthetic heads (the suite's own head model), 64 pixels",
        "training": "warm start: regression onto rendered heads; then adversarial, same images",
        "images_shown": done,
        "hours": hours,
        "note": note,
        "fid": json.loads(fid.read_text()) if fid else None,
        "packages": run.environment["packages"],
        "machine": run.environment["machine"],
        "command": f"gan3d-bench fit --method stylegan2 --preset {config['preset']}",
        "config": config,
        "licence": "CC0-1.0, as the head model it was trained on",
    }
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--note", default="")
    parser.add_argument("--hours", type=float, help="of training, on the machine named")
    parser.add_argument("--fid", type=Path)
    options = parser.parse_args()
    card = export(Run.open(options.run), options.out, options.note, options.hours, options.fid)
    print(json.dumps({key: card[key] for key in ("name", "images_shown", "fid")}))


if __name__ == "__main__":
    main()
