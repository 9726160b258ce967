"""Speed of the 64-pixel StyleGAN2 generator on the CPU against a floor of plain convolutions.

The floor runs one `F.conv2d` for each convolution of the network, of the same channels and the same
number of multiplications (an up-sampling convolution's happen at its input's size; its blur is a
depthwise convolution), in the faster of the two memory formats, and nothing else: no modulation,
demodulation, noise, bias or activation. Generator and floor alternate; medians and their ratio are
printed.

    python -m perf.stylegan2 [--threads 2] [--batch 16] [--repeat 31] [--precision 32|bf16]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.generators.stylegan2 import Generator

TARGET = 1.2  # times the floor (issue 2, Speed)


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


def medians(functions: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median seconds of each function; they take turns, so that all see the same machine."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeat + 2):
        for name, run in functions.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[2:]) for name, values in times.items()}


@torch.inference_mode()
def measure(batch: int, repeat: int, precision: str) -> dict[str, float]:
    """Return median seconds of generator ("generator") and floor ("floor") for one batch."""
    torch.manual_seed(0)
    generator = Generator().eval()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    w = torch.randn(batch, generator.config.w_dim)

    def synthesize() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            generator.synthesis(w)

    floors = {
        "contiguous": floor(generator, batch, dtype, torch.contiguous_format),
        "channels last": floor(generator, batch, dtype, torch.channels_last),
    }
    result = medians({"generator": synthesize, **floors}, repeat)
    return {"generator": result["generator"], "floor": min(result[name] for name in floors)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=31)
    parser.add_argument("--precision", choices=("32", "bf16"), default="32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = measure(options.batch, options.repeat, options.precision)
    ratio = result["generator"] / result["floor"]
    gigaflops = flops(Generator()) * options.batch / 1e9
    print(f"batch {options.batch}, {options.threads} threads, precision {options.precision}")
    for name, seconds in result.items():
        print(f"{name:10} {1000 * seconds:7.1f} ms {gigaflops / seconds:7.0f} GFLOP/s")
    print(f"ratio      {ratio:7.2f} (target {TARGET}: {'met' if ratio <= TARGET else 'MISSED'})")


if __name__ == "__main__":
    main()
