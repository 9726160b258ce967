"""Export the five networks of a joint GAN2Shape run as a start for others: float16, and a card.

    python tools/export_start.py RUN OUT [--note TEXT] [--hours H]

OUT is a folder that ``fit --method gan2shape start=OUT`` takes. To ship it, write it to
``src/gan3d_bench/assets/bundled/gan2shape-heads-64`` and run ``tools/update_manifest.py``.
"""

import argparse
import json
from pathlib import Path

from gan3d_bench.config import to_dict
from gan3d_bench.files.run_folder import Run
from gan3d_bench.methods.gan2shape.checkpoint import save_networks
from gan3d_bench.methods.gan2shape.method import GAN2Shape
from gan3d_bench.training.fit import load_method


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--note", default="")
    parser.add_argument("--hours", type=float, help="of training, on the machine named")
    options = parser.parse_args()
    run = Run.open(options.run)
    method: GAN2Shape = load_method(run)  # type: ignore[assignment]
    save_networks(method.networks, options.out)
    config = to_dict(run.config)
    card = {
        "name": options.out.name,
        "what": "D, A, V, L and E of GAN2Shape for synthetic heads at 64 pixels",
        "training": "no ground truth but object masks: warm-up on the teacher's samples, then joint"
        " training on heads of the train split",
        "steps": int(method.step),
        "hours": options.hours,
        "note": options.note,
        "packages": run.environment["packages"],
        "machine": run.environment["machine"],
        "command": f"gan3d-bench fit --method gan2shape --preset {config['preset']}",
        "config": config,
        "licence": "CC0-1.0, as the head model it was trained on",
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps({key: card[key] for key in ("name", "steps", "hours")}))


if __name__ == "__main__":
    main()
