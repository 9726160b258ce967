"""Test heads as an EG3D of heads makes them from their own latents, turned, and as meshes.

    python tools/eg3d_heads.py OUT.png [--teacher eg3d-heads-64] [--heads 4] [--glb FOLDER]

Three rows a head: the true head and the generator's, each in its own light, from -45 to 45 degrees;
and the surface of the volume (marching cubes), written as GLB, read back as any viewer would, and
drawn with its colours and without, lit from the front.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
import trimesh
from measure_eg3d import own_latents
from torch import Tensor

from gan3d_bench.benchmarks.heads import before_grey, turned, with_own_light
from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.generators.eg3d.generator import EG3DGenerator
from gan3d_bench.generators.eg3d.scene import TriplaneScene
from gan3d_bench.generators.teachers import load_teacher
from gan3d_bench.geometry.glb import save_glb
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import FIELD_OF_VIEW, render_heads
from gan3d_bench.methods.eg3d.heads import cameras_of
from gan3d_bench.pictures.grids import Column, unit_range
from gan3d_bench.pictures.scene_sheets import Sheet, degree_label, interleaved, row_names
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import VertexColours
from gan3d_bench.rendering.shading import LambertLight
from gan3d_bench.scenes.mesh import MeshScene

YAWS = (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)
ROWS = ("truth", "EG3D", "its mesh")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", default="eg3d-heads-64")
    parser.add_argument("--heads", type=int, default=4, help="test heads")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--glb", type=Path, help="keep the meshes in this folder")
    options = parser.parse_args()
    generator = load_teacher(options.teacher, conditional=True).generator
    assert isinstance(generator, EG3DGenerator)
    size, orbit = generator.image_size, generator.config.orbit
    latents = head_latents("test", range(options.first, options.first + options.heads))
    with torch.no_grad():
        z, heads = own_latents(latents, generator.z_dim)
        w = generator.mapping(z, cameras_of(heads, orbit, size))
        scene = TriplaneScene.of_stylecodes(generator, w)
        with tempfile.TemporaryDirectory() as folder:
            kept = options.glb or Path(folder)
            kept.mkdir(parents=True, exist_ok=True)
            files = [
                save_glb(scene.mesh(i), kept / f"head-{options.first + i}.glb")
                for i in range(options.heads)
            ]
            meshes = [read_back(file, size) for file in files]
        grey, columns = before_grey(heads), []
        for number, yaw in enumerate(YAWS):
            truth = render_heads(with_own_light(turned(grey, yaw), grey), size)["image"]
            view = View.from_angles(yaw)
            made = scene.render(view).rgb.clamp(-1, 1)
            solid = torch.cat([coloured_or_plain(mesh, view, number) for mesh in meshes])
            rows = [unit_range(images) for images in (truth, made, solid)]
            columns.append(Column(f"yaw {degree_label(yaw)}", interleaved(rows)))
    Sheet([columns], row_names(options.heads, ROWS)).image().save(options.out)


def read_back(file: Path, size: int) -> tuple[MeshScene, MeshScene]:
    """A mesh from its file, as its colours are and in plain grey."""
    (mesh,) = trimesh.load_scene(file).geometry.values()
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32) * torch.tensor([1.0, -1.0, -1.0])
    vertices = (vertices + torch.tensor([0.0, 0.0, 1.0]))[None]
    faces = torch.tensor(mesh.faces, dtype=torch.int64)
    stored = mesh.visual.vertex_attributes["color"][:, :3]
    linear = torch.tensor(stored / 255.0, dtype=torch.float32)
    light = LambertLight.frontal(1, ambient=0.3, diffuse=0.7)
    camera = PinholeCamera(size, FIELD_OF_VIEW)

    def drawn(colours: Tensor, lit: LambertLight | None) -> MeshScene:
        return MeshScene(vertices, faces, VertexColours(colours[None]), camera, lit)

    # glTF's vertex colours are linear
    shown = torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055
    )
    return drawn(shown * 2 - 1, None), drawn(torch.zeros_like(shown), light)


def coloured_or_plain(mesh: tuple[MeshScene, MeshScene], view: View, number: int) -> Tensor:
    """Every second view of a mesh in grey, (1, 3, S, S) in [-1, 1]."""
    coloured, plain = mesh
    if number % 2 == 0:
        return coloured.render(view).over(0.0)
    lit = LambertLight.frontal(1, ambient=0.3, diffuse=0.7)
    return plain.render(view, lit).over(0.0)


if __name__ == "__main__":
    main()
