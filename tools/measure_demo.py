"""Time `make demo` in a fresh clone of this commit, and store what it took and found.

    python tools/measure_demo.py [--avx2] [--out results/measurements/demo.json]

`--avx2` holds PyTorch to AVX2, as on a processor without bfloat16 instructions. The file holds one
entry for each kind of machine and precision; a new one replaces the old one of its kind.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from gan3d_bench.machine import environment

ROOT = Path(__file__).resolve().parents[1]
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
OWN = ("OMP_NUM_THREADS", "PYTHONPATH", "PYTEST_CURRENT_TEST", "GAN3D_BENCH_RUNS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--avx2", action="store_true", help="as without bfloat16 instructions")
    parser.add_argument("--out", type=Path, default=ROOT / "results/measurements/demo.json")
    args = parser.parse_args()
    variables = AVX2 if args.avx2 else {}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        shell = {name: value for name, value in os.environ.items() if name not in OWN}
        began = time.monotonic()
        subprocess.run(["make", "demo"], cwd=clone, env={**shell, **variables}, check=True)
        seconds = time.monotonic() - began
        (run,) = (clone / "runs" / "gan2shape").glob("*/*/")
        row = json.loads(next((run / "tables").glob("shape.gan2shape*.row.json")).read_text())
        known = json.loads((run / "environment.json").read_text())
    entry = {
        "commit": environment.commit(),
        "machine": environment.machine(),
        "variables": variables,
        "load_before": load,
        "seconds": round(seconds, 1),
        "precision": known["precision"],
        "row": row["row"],
        "items": row["items"],
        "seed": row["provenance"]["seed"],
        "values": row["values"],
    }
    kind = f"{entry['machine']['processor']}, {known['precision']['value']}"
    stored = json.loads(args.out.read_text()) if args.out.is_file() else {}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**stored, kind: entry}, indent=2) + "\n")
    print(f"{kind}: {seconds / 60:.1f} minutes, stored in {args.out}")


if __name__ == "__main__":
    main()
