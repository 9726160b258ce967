"""Export a run as a teacher: generator (average weights) and discriminator in float16, and a card.

    python tools/export_teacher.py RUN OUT [--note TEXT] [--hours H] [--measured FILE]

RUN is of method `stylegan2` or `eg3d`; OUT is a folder that ``teacher=OUT`` (``teacher=eg3d:OUT``)
takes. To ship it, write it to ``src/gan3d_bench/assets/bundled/NAME`` and run
``tools/update_manifest.py``. ``--measured`` adds what ``tools/teacher_fid.py`` printed for the
exported generator, or the means and distances that ``tools/measure_eg3d.py`` or
``tools/measure_view_teacher.py`` wrote.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from gan3d_bench.config import to_dict
from gan3d_bench.errors import UserError
from gan3d_bench.files.run_folder import Run
from gan3d_bench.generators import eg3d, stylegan2
from gan3d_bench.generators.latents import update_w_statistics
from gan3d_bench.methods.phases import PhasedMethod
from gan3d_bench.training.fit import load_method

FOLLOWS = "warm start: regression onto rendered pictures; then adversarial, same pictures"
LICENCES = {
    **dict.fromkeys(("heads", "heads-360"), "CC0-1.0, as the head model it was trained on"),
    "cars": "of the cars that it was trained on: see the manifest of the asset cars",
}


def export(
    run: Run, out: Path, note: str, hours: float | None, measured: Path | None
) -> dict[str, Any]:
    """Write the three files and return the card."""
    method = load_method(run)
    config = to_dict(run.config)
    what = write_networks(method, out)
    data = config["data"].get("name") or "heads"
    card = {
        "name": out.name,
        "what": f"{what} of synthetic {data}, {method.generator_ema.image_size} pixels",
        "training": FOLLOWS,
        "images_shown": images_shown(method),
        "hours": hours,
        "note": note,
        **known(measured),
        "packages": run.environment["packages"],
        "machine": run.environment["machine"],
        "command": f"gan3d-bench fit --method {run.config.method} --preset {config['preset']}",
        "config": config,
        "licence": LICENCES[data],
    }
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return card


def write_networks(method: Any, out: Path) -> str:
    """Write generator and discriminator, statistics of w anew; return what kind they are.

    Raises:
        UserError: a run of another method.
    """
    out.mkdir(parents=True, exist_ok=True)
    name, rng = method.config.method, torch.Generator().manual_seed(0)
    generator, discriminator = method.generator_ema, method.discriminator
    files = (out / "generator.safetensors", out / "discriminator.safetensors")
    if name == "stylegan2":
        update_w_statistics(generator, rng)
        stylegan2.save_network(generator, files[0])
        stylegan2.save_network(discriminator, files[1])
        return "StyleGAN2"
    if name == "eg3d":
        update_w_statistics(generator, rng, labels=generator.config.orbit.frontal())
        eg3d.save_generator(generator, files[0])
        eg3d.save_discriminator(discriminator, files[1])
        return "EG3D"
    raise UserError(f"a run of method {name!r}: expected stylegan2 or eg3d")


def images_shown(method: PhasedMethod) -> dict[str, int]:
    """Pictures that each phase has seen."""
    done, batch = {}, method.config.batch  # type: ignore[attr-defined]
    for index, phase in enumerate(method.schedule):
        steps = phase.steps if index < method.phase_index else method.phase_step
        done[phase.name] = steps * batch if index <= method.phase_index else 0
    return done


def known(measured: Path | None) -> dict[str, Any]:
    """What a card says of how good the networks are."""
    if measured is None:
        return {"fid": None}
    read = json.loads(measured.read_text())
    if "means" in read:
        counts = ("heads", "views", "contents", "samples")
        facts = {key: read[key] for key in (*counts, "means") if key in read}
        return {"fid": read["fid"], "measured": facts}
    return {"fid": read}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--note", default="")
    parser.add_argument("--hours", type=float, help="of training, on the machine named")
    parser.add_argument("--measured", type=Path)
    options = parser.parse_args()
    run = Run.open(options.run)
    card = export(run, options.out, options.note, options.hours, options.measured)
    print(json.dumps({key: card[key] for key in ("name", "images_shown", "fid")}))


if __name__ == "__main__":
    main()
