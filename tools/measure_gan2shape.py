"""What GAN2Shape runs on heads know of them, as `oracle_ladder.py` says it of its rungs.

    python tools/measure_gan2shape.py OUT.json NAME=RUN [NAME=RUN ...]

SIDE and MAD of the own shape, of the mean of the run's shapes and of the next head's, at the true
view and at the view found, and the correlation of the individual part with the truth's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from oracle_ladder import Truth, scores, summary

from gan3d_bench.config import to_dict
from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.files.run_folder import Run, write_json
from gan3d_bench.machine import environment
from gan3d_bench.methods.gan2shape.factors import view_from_raw
from gan3d_bench.methods.gan2shape.method import GAN2Shape
from gan3d_bench.training.fit import load_method

SAID = ("correlation", "side, own", "side, mean less", "side, another less")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    options = parser.parse_args()
    rows = []
    for item in options.runs:
        name, path = item.split("=", 1)
        method = load_method(Run.open(Path(path)))
        assert isinstance(method, GAN2Shape)
        config, fitted = method.config, method.fitted
        heads = range(config.first, config.first + config.instances)
        truth = Truth(head_latents(config.split, heads), config.image_size)  # type: ignore[arg-type]
        means = summary(scores(truth, fitted.depth, view_from_raw(fitted.view)))
        rows.append({"row": name, "heads": len(heads), "means": means, "config": to_dict(config)})
        for key, x in means.items():
            if key.startswith(SAID):
                print(f"{name}: {key} {x['mean']:.3f} \u00b1 {x['error']:.3f}", flush=True)
    facts = {"commit": environment.commit(), "machine": environment.machine()}
    write_json(options.out, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
