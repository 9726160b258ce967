"""Meshes for other programs: the one writer of GLB files (binary glTF 2.0)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from torch import Tensor
from trimesh.exchange.gltf import export_glb
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.geometry.meshes import SceneMesh


def save_glb(mesh: SceneMesh, path: Path) -> Path:
    """Write a mesh, textured or coloured at its vertices, as binary glTF: y up, facing +z, origin
    at the rotation centre, scene units."""
    path = Path(path)
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
