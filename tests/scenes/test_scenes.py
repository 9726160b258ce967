"""The one door to scenes: what it checks, turns and resizes; heads as a mesh scene."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import trimesh

from gan3d_bench.datamodules.heads import head_latents
from gan3d_bench.errors import UserError
from gan3d_bench.geometry.glb import save_glb
from gan3d_bench.geometry.views import View
from gan3d_bench.heads.sampling import render_heads, sample_heads
from gan3d_bench.heads.scene import heads_scene
from gan3d_bench.rendering.cameras import PinholeCamera
from gan3d_bench.rendering.mesh import VertexColours
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.rendering.shading import LambertLight
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.joined import JoinedScenes
from gan3d_bench.scenes.mesh import MeshScene

HEADS = sample_heads(head_latents("val", range(2)))


class Fixed(Scene):
    """Always makes 4 x 4 pixels; notes what it was handed."""

    capabilities = frozenset({"relight", "depth"})
    camera = PinholeCamera(4, 20.0)

    def __init__(self, light: LambertLight | None = None) -> None:
        self.light = light

    @property
    def batch_size(self) -> int:
        return 2

    def _render(self, view, light, camera) -> Rendering:
        self.handed = view, light, camera
        rows = torch.tensor([0.9, 0.9, 1.1, 1.1])[:, None].expand(2, 1, 4, 4)
        return Rendering(rows.expand(-1, 3, -1, -1) - 1, torch.ones(2, 1, 4, 4), rows)


def test_views_lights_and_sizes_are_handed_on_as_they_fit() -> None:
    scene = Fixed(LambertLight.frontal(2))
    seen = scene.render(View.from_angles(90.0), image_size=8)
    view, light, camera = scene.handed
    assert len(view) == len(light) == 2
    assert (camera.width, camera.fov) == (8, 20.0)
    # the scene's own light has turned with the subject, from the camera to the right
    torch.testing.assert_close(
        light.direction, torch.tensor([[1.0, 0.0, 0.0]] * 2), atol=1e-6, rtol=0
    )
    assert seen.rgb.shape == (2, 3, 8, 8) and seen.depth is not None
    assert set(seen.depth.unique().tolist()) == set(torch.tensor([0.9, 1.1]).tolist())
    given = LambertLight.frontal(1)
    scene.render(View.from_angles([90.0, 0.0]), given)
    torch.testing.assert_close(scene.handed[1].direction, given.direction.expand(2, 3))


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ((View.from_angles([0.0] * 3),), ValueError, "3 views do not fit 2 subjects"),
        ((View.from_angles(0.0), LambertLight.frontal(3)), ValueError, "3 lights do not fit"),
        ((View.from_angles(0.0), None, 0), UserError, "image_size=0: expected 1 to 8192"),
    ],
)
def test_what_does_not_fit_is_said(arguments, kind, said: str) -> None:
    with pytest.raises(kind, match=said):
        Fixed().render(*arguments)


def test_a_scene_that_cannot_be_relit_says_so() -> None:
    scene = Fixed()
    scene.capabilities = frozenset()
    with pytest.raises(UserError, match="Fixed cannot give 'relight'"):
        scene.render(View.from_angles(0.0), LambertLight.frontal(1))


def test_heads_as_a_scene_show_what_the_data_set_holds() -> None:
    maps, scene = render_heads(HEADS, 32), heads_scene(HEADS, 32)
    assert scene.input_view is not None
    seen = scene.render(scene.input_view)
    inside = maps["mask"] == 1
    assert inside.sum() > 200
    for name, known in (("rgb", "image"), ("depth", "depth"), ("normal", "normal")):
        found, wanted = getattr(seen, name), maps[known]
        chosen = inside.expand_as(wanted)
        torch.testing.assert_close(found[chosen], wanted[chosen], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(seen.mask, maps["mask"])


def test_every_mesh_goes_out_by_one_writer(tmp_path: Path) -> None:
    head = heads_scene(HEADS, 16).mesh(1)
    (textured,) = trimesh.load_scene(save_glb(head, tmp_path / "head.glb")).geometry.values()
    assert textured.visual.material.baseColorTexture is not None
    assert textured.vertices[:, 2].max() < 0.2  # around the rotation centre
    corners = torch.tensor([[[0.0, 0, 2], [0.1, 0, 2], [0, 0.1, 2]]]).expand(2, -1, -1)
    colours = VertexColours(torch.tensor([[[1.0, -1, -1]] * 3]))
    scene = MeshScene(
        corners, torch.tensor([[0, 2, 1]]), colours, PinholeCamera(8, 40.0), centre_depth=2.0
    )
    (plain,) = trimesh.load_scene(save_glb(scene.mesh(0), tmp_path / "a.glb")).geometry.values()
    assert plain.vertices[:, 2].tolist() == [0.0] * 3
    assert (plain.visual.vertex_attributes["color"][:, :3] == [255, 0, 0]).all()


def test_joined_scenes_are_their_parts() -> None:
    whole = heads_scene(HEADS)
    joined = JoinedScenes([heads_scene(HEADS[i : i + 1]) for i in range(2)])
    assert joined.batch_size == 2 and "relight" not in joined.capabilities
    view = View.from_angles([20.0, -10.0])
    expected, found = whole.render(view, image_size=24), joined.render(view, image_size=24)
    for name in ("rgb", "mask", "depth", "normal"):
        assert torch.equal(getattr(expected, name), getattr(found, name)), name
    assert joined.input_view is not None and whole.input_view is not None
    assert torch.equal(joined.input_view.yaw, whole.input_view.yaw)
    assert len(joined.mesh(1).vertices) == len(whole.mesh(1).vertices)
    with pytest.raises(ValueError, match="cannot be joined"):
        View.join([view, View.from_angles(0.0, centre_depth=2.0)])
