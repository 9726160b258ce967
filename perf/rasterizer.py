"""Speed and memory of the scatter rasterizer against PyTorch3D's, in one run.

Forward and backward passes on turned depth-grid meshes, batch 16; on the CPU PyTorch3D is timed
on fewer images and reported per image. Prints medians and their ratio, and the peak memory of the
scatter engine at 256 x 256, batch 16.

    python -m perf.rasterizer [--threads 2] [--repeat 7] [--device cuda]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor

from gan3d_bench.geometry.views import View
from gan3d_bench.rendering import rasterize
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import grid_faces

# image size -> least ratio (issue 2, Speed; CPU, 2 cores)
TARGETS = {64: 60.0, 128: 200.0}
MEMORY_TARGET_GB = 2.0


def turned_depth_grid(batch: int, size: int, device: str) -> tuple[Tensor, Tensor]:
    """NDC vertices (B, V, 3) of a bumpy depth map under views of up to 30 degrees, and faces."""
    axis = torch.linspace(-1, 1, size, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    depth = 1.04 - 0.1 * torch.exp(-3 * (x**2 + y**2)) + 0.005 * torch.sin(9 * x) * torch.cos(7 * y)
    camera = PinholeCamera(size)
    view = View.sweep(yaw=(-30, 30), pitch=(-10, 10), steps=batch, device=device)
    points = view.transform(camera.backproject(depth[None, None])).reshape(batch, -1, 3)
    return camera.to_ndc(points), grid_faces(size, size, torch.device(device))


def seconds(engine: str, batch: int, size: int, device: str, repeat: int) -> float:
    """Median seconds an image for one forward and backward pass, after one to warm up."""
    vertices, faces = turned_depth_grid(batch, size, device)
    times = []
    for _ in range(repeat + 1):
        vertices = vertices.detach().requires_grad_()
        start = time.perf_counter()
        fragments = rasterize(vertices, faces, size, engine=engine)
        (fragments.zbuf.sum() + fragments.bary_coords.square().sum()).backward()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / batch)
    return statistics.median(times[1:])


def peak_memory_gb(size: int, batch: int, device: str) -> float:
    """Memory one forward and backward pass adds, in GB (on the CPU: of this process's peak)."""
    vertices, faces = turned_depth_grid(batch, size, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    fragments = rasterize(vertices.requires_grad_(), faces, size)
    (fragments.zbuf.sum() + fragments.bary_coords.square().sum()).backward()
    if device == "cuda":
        return (torch.cuda.max_memory_allocated() - before) / 1e9
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--repeat", type=int, default=7, help="timed passes of the scatter engine")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(TARGETS))
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.memory_only:
        print(peak_memory_gb(256, 16, args.device))
        return

    cuda = args.device == "cuda"
    for size in args.sizes:
        ours = seconds("scatter", 16, size, args.device, args.repeat)
        reference_batch = 16 if cuda else 1
        reference_repeat = args.repeat if cuda else (3 if size <= 64 else 1)
        theirs = seconds("pytorch3d", reference_batch, size, args.device, reference_repeat)
        target = 1.0 if cuda else TARGETS.get(size, 1.0)
        verdict = "ok" if theirs / ours >= target else "TOO SLOW"
        print(
            f"{size}x{size}: scatter {ours * 1e3:.2f} ms/image, pytorch3d {theirs * 1e3:.1f} "
            f"ms/image, ratio {theirs / ours:.0f} (target {target:.0f}) {verdict}"
        )
    # A fresh process, so that the peak is this one pass's.
    command = [sys.executable, __file__, "--memory-only", "--device", args.device]
    memory = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    verdict = "ok" if memory <= MEMORY_TARGET_GB else "TOO MUCH"
    print(f"256x256, batch 16: {memory:.2f} GB (target {MEMORY_TARGET_GB:.0f}) {verdict}")


if __name__ == "__main__":
    main()
