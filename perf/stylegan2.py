"""Speed of the 64-pixel StyleGAN2 generator on the CPU against a floor of plain convolutions.

The floor runs one `F.conv2d` for each convolution of the network, of the same channels and the same
number of multiplications (an up-sampling convolution's happen at its input's size; its blur is a
depthwise convolution), in the faster of the two memory formats, and nothing else: no modulation,
demodulation, noise, bias or activation. Generator and floor take turns of a few passes; medians and
their ratio are printed, over all passes but the first of each turn, and of those first ones, which
find the caches full of the others' data.

    python -m perf.stylegan2 [--threads 2] [--batch 16] [--turns 15] [--precision 32 bf16]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.generators.stylegan2 import Generator

TARGET = 1.2  # times the floor (issue 2, Speed), without reduced precision
PASSES = 4  # a turn


def convolutions(generator: Generator) -> list[tuple[Tensor, int, int]]:
    """Weight, side of the input and groups of every convolution that a floor has to run."""
    layers = []
    for name, block in generator.synthesis.blocks.items():
        size = int(name)
        if block.conv0 is not None:
            channels = block.conv0.weight.shape[0]
            blur = block.conv0.kernel.expand(channels, 1, 4, 4)
            layers += [(block.conv0.weight, size // 2, 1), (blur, size, channels)]
        layers += [(block.conv1.weight, size, 1), (block.to_rgb.weight, size, 1)]
    return layers


def floor(
    generator: Generator, batch: int, dtype: torch.dtype, layout: torch.memory_format
) -> Callable[[], None]:
    """Return a function that runs every convolution once, on inputs made beforehand."""
    work = [
        (
            torch.randn(batch, weight.shape[1] * groups, size, size).to(
                dtype, memory_format=layout
            ),
            weight.detach().to(dtype, memory_format=layout),
            groups,
        )
        for weight, size, groups in convolutions(generator)
    ]

    def run() -> None:
        for x, weight, groups in work:
            F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)

    return run


def flops(generator: Generator) -> int:
    """Multiplications and additions of all convolutions for one image."""
    return sum(2 * weight.numel() * size**2 for weight, size, _ in convolutions(generator))


def measure(batch: int, turns: int, precision: str) -> dict[str, tuple[float, float]]:
    """Return median seconds for one batch, of steady and of first passes.

    Returns:
        "generator", and "floor" in the memory format whose steady passes are faster.
    """
    torch.manual_seed(0)
    generator = Generator().eval()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    w = torch.randn(batch, generator.w_dim)

    def synthesize() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            generator.synthesis(w)

    result = medians(
        {
            "generator": synthesize,
            "contiguous": floor(generator, batch, dtype, torch.contiguous_format),
            "channels last": floor(generator, batch, dtype, torch.channels_last),
        },
        turns,
    )
    best = min(result["contiguous"], result["channels last"])
    return {"generator": result["generator"], "floor": best}


@torch.inference_mode()
def medians(
    functions: dict[str, Callable[[], object]], turns: int
) -> dict[str, tuple[float, float]]:
    """Median seconds of each function's steady and first passes; the functions take turns, so
    that all see the same machine. The first turn warms up."""
    times: dict[str, list[list[float]]] = {name: [] for name in functions}
    for _ in range(turns + 1):
        for name, run in functions.items():
            marks = [time.perf_counter()]
            for _ in range(PASSES):
                run()
                marks.append(time.perf_counter())
            times[name].append([end - start for start, end in pairwise(marks)])
    return {
        name: (
            statistics.median(seconds for turn in rows[1:] for seconds in turn[1:]),
            statistics.median(turn[0] for turn in rows[1:]),
        )
        for name, rows in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--batch", type=int, default=16, help="images a pass")
    parser.add_argument("--turns", type=int, default=15, help=f"turns of {PASSES} passes")
    parser.add_argument("--precision", choices=("32", "bf16"), nargs="+", default=["32", "bf16"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    gigaflops = flops(Generator()) * options.batch / 1e9
    for precision in options.precision:
        result = measure(options.batch, options.turns, precision)
        steady, first = (ours / best for ours, best in zip(*result.values(), strict=True))
        speeds = ", ".join(
            f"{name} {1e3 * seconds:.1f} ms ({gigaflops / seconds:.0f} GFLOP/s)"
            for name, (seconds, _) in result.items()
        )
        verdict = ""
        if precision == "32":
            met = max(steady, first) <= TARGET
            verdict = f" (target {TARGET} for both) {'ok' if met else 'TOO SLOW'}"
        print(
            f"batch {options.batch}, {options.threads} threads, precision {precision}: {speeds}, "
            f"ratio {steady:.2f}, of first passes {first:.2f}{verdict}"
        )


if __name__ == "__main__":
    main()
