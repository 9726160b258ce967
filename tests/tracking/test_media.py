"""Grids, turntables, maps and meshes of a synthetic scene, read back."""

from __future__ import annotations

import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from gan3d_bench.errors import UserError
from gan3d_bench.files.atomic import atomic_write
from gan3d_bench.geometry.glb import save_glb
from gan3d_bench.geometry.meshes import SceneMesh
from gan3d_bench.geometry.views import View
from gan3d_bench.pictures import scene_grids
from gan3d_bench.pictures.grids import (
    Column,
    depth_colours,
    image_grid,
    labelled_grid,
    load_depth,
    normal_colours,
    on_white,
    save_depth,
)
from gan3d_bench.rendering.rendering import Rendering
from gan3d_bench.scenes.base import Scene
from gan3d_bench.scenes.depth_map import depth_map_mesh
from gan3d_bench.scenes.preview import Preview
from gan3d_bench.tracking import media

sys.path.insert(0, str(Path(__file__).parent))
from toy_scenes import HeadScene, PictureScene, random_images

TILE = 40


@pytest.fixture(scope="module")
def preview_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    run = tmp_path_factory.mktemp("run")
    view = View.from_angles([15.0, -20.0])
    scene = HeadScene(2, 32, view)
    preview = Preview({"input": scene.render(view).rgb, "pseudo/a": random_images(5)}, scene)
    return run / "pictures" / "000120", media.write_preview(preview, run, 120)


def test_a_preview_is_complete(preview_files: tuple[Path, list[Path]]) -> None:
    folder, files = preview_files
    each = ("depth", "depth16", "normal", "mesh")
    expected = {"input.png", "pseudo_a.png", "scene.png", "turntable.mp4"} | {
        f"{kind}_{i:02d}.{'glb' if kind == 'mesh' else 'png'}" for kind in each for i in range(2)
    }
    assert {path.name for path in files} == expected
    assert {path.name for path in folder.iterdir()} == expected  # and no temporary is left


@pytest.mark.parametrize("found", ["/nowhere/ffmpeg", None])
def test_without_ffmpeg_films_are_gifs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: str | None
) -> None:
    def ffmpeg() -> str:
        if found is None:
            raise RuntimeError("No ffmpeg exe could be found.")
        return found

    monkeypatch.setattr(media.imageio_ffmpeg, "get_ffmpeg_exe", ffmpeg)
    scene = HeadScene(1, 16, View.from_angles([0.0]))
    names = {path.name for path in media.write_preview(Preview({}, scene), tmp_path, 1)}
    assert "turntable.gif" in names
    files = media.write_overview(scene, tmp_path)
    assert [path.name for path in files] == ["overview.png", "overview.gif"]
    assert iio.imread(files[1]).shape[0] > 20


def test_the_turntable_plays(preview_files: tuple[Path, list[Path]]) -> None:
    file = preview_files[0] / "turntable.mp4"
    video = iio.immeta(file, plugin="FFMPEG")
    assert (video["codec"], video["fps"], video["duration"]) == ("h264", 24.0, 3.0)
    assert video["pix_fmt"].startswith("yuv420p")
    frames = iio.imread(file, plugin="FFMPEG")
    assert frames.shape[0] == 72
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    first, turned, back = (frames[i].astype(float) for i in (0, 18, 36))
    assert np.abs(first - back).mean() < 3 < 15 < np.abs(first - turned).mean()  # to and fro
    before, after = (np.abs(first - frames[i]).mean() for i in (-1, 1))
    assert abs(before - after) < 0.5 * after  # the film is a loop


def test_the_turntable_turns_the_nose_to_the_right_first(
    preview_files: tuple[Path, list[Path]],
) -> None:
    frames = iio.imread(preview_files[0] / "turntable.mp4", plugin="FFMPEG").astype(float)
    tile = frames[:, 4:196, 4:196]  # first subject, in colour
    blue = (tile[..., 2] - tile[..., 0]).clip(60) - 60  # the dot on the cheek at the image's left
    column = (blue.sum(1) @ np.arange(192)) / blue.sum((1, 2)).clip(1)
    assert column[18] > column[0] + 15


