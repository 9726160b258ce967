"""One door to the rasterizers: `rasterize`, PyTorch3D-style fragments from either engine.

Engines: ``scatter`` (ours, `gan3d_bench.rendering.scatter`: every device, the default) and
``pytorch3d`` (``pytorch3d.renderer.mesh.rasterize_meshes``). Both give the same fragments up to
float rounding and exact ties in depth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from gan3d_bench.errors import UserError, unknown_name
from gan3d_bench.machine.optional_packages import require_pytorch3d
from gan3d_bench.rendering import scatter
from gan3d_bench.rendering.fragments import Fragments

if TYPE_CHECKING:
    from pytorch3d.structures import Meshes

Engine = Literal["auto", "scatter", "pytorch3d"]

# What the suite's own scenes are drawn with: enough to close cracks on shared edges, which
# regular grids put exactly under sub-pixel centres.
EDGE_TOLERANCE = 1e-4


def rasterize(
    vertices: Tensor | Meshes,
    faces: Tensor | None = None,
    image_size: int | tuple[int, int] = 64,
    *,
    engine: Engine = "auto",
    perspective_correct: bool = True,
    cull_backfaces: bool = False,
    edge_tolerance: float = 0.0,
    with_dists: bool = True,
    faces_per_pixel: int = 1,
    blur_radius: float = 0.0,
    max_bytes: int = 256 << 20,
) -> Fragments:
    """Draw a batch of meshes, one image each, keeping the nearest face of every pixel, or K.

    Equals PyTorch3D's ``rasterize_meshes`` up to float rounding. Gradients flow to the vertices
    through barycentric coordinates, depth and distances with visibility held fixed; there is none
    through silhouettes. Under autocast everything runs in float32 (float64 vertices stay float64).

    Args:
        vertices: either a ``pytorch3d.structures.Meshes`` of any N different meshes (then `faces`
            must be None), or a tensor (B, V, 3) of meshes with common faces. x and y are in
            PyTorch3D's NDC (+x left, +y up, the shorter image side spans [-1, 1], pixel centres
            at 1 - (2 i + 1) / S); z is the depth, positive in front of the camera. Faces that
            reach z < 1e-8 are not drawn.
        faces: (F, 3) integer faces common to the batch.
        image_size: (H, W), or one number for square images.
        engine: "scatter", "pytorch3d", or "auto": "scatter" unless only PyTorch3D can.
        perspective_correct: interpolate linearly in space rather than on screen.
        cull_backfaces: drop faces that turn away (clockwise on screen in NDC).
        edge_tolerance: 0 is PyTorch3D's strict inside test, under which a pixel centre exactly on
            an edge shared by two faces belongs to neither; a small value such as `EDGE_TOLERANCE`
            (in barycentric units) closes these cracks. PyTorch3D's engine is always strict.
        with_dists: also return the distances to the nearest edge.
        faces_per_pixel: K; above 1 only by PyTorch3D.
        blur_radius: squared NDC distance up to which a face outside a pixel's centre counts; above
            0 only by PyTorch3D, whose barycentric coordinates are then clipped to the face.
        max_bytes: bound on the scatter engine's temporary memory in the visibility pass.

    Returns:
        `Fragments` on the N images.

    Raises:
        UserError: unknown engine, one that cannot do what is asked for, or PyTorch3D is not
            installed.
        ValueError: shapes do not fit, or `faces` given with `Meshes`.
    """
    if engine not in get_args(Engine):
        raise unknown_name("rasterizer engine", engine, get_args(Engine))
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    size = (height, width)
    soft = faces_per_pixel > 1 or blur_radius > 0
    if soft and engine == "scatter":
        raise UserError(
            f"engine=scatter faces_per_pixel={faces_per_pixel} blur_radius={blur_radius}: "
            "expected engine=pytorch3d for more than one face a pixel or a blur"
        )
    if soft or engine == "pytorch3d":
        return _pytorch3d(
            vertices,
            faces,
            size,
            perspective_correct=perspective_correct,
            cull_backfaces=cull_backfaces,
            faces_per_pixel=faces_per_pixel,
            blur_radius=blur_radius,
        )

    packed, packed_faces, face_to_mesh, num_meshes = _pack(vertices, faces)
    with torch.autocast(packed.device.type, enabled=False):
        if packed.dtype != torch.float64:
            packed = packed.float()
        pix_to_face = scatter.visible_faces(
            packed.detach(),
            packed_faces,
            face_to_mesh,
            num_meshes,
            size,
            perspective_correct=perspective_correct,
            cull_backfaces=cull_backfaces,
            edge_tolerance=edge_tolerance,
            max_bytes=max_bytes,
        )
        bary, z, dists = scatter.interpolate(
            packed,
            packed_faces,
            pix_to_face,
            size,
            perspective_correct=perspective_correct,
            with_dists=with_dists,
        )
    shape = (num_meshes, *size, 1)
    return Fragments(
        pix_to_face.view(shape),
        z.view(shape),
        bary.reshape(*shape, 3),
        None if dists is None else dists.view(shape),
    )


def _pack(vertices: Tensor | Meshes, faces: Tensor | None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Packed vertices (V, 3), packed faces (F, 3), the mesh of each face (F,) and N."""
    if isinstance(vertices, Tensor):
        if faces is None or faces.dim() != 2 or faces.shape[1] != 3:
            raise ValueError("faces: expected (F, 3) with vertices given as a tensor")
        if vertices.dim() != 3 or vertices.shape[2] != 3:
            raise ValueError(f"vertices: expected (B, V, 3), got {tuple(vertices.shape)}")
        batch, count, _ = vertices.shape
        index = torch.arange(batch, device=vertices.device)
        faces = faces.to(vertices.device, torch.int64)
        packed_faces = (faces + index[:, None, None] * count).view(-1, 3)
        return vertices.reshape(-1, 3), packed_faces, index.repeat_interleave(len(faces)), batch
    if faces is not None:
        raise ValueError("faces must be None when meshes are given as Meshes")
    packed: tuple[Tensor, Tensor, Tensor] = (
        vertices.verts_packed(),
        vertices.faces_packed(),
        vertices.faces_packed_to_mesh_idx(),
    )  # pyright: ignore[reportAssignmentType]
    return *packed, len(vertices)


def _pytorch3d(
    vertices: Tensor | Meshes,
    faces: Tensor | None,
    size: tuple[int, int],
    **options: Any,
) -> Fragments:
    """The same call through PyTorch3D (float32 only)."""
    require_pytorch3d("rasterizer engine 'pytorch3d'")
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    if isinstance(vertices, Tensor):
        if faces is None:
            raise ValueError("expected vertices (B, V, 3) and faces (F, 3)")
        meshes = Meshes(vertices.float(), faces.expand(vertices.shape[0], -1, -1))
    else:
        meshes = vertices
    clip = options["blur_radius"] > 0
    return Fragments(*rasterize_meshes(meshes, size, clip_barycentric_coords=clip, **options))
