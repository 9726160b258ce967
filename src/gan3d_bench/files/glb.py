"""Meshes for other programs: depth maps as `SceneMesh`, any `SceneMesh` as a GLB file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image
from torch import Tensor
from trimesh.exchange.gltf import export_glb
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.depth_mesh import grid_faces
from gan3d_bench.scenes.base import Scene, SceneMesh


def depth_map_mesh(
    depth: Tensor, albedo: Tensor, camera: PinholeCamera, mask: Tensor | None = None
) -> SceneMesh:
    """The grid mesh of one canonical depth map, textured by its albedo.

    Args:
        depth: (1, H, W), scene units.
        albedo: (3, H, W) in [-1, 1].
        camera: camera of image size (H, W).
        mask: (1, H, W); triangles with a corner at or below 0.5 are left out.

    Returns:
        the mesh; vertices are the pixels in row-major order.
    """
    _, height, width = depth.shape
    faces = grid_faces(height, width, depth.device)
    if mask is not None:
        faces = faces[(mask.reshape(-1) > 0.5)[faces].all(1)]
    v, u = torch.meshgrid(
        torch.linspace(1, 0, height, device=depth.device),
        torch.linspace(0, 1, width, device=depth.device),
        indexing="ij",
    )
    return SceneMesh(
        vertices=camera.backproject(depth[None]).reshape(-1, 3),
        faces=faces,
        uvs=torch.stack((u, v), -1).view(-1, 2),
        texture=albedo,
    )


def save_glb(scene: Scene, index: int, path: Path) -> Path:
    """Write subject `index` of a scene as binary glTF: y up, facing +z, origin at the rotation
    centre, scene units.

    Raises:
        UserError: the scene has no mesh.
    """
    path = Path(path)
    with torch.no_grad():
        mesh = scene.mesh(index)
    with atomic_write(path) as temporary:
        temporary.write_bytes(_glb(mesh))
    return path


def _glb(mesh: SceneMesh) -> bytes:
    vertices = _array(mesh.vertices) - np.array([0.0, 0.0, mesh.centre_depth])
    vertices = vertices * np.array([1.0, -1.0, -1.0])  # a half turn about x: winding stays
    faces = mesh.faces.cpu().numpy()
    if mesh.texture is None:
        colors = None
        if mesh.colors is not None:
            colors = _linear((_array(mesh.colors) + 1) / 2).clip(0, 1)
            colors = np.round(colors * 255).astype(np.uint8)
        surface = trimesh.Trimesh(vertices, faces, vertex_colors=colors, process=False)
        return export_glb(surface, include_normals=True, tree_postprocessor=_matte)
    assert mesh.uvs is not None, "a texture needs uvs"
    uvs, normals = _array(mesh.uvs), None
    if mesh.face_uvs is not None:  # glTF has one uv a vertex: split the vertices on seams
        whole = trimesh.Trimesh(vertices, faces, process=False)
        corners = np.stack((faces.ravel(), mesh.face_uvs.cpu().numpy().ravel()), 1)
        split, inverse = np.unique(corners, axis=0, return_inverse=True)
        vertices, uvs = vertices[split[:, 0]], uvs[split[:, 1]]
        normals, faces = whole.vertex_normals[split[:, 0]], inverse.reshape(-1, 3)
    picture = ((_array(mesh.texture).transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).round()
    size = np.array(mesh.texture.shape[:0:-1])  # (w, h)
    material = PBRMaterial(
        baseColorTexture=Image.fromarray(picture.astype(np.uint8)),
        metallicFactor=0.0,
        roughnessFactor=1.0,
        doubleSided=True,
    )
    visual = TextureVisuals(uv=(uvs * (size - 1) + 0.5) / size, material=material)
    surface = trimesh.Trimesh(vertices, faces, vertex_normals=normals, visual=visual, process=False)
    return export_glb(surface, include_normals=True)


def _matte(tree: dict[str, Any]) -> None:
    """Give meshes without a texture a material: glTF's default one is metal, which looks black."""
    matte = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    tree["materials"] = [{"pbrMetallicRoughness": matte, "doubleSided": True}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0


def _linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light, which glTF wants of vertex colours (not of textures)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055).clip(0) ** 2.4)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
