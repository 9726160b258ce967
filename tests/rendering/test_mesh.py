"""Textured meshes: orientation of textures, antialiasing, normals, light, gradients."""

from __future__ import annotations

import pytest
import torch

from gan3d_bench.errors import UserError
from gan3d_bench.geometry.meshes import vertex_normals
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import SoftEdges, UVTexture, VertexColours, render_mesh
from gan3d_bench.rendering.shading import LambertLight

CAMERA = PinholeCamera(32)
# A frontal square at depth 1, in camera axes (y down), wound to face the camera.
HALF = 0.05
CORNERS = torch.tensor(
    [[[-HALF, -HALF, 1.0], [HALF, -HALF, 1.0], [HALF, HALF, 1.0], [-HALF, HALF, 1.0]]]
)
FACES = torch.tensor([[0, 3, 2], [0, 2, 1]])
UVS = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
TEXTURE = torch.full((1, 3, 8, 8), -1.0)
TEXTURE[0, 0, :4, :4] = 1.0  # red in the top left corner
TEXTURE[0, 2, 4:, :] = 1.0  # blue in the lower half
SURFACE = UVTexture(UVS, FACES, TEXTURE)


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sphere(subdivisions: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    import trimesh

    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.06)
    vertices = torch.tensor(mesh.vertices, dtype=torch.float32) * torch.tensor([1.0, -1.0, -1.0])
    return vertices[None] + torch.tensor([0.0, 0.0, 1.0]), torch.tensor(mesh.faces)


def test_texture_is_upright_and_unmirrored():
    seen = render_mesh(CORNERS, FACES, SURFACE, CAMERA, supersample=2)
    red, _, blue = seen.over(-1.0)[0]
    covered = seen.mask[0, 0] == 1
    rows, columns = covered.nonzero().amin(0), covered.nonzero().amax(0)
    (top, left), (bottom, right) = rows + 1, columns - 1
    assert red[top, left] > 0.9 and red[top, right] < -0.9 and red[bottom, left] < -0.9
    assert blue[bottom, left] > 0.9 and blue[bottom, right] > 0.9 and blue[top, left] < -0.9
    torch.testing.assert_close(seen.depth[0, 0][covered], torch.ones(int(covered.sum())))
    assert (seen.over(-1.0)[0, :, ~(seen.mask[0, 0] > 0)] == -1).all()


def test_mask_is_antialiased():
    vertices, faces = sphere(3)
    uvs = torch.zeros(1, 2)
    zeros = torch.zeros_like(faces)
    focal_area = torch.pi * (0.06 * CAMERA.focal) ** 2
    errors = []
    for supersample in (1, 4):
        mask = render_mesh(
            vertices, faces, UVTexture(uvs, zeros, TEXTURE), CAMERA, supersample=supersample
        ).mask
        levels = mask.unique()
        assert len(levels) <= supersample**2 + 1
        errors.append(abs(mask.sum().item() / focal_area - 1))
    assert len(levels) > 5
    assert errors[1] < 0.02


def test_normals_point_to_the_viewer_and_light_falls_on_them():
    vertices, faces = sphere(3)
    light = LambertLight.from_slopes(
        *(torch.tensor([x]) for x in (0.0, 1.0, 1.5, 0.0))
    )  # from the left
    plain = UVTexture(torch.zeros(1, 2), torch.zeros_like(faces), TEXTURE)
    seen = render_mesh(vertices, faces, plain, CAMERA, light=light, supersample=2)
    covered = seen.mask[0, 0] > 0
    normal = seen.normal[0][:, covered]
    torch.testing.assert_close(normal.norm(dim=0), torch.ones(normal.shape[1]))
    assert (normal[2] < 0.1).all()
    assert seen.normal[0, 0, 16, 8] < -0.3 and seen.normal[0, 1, 8, 16] < -0.3
    assert seen.shading[0, 0, 16, 8] > 0.8 > 0.4 > seen.shading[0, 0, 16, 24]
    assert (seen.albedo[0, 0][covered] > -1.01).all()
    outward = vertex_normals(vertices, faces)
    centred = vertices - torch.tensor([0.0, 0.0, 1.0])
    assert ((outward * centred).sum(-1) > 0.05).all()
    culled = render_mesh(vertices, faces, plain, CAMERA, cull_backfaces=True, supersample=2)
    torch.testing.assert_close(culled.depth, seen.depth)


def test_attributes_and_batches():
    shifted = torch.cat((CORNERS, CORNERS + torch.tensor([0.0, 0.0, 0.2])))
    seen = render_mesh(shifted, FACES, SURFACE, CAMERA, supersample=2, attributes=shifted)
    assert seen.attributes.shape == (2, 3, 32, 32)
    covered = seen.mask > 0
    torch.testing.assert_close(seen.attributes[:, 2:][covered], seen.depth[covered])
    assert seen.mask[0].sum() > seen.mask[1].sum() > 0
    assert (seen.over(0.25)[:, :1][~covered] == 0.25).all()