def test_gif(tmp_path: Path) -> None:
    path = media.turntable(PictureScene(3, 16), tmp_path / "turn.gif", steps=5, tile=31)
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (8, (3 * 31 + 4 * 4, 31 + 2 * 4))


def test_odd_sides_are_padded_to_even_ones(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (33, 21), colour) for colour in ("red", "blue")]
    path = media.write_video(frames, tmp_path / "a.mp4")
    film = iio.imread(path, plugin="FFMPEG")
    assert film.shape == (2, 22, 34, 3)
    assert film[0, 10, 10, 0] > 240 and film[1, 10, 10, 2] > 240


def tiles(grid: Image.Image, columns_of_groups: list[int], rows: int) -> np.ndarray:
    """Cut a `labelled_grid` of square tiles: (rows, columns, TILE, TILE, 3)."""
    gutter, gap, margin = 2, 6, 6
    xs, x = [], margin
    for columns in columns_of_groups:
        for _ in range(columns):
            xs.append(x)
            x += TILE + gutter
        x += gap - gutter
    top = grid.height - margin - rows * TILE - (rows - 1) * gutter
    pixels = np.asarray(grid).astype(float)
    return np.stack(
        [
            np.stack([pixels[top + r * (TILE + gutter) :][:TILE, x : x + TILE] for x in xs])
            for r in range(rows)
        ]
    )


