"""Speed of MobileStyleGAN against a floor of its convolutions, and what its fast images cost.

The floor runs one matrix product for each pointwise convolution and one depthwise convolution for
each depthwise one, of the same sizes, on inputs made beforehand, and nothing else: no modulation,
noise, activation, wavelets. With gradients to w it runs all of them again for the way back. Network
and floor take turns; medians and their ratio are printed. The weights are random.

Then, if the asset is there: PSNR (peak 2) of the images that a last block at half its resolution
makes to the area means of full images, of 12 seeded stylecodes, truncation 1, 0.7 and 0.5 in equal
parts.

    python -m perf.mobilestylegan [--threads 2] [--batch 4] [--size 128] [--turns 5]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gan3d_bench.assets.store import asset_path, is_present
from gan3d_bench.generators.latents import sample_z
from gan3d_bench.generators.mobilestylegan import MobileStyleGAN, load

ASSET = "mobilestylegan-ffhq"
SIZES = (256, 128, 64)


def floor(generator: MobileStyleGAN, batch: int, dtype: torch.dtype) -> Callable[[bool], None]:
    """Return a function that runs the convolutions once, and, if asked, once more backwards."""
    work = []
    for block in generator.synthesis.stages:
        for conv in (block.conv1, block.conv2):
            weight, kernels, side = conv.pointwise.to(dtype), conv.depthwise.to(dtype), conv.noise
            narrow, deep, wide = (
                torch.randn(batch, *side.shape, channels).to(dtype)
                for channels in (weight.shape[1], len(kernels), len(weight))
            )
            back = weight.t().contiguous()
            work.append((weight, back, kernels, narrow, deep.permute(0, 3, 1, 2), wide))

    def run(backward: bool) -> None:
        for weight, back, kernels, narrow, deep, wide in work:
            F.conv2d(deep, kernels, padding=1, groups=len(kernels))
            F.linear(narrow, weight)
            if backward:
                F.linear(wide, back)
                F.conv2d(deep, kernels, padding=1, groups=len(kernels))

    return run


def measure(generator: MobileStyleGAN, batch: int, turns: int, bf16: bool) -> list[float]:
    """Return median seconds: network and floor forwards, network and floor with gradients."""
    w, dtype = torch.randn(batch, generator.w_dim), torch.bfloat16 if bf16 else torch.float32
    upstream = torch.randn(batch, 3, generator.image_size, generator.image_size)
    convolve = floor(generator, batch, dtype)

    def synthesize(backward: bool) -> Tensor:
        code = w.clone().requires_grad_(backward)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            images = generator.synthesis(code)
        return torch.autograd.grad(images, code, upstream)[0] if backward else images

    times: list[list[float]] = [[], [], [], []]
    for turn in range(turns + 1):  # the first one warms up
        for index, backward in enumerate((False, True)):
            for ours, run in ((1, synthesize), (0, convolve)):
                with torch.inference_mode(not (backward and ours)):
                    start = time.perf_counter()
                    run(backward)
                    seconds = time.perf_counter() - start
                if turn:
                    times[2 * index + (1 - ours)].append(seconds)
    return [statistics.median(row) for row in times]


@torch.inference_mode()
def fidelity() -> dict[int, list[float]]:
    """Return PSNR in dB of each of 12 images by size."""
    full = load(asset_path(ASSET))
    fast = copy.deepcopy(full)
    w = full.mapping(sample_z(12, full.z_dim, torch.Generator().manual_seed(0)))
    result: dict[int, list[float]] = {size: [] for size in SIZES}
    for index, code in enumerate(w[:, None]):
        code = full.truncate(code, (1.0, 0.7, 0.5)[index // 4])
        image = full.synthesis(code)
        for size in SIZES:
            means = F.avg_pool2d(image, full.image_size // size)
            error = (fast.resize(size).synthesis(code) - means).square().mean()
            result[size].append(float(10 * torch.log10(4 / error)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--batch", type=int, default=4, help="images a pass")
    parser.add_argument("--size", type=int, default=128, help="side of the images")
    parser.add_argument("--turns", type=int, default=5, help="passes of each kind")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    generator = MobileStyleGAN().eval().requires_grad_(False).resize(options.size)
    for bf16 in (False, True):
        ours, least, ours_back, least_back = measure(generator, options.batch, options.turns, bf16)
        print(
            f"batch {options.batch}, {options.size} pixels, {options.threads} threads, "
            f"precision {'bf16' if bf16 else '32'}: "
            f"forwards {1e3 * ours:.0f} ms, convolutions alone {1e3 * least:.0f} ms, "
            f"ratio {ours / least:.2f}; with gradients to w {1e3 * ours_back:.0f} ms, "
            f"convolutions alone {1e3 * least_back:.0f} ms, ratio {ours_back / least_back:.2f}"
        )
    if not is_present(ASSET):
        print(f"no PSNR: get the network with gan3d-bench assets fetch {ASSET}")
        return
    for size, values in fidelity().items():
        print(
            f"{size} pixels, last block at half its resolution: PSNR to the full image's area "
            f"means {statistics.mean(values):.1f} dB, worst {min(values):.1f} dB"
        )


if __name__ == "__main__":
    main()
