"""Speed of soft silhouettes against PyTorch3D's soft rasterizer, in one run.

A sphere of 642 vertices and 1280 faces with bumps, forward and backward to the vertices. Ours is
all that training needs, the sharp fragments and the silhouette; PyTorch3D's is one blurred
rasterization with as many faces a pixel, from which the silhouette is blended. The silhouettes are
the same but for what the cut-offs leave out. On the CPU PyTorch3D is timed on fewer images; both
are reported per image, as medians.

    python -m perf.silhouette [--threads 2] [--repeat 7] [--device cuda]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import trimesh
from torch import Tensor

from gan3d_bench.rendering import rasterize
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.rasterizer import EDGE_TOLERANCE
from gan3d_bench.rendering.silhouette import SoftSilhouette, soft_mask

SIZES = (64, 128)
TARGET = 10.0  # least ratio on the CPU (issue 16, part 3)
SOFT = SoftSilhouette()


def bumpy_spheres(batch: int, device: str) -> tuple[Tensor, Tensor]:
    """NDC vertices (B, 642, 3) that fill about half of the image, and faces (1280, 3)."""
    sphere = trimesh.creation.icosphere(subdivisions=3)
    vertices = torch.tensor(sphere.vertices, dtype=torch.float32, device=device)
    phase = torch.arange(batch, device=device)[:, None, None]
    radius = 0.06 * (1 + 0.1 * torch.sin(5 * vertices[None, :, :1] + phase))
    points = radius * vertices + vertices.new_tensor([0.0, 0.0, 1.0])
    faces = torch.tensor(sphere.faces[:, ::-1].copy(), device=device)
    return PinholeCamera(64).to_ndc(points), faces


def ours(vertices: Tensor, faces: Tensor, size: int) -> Tensor:
    fragments = rasterize(vertices, faces, size, edge_tolerance=EDGE_TOLERANCE, with_dists=False)
    return soft_mask(vertices, faces, fragments.covered, SOFT)


def theirs(vertices: Tensor, faces: Tensor, size: int) -> Tensor:
    layers = rasterize(
        vertices,
        faces,
        size,
        engine="pytorch3d",
        perspective_correct=False,
        faces_per_pixel=SOFT.faces_per_pixel or len(faces),
        blur_radius=SOFT.box**2,
    )
    assert layers.dists is not None
    covers = torch.exp(-layers.dists.clamp(min=0) / SOFT.sigma) * (layers.pix_to_face >= 0)
    return 1 - (1 - covers).prod(-1)


def seconds(draw, batch: int, size: int, device: str, repeat: int) -> tuple[float, Tensor]:
    """Median seconds an image for one forward and backward pass, and the first silhouette."""
    vertices, faces = bumpy_spheres(batch, device)
    times = []
    for _ in range(repeat + 1):
        vertices = vertices.detach().requires_grad_()
        start = time.perf_counter()
        mask = draw(vertices, faces, size)
        mask.square().sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / batch)
    return statistics.median(times[1:]), mask[0].detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--repeat", type=int, default=7, help="timed passes of ours")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cuda = args.device == "cuda"
    target = 1.0 if cuda else TARGET
    for size in args.sizes:
        mine, mask = seconds(ours, 16, size, args.device, args.repeat)
        batch, repeat = (16, args.repeat) if cuda else (1, 3)
        other, reference = seconds(theirs, batch, size, args.device, repeat)
        verdict = "ok" if other / mine >= target else "TOO SLOW"
        print(
            f"{size}x{size}: ours {mine * 1e3:.2f} ms/image, pytorch3d {other * 1e3:.1f} ms/image, "
            f"ratio {other / mine:.0f} (target {target:.0f}) {verdict}; "
            f"mean difference {(mask - reference).abs().mean():.1e}"
        )


if __name__ == "__main__":
    main()