def test_contact_grid_shows_everything() -> None:
    view = View.from_angles([20.0, -20.0])
    scene = HeadScene(2, 32, view)
    grid = scene_grids.contact_grid(scene, scene.render(view).rgb, tile=TILE)
    cut = tiles(grid, [2, 4, 4, 4], 2)
    shown, reconstructed, albedo, depth = (cut[:, i] for i in range(4))
    covered = (reconstructed < 250).any(-1)
    assert np.abs(shown - reconstructed)[covered].mean() < 3
    assert (albedo[:, TILE // 2, TILE // 2] > reconstructed[:, TILE // 2, TILE // 2]).any()
    brightness = depth.sum(-1)
    near = (brightness > 620) & (brightness < 730)  # light, but not white as the background
    right_of_centre = [np.nonzero(row)[1].mean() - TILE / 2 for row in near]
    assert right_of_centre[0] > 1 and right_of_centre[1] < -1  # where the nose is
    blue = (cut[..., 2] - cut[..., 0])[0, 7:10]  # the dot on the cheek; hidden at -40 degrees
    dot = blue.max(1).argmax(1)
    assert dot[0] < dot[1] < dot[2]  # +yaw carries it to the right
    left, above, right, below = cut[1, 10:14, ..., 0]
    half, across, down = TILE // 2, left - right, above - below
    assert across[:, :half].mean() > 20 and across[:, half:].mean() < -20
    assert down[:half].mean() > 20 and down[half:].mean() < -20


def test_contact_grid_of_a_scene_without_geometry() -> None:
    scene = PictureScene(3, 16)
    grid = scene_grids.contact_grid(scene, tile=TILE)
    labels = (1 + 4, 2)  # rendered, four rotated
    assert grid.width == 2 * 6 + labels[0] * TILE + 3 * 2 + 6
    fewer = scene_grids.contact_grid(scene, tile=TILE, subjects=1)
    assert grid.height - fewer.height == 2 * (TILE + 2)


def test_overview(tmp_path: Path) -> None:
    files = media.write_overview(PictureScene(2, 16), tmp_path / "new")
    assert [path.name for path in files] == ["overview.png", "overview.mp4"]
    assert all(path.stat().st_size > 1000 for path in files)


def test_other_ranks_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero.rank_zero_only.rank", 1)
    assert media.write_preview(Preview({"a": random_images(1)}), tmp_path, 0) == []
    assert media.write_overview(PictureScene(1, 16), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_previews_leave_random_numbers_alone(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    media.write_preview(Preview({"a": random_images(2)}, HeadScene(1, 16)), tmp_path, 0)
    assert torch.equal(state, torch.get_rng_state())


def test_depth_files_round_trip(tmp_path: Path) -> None:
    depth = 0.9 + 0.2 * torch.rand(1, 8, 9, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(9) > 2).float().expand(1, 8, 9)
    back, seen = load_depth(save_depth(depth, mask, tmp_path / "depth.png"))
    assert torch.equal(seen, mask)
    torch.testing.assert_close(back, depth * mask, atol=0.2 / 65000, rtol=0)
    empty, seen = load_depth(save_depth(depth, 0 * mask, tmp_path / "empty.png"))
    assert not empty.any() and not seen.any()
    image_grid(random_images(1)).save(tmp_path / "other.png")
    for name in ("other.png", "missing.png"):
        with pytest.raises(UserError, match=f"{name}: expected a 16-bit depth map"):
            load_depth(tmp_path / name)


def test_colours() -> None:
    normal = torch.tensor([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    colours = normal_colours(normal[:, :, None, None]).squeeze()
    expected = torch.tensor([[0.5, 0.5, 1.0], [1.0, 0.5, 0.5], [0.5, 1.0, 0.5]])
    torch.testing.assert_close(colours, expected)  # to the viewer blue, right red, up green
    depth = torch.linspace(1.1, 0.9, 50).view(1, 1, 5, 10)
    brightness = depth_colours(depth, torch.ones_like(depth)).sum(1).flatten()
    assert (brightness.diff() >= 0).all() and brightness[-1] > brightness[0] + 2
    flat = depth_colours(torch.ones_like(depth), torch.ones_like(depth))
    assert flat.isfinite().all()
    mask = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert on_white(torch.zeros(1, 3, 1, 3), mask)[0, 0, 0].tolist() == [1.0, 0.5, 0.0]


def test_labelled_grid_writes_names_left_of_the_rows() -> None:
    column = Column("a", torch.full((2, 3, TILE, TILE), 0.5))
    plain = np.asarray(labelled_grid([[column]], tile=TILE))
    named = np.asarray(labelled_grid([[column]], tile=TILE, names=["first", "second"]))
    side = named.shape[1] - plain.shape[1]
    assert side > 0
    assert (named[:, side + 6 :] == plain[:, 6:]).all()
    ink = (named[:, : side + 6] < 255).any((1, 2))
    top = len(plain) - 6 - 2 * TILE - 2
    assert ink[top : top + TILE].any() and ink[top + TILE + 2 :].any()
    assert not ink[:top].any()


def test_labelled_grid_leaves_out_empty_groups_and_keeps_proportions() -> None:
    wide = Column("wide", torch.zeros(1, 3, 10, 20))
    assert labelled_grid([[wide], []], tile=TILE).size == labelled_grid([[wide]], tile=TILE).size
    square = Column("square", torch.zeros(1, 3, 20, 20))
    assert (
        labelled_grid([[square]], tile=TILE).height - labelled_grid([[wide]], tile=TILE).height
    ) == TILE // 2


def test_glb_faces_the_viewer(tmp_path: Path) -> None:
    scene = HeadScene(1, 32)
    path = save_glb(scene.mesh(0), tmp_path / "head.glb")
    (mesh,) = trimesh.load_scene(path).geometry.values()
    assert len(mesh.vertices) == 32 * 32 and len(mesh.faces) == 2 * 31 * 31
    nose = mesh.vertices[mesh.vertices[:, 2].argmax()]
    size = np.ptp(mesh.vertices, axis=0)
    np.testing.assert_allclose(nose[0], 0, atol=size[0] / 32)  # the nose, in the middle, nearest
    assert -0.2 * size[1] < nose[1] < 0  # a little below the centre: y is up
    np.testing.assert_allclose(nose[2], 1 - scene.depth.min(), atol=1e-6)
    assert (mesh.face_normals[:, 2] > 0).mean() > 0.95  # front sides are seen from +z
    assert (mesh.vertex_normals[:, 2] > 0).mean() > 0.95

    picture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")).astype(int)
    columns = (mesh.visual.uv[:, 0] * 32).astype(int)
    rows = ((1 - mesh.visual.uv[:, 1]) * 32).astype(int)
    colours = picture[rows, columns]
    hair = mesh.vertices[(colours[:, 0] > 150) & (colours[:, 1] < 60)]
    assert (hair[:, 1] > 0).all() and len(hair) > 50
    dot = mesh.vertices[(colours[:, 2] > 200) & (colours[:, 0] < 60)]
    assert (dot[:, 0] < 0).all() and len(dot) > 5
    assert mesh.visual.material.metallicFactor == 0


TRIANGLES = {
    "vertices": torch.tensor([[0.0, 0, 2], [0, 1, 2], [1, 0, 2], [1, 1, 2]]),
    "faces": torch.tensor([[0, 1, 2], [2, 1, 3]]),
    "centre_depth": 2.0,
}


def test_glb_of_vertex_colours(tmp_path: Path) -> None:
    colours = torch.tensor([[-1.0, 0, 1], [1, 1, 1], [0, 0, 0], [-1, -1, -1]])
    path = save_glb(SceneMesh(**TRIANGLES, colors=colours), tmp_path / "a.glb")
    (mesh,) = trimesh.load_scene(path).geometry.values()
    np.testing.assert_allclose(mesh.vertices, [[0, 0, 0], [0, -1, 0], [1, 0, 0], [1, -1, 0]])
    linear = np.array([[0, 55, 255], [255, 255, 255], [55, 55, 55], [0, 0, 0]])
    np.testing.assert_allclose(mesh.visual.vertex_attributes["color"][:, :3], linear, atol=1)


def test_glb_of_a_texture_with_seams(tmp_path: Path) -> None:
    mesh = SceneMesh(
        **TRIANGLES,
        uvs=torch.tensor([[0.0, 1], [0, 0], [1, 1], [1, 0], [0.5, 0.5]]),
        face_uvs=torch.tensor([[0, 1, 2], [4, 1, 3]]),
        texture=torch.zeros(3, 4, 8),
    )
    (read,) = trimesh.load_scene(save_glb(mesh, tmp_path / "a.glb")).geometry.values()
    corners = read.vertices[read.faces] * [1, -1, -1] + [0, 0, 2]
    np.testing.assert_allclose(corners, mesh.vertices[mesh.faces], atol=1e-6)
    centres = (mesh.uvs[mesh.face_uvs].numpy() * [7, 3] + 0.5) / [8, 4]  # texel centres
    np.testing.assert_allclose(read.visual.uv[read.faces], centres, atol=1e-6)
    assert len(read.vertices) == 5  # only the seam is split
    np.testing.assert_allclose(read.vertex_normals, [[0, 0, 1]] * 5, atol=1e-6)


def test_masked_triangles_are_left_out() -> None:
    scene = HeadScene(1, 16)
    mask = torch.ones(1, 16, 16)
    mask[:, :, 10:] = 0
    mesh = depth_map_mesh(scene.depth[0], scene.albedo[0], scene.camera, mask)
    assert len(mesh.faces) == 2 * 15 * 9
    assert (mesh.faces % 16 < 10).all()


def test_a_scene_without_a_mesh_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PictureScene cannot give 'mesh'"):
        media.save_mesh(PictureScene(1, 16), 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="no space"), atomic_write(path) as temporary:
        temporary.write_text("ha")
        raise RuntimeError("no space")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def test_an_unwritable_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "pictures").write_text("in the way")
    with pytest.raises(UserError, match=r"pictures/000007: cannot be written: "):
        media.write_preview(Preview({"a": random_images(1)}), tmp_path, 7)
    with pytest.raises(UserError, match="pictures: cannot be written: "):
        media.write_overview(PictureScene(1, 16), tmp_path / "pictures")


class Recorder(Scene):
    """Notes the views and the gradient mode it is rendered with."""

    def __init__(self) -> None:
        self.heads, self.seen = PictureScene(2, 16), []
        self.camera = self.heads.camera

    @property
    def batch_size(self) -> int:
        return 2

    def _render(self, view, light, camera) -> Rendering:
        self.seen.append((len(view), light, torch.is_grad_enabled()))
        return self.heads.render(view)


def test_scenes_are_rendered_without_gradient_and_within_their_capabilities() -> None:
    scene = Recorder()
    scene_grids.contact_grid(scene)
    assert scene.seen == [(2, None, False)] * 5
