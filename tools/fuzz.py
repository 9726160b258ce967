"""Try what nobody means to do: mutated arguments, configs, files and kills, and judge how it ends.

    python tools/fuzz.py --count 1000 --seed 0     # exit 1 if a try went wrong
    python tools/fuzz.py --seed 0 --only 123       # one of them again, with what it printed

Every try must end by itself, in bounded memory, with exit code 0, or 2 and one line on standard
error, and without having run anything that a file held. What is mutated comes from the registry:
keys and presets of every method, rows and columns of every table, every importer, every command. So
a method that joins is tried, too.

Each try is a process forked from this one, which has imported all that is slow, and depends on the
seed and its number alone. Nothing is stored but what ``--out FILE`` asks for: the tries that went
wrong, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "COLUMNS": "100"}
os.environ.pop("GAN3D_BENCH_RUNS", None)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="number of tries")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of one try to repeat and show")
    parser.add_argument("--kinds", nargs="+", help="only these kinds of tries")
    parser.add_argument("--methods", nargs="+", help="whose runs are damaged; default: all")
    parser.add_argument("--out", type=Path, help="JSON file of the tries that went wrong")
    options = parser.parse_args(arguments)

    from fuzzing.kinds import KINDS, Campaign

    chosen = [kind for kind in KINDS if kind.name in (options.kinds or [kind.name])]
    numbers = range(options.count) if options.only is None else [options.only]
    began, ends, wrong = time.monotonic(), Counter(), []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        campaign = Campaign(Path(folder).resolve(), options.methods)
        for number in numbers:
            rng = random.Random(f"{options.seed}/{number}")
            (kind,) = rng.choices(chosen, [kind.weight for kind in chosen])
            tried = campaign.attempt(kind, rng, number)
            ends[kind.name, tried.end] += 1
            if options.only is not None:
                print(f"{tried.command}\n--- stdout\n{tried.out}\n--- stderr\n{tried.err}---")
            if tried.fault:
                wrong.append(tried)
                print(f"{number} {kind.name}: {tried.fault}: {tried.command[:300]}", flush=True)
    for kind in chosen:
        found = {end: count for (name, end), count in sorted(ends.items()) if name == kind.name}
        print(f"{kind.name:12} {sum(found.values()):5} tries: "
              + ", ".join(f"{count} {end}" for end, count in found.items()))  # fmt: skip
    print(f"{len(wrong)} went wrong, {time.monotonic() - began:.0f} s")
    if options.out:
        content = [vars(tried) | {"seed": options.seed} for tried in wrong]
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