def test_gradients_reach_vertices_texture_and_light():
    vertices, faces = sphere()
    vertices = vertices.repeat(2, 1, 1).requires_grad_()
    texture = torch.rand(1, 3, 8, 8, generator=rng(0)).requires_grad_()
    ambient = torch.full((2,), 0.5, requires_grad=True)
    light = LambertLight(ambient, ambient, torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3))
    uvs = (vertices[0, :, :2].detach() / 0.12 + 0.5).clamp(0, 1)
    seen = render_mesh(
        vertices, faces, UVTexture(uvs, faces, texture), CAMERA, light=light, supersample=2
    )
    (seen.rgb.square().sum() + seen.depth.sum()).backward()
    for tensor in (vertices, texture, ambient):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


def test_gradcheck():
    camera = PinholeCamera(5)
    vertices = (
        CORNERS.double() + 0.02 * torch.rand(1, 4, 3, generator=rng(1)).double()
    ).requires_grad_()
    texture = torch.rand(1, 3, 4, 4, dtype=torch.float64, generator=rng(2)).requires_grad_()

    def picture(vertices, texture):
        seen = render_mesh(
            vertices, FACES, UVTexture(UVS.double(), FACES, texture), camera, supersample=2
        )
        return seen.rgb, seen.depth, seen.normal

    assert torch.autograd.gradcheck(picture, (vertices, texture), eps=1e-7, atol=1e-4)


def test_vertices_without_faces_have_zero_normals():
    vertices = torch.cat((CORNERS, torch.ones(1, 1, 3)), 1)
    normals = vertex_normals(vertices, FACES)
    torch.testing.assert_close(normals[0, 0], torch.tensor([0.0, 0.0, -1.0]))
    assert normals[0, 4].tolist() == pytest.approx([0.0, 0.0, 0.0])


def coloured_sphere() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    vertices, faces = sphere(2)
    colours = torch.rand(1, vertices.shape[1], 3, generator=rng(3)) * 2 - 1
    return vertices, faces, colours


@pytest.mark.pytorch3d
def test_both_engines_draw_the_same_picture():
    vertices, faces, colours = coloured_sphere()
    light = LambertLight(*torch.tensor([[0.3], [0.7]]), torch.tensor([[0.6, 0.0, -0.8]]))
    ours, theirs = (
        render_mesh(vertices, faces, VertexColours(colours), CAMERA, light=light, engine=engine)
        for engine in ("scatter", "pytorch3d")
    )
    both = (ours.mask == 1) & (theirs.mask == 1)  # edges under pixel centres aside
    assert both.sum() > 0.98 * ours.mask.sum() > 100
    for name in ("rgb", "depth", "normal", "albedo", "shading"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        chosen = both.expand_as(mine)
        torch.testing.assert_close(mine[chosen], other[chosen], atol=1e-4, rtol=1e-4)


@pytest.mark.pytorch3d
def test_soft_edges_are_pytorch3d_silhouettes():
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    vertices, faces, colours = coloured_sphere()
    soft = SoftEdges(faces_per_pixel=8, sigma=1e-3)
    seen = render_mesh(vertices, faces, VertexColours(colours), CAMERA, soft=soft)
    index, _, _, away = rasterize_meshes(
        Meshes(CAMERA.to_ndc(vertices), faces[None]), 32, soft.blur_radius, 8,
        perspective_correct=True, clip_barycentric_coords=True,
    )  # fmt: skip
    inside = torch.sigmoid(-away / soft.sigma) * (index >= 0)
    torch.testing.assert_close(seen.mask[0, 0], 1 - (1 - inside).prod(-1)[0], atol=1e-5, rtol=0)
    assert ((seen.mask > 0.02) & (seen.mask < 0.98)).sum() > 20
    assert (seen.rgb >= -1.001).all() and (seen.rgb <= 1.001).all()


@pytest.mark.pytorch3d
def test_gradients_reach_silhouettes_through_soft_edges_only():
    vertices, faces, colours = coloured_sphere()
    target = render_mesh(vertices, faces, VertexColours(colours), CAMERA).mask
    pulls = []
    for soft in (SoftEdges(faces_per_pixel=10, sigma=1e-2), None):
        shift = torch.zeros(3, requires_grad=True)
        moved = vertices + torch.tensor([0.02, 0.0, 0.0]) + shift
        seen = render_mesh(moved, faces, VertexColours(colours), CAMERA, soft=soft)
        loss = (seen.mask - target).square().sum()
        pulls.append(torch.autograd.grad(loss, shift, allow_unused=True)[0] if soft else loss)
    assert pulls[0][0] > 0  # back to the left makes the loss smaller
    assert not pulls[1].requires_grad


def test_soft_edges_ask_for_what_can_blur():
    vertices, faces, colours = coloured_sphere()
    with pytest.raises(UserError, match="engine=scatter faces_per_pixel=8"):
        render_mesh(
            vertices, faces, VertexColours(colours), CAMERA, soft=SoftEdges(), engine="scatter"
        )
    with pytest.raises(UserError, match="sigma=0: expected a number above 0"):
        SoftEdges(sigma=0)
