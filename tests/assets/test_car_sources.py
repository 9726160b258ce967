"""The readers behind `tools/build_cars.py`: AC3D, wheels by settings, OBJ in an archive."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from car_pack import ac3d, sources, surface
from PIL import Image

HEAD = """AC3Db
MATERIAL "a" rgb 1.00 0.50 0.25 amb 1 1 1 emis 0 0 0 spec 0 0 0 shi 1 trans 0
OBJECT world
loc 0 0 1
kids 2
"""
STRIP = """OBJECT poly
name "a strip"
texture "paint.rgb" base
texture "other.rgb" tiled
loc 10 0 0
numvert 5
0 0 0 0 0 1
0 1 0 0 0 1
1 0 0 0 0 1
1 1 0 0 0 1
2 0 0 0 0 1
numsurf 1
SURF 0x34
mat 0
refs 6
0 0.0 0.0 0.5 0.5 0.25 0.25
2 0.5 0.0 0.5 0.5
1 0.0 1.0 0.5 0.5
3 0.5 1.0 0.5 0.5
3 0.5 1.0 0.5 0.5
4 1.0 0.0 0.5 0.5
kids 1
OBJECT poly
loc 0 5 0
numvert 4
0 0 0
1 0 0
1 1 0
0 1 0
numsurf 2
SURF 0x20
mat 0
refs 4
0 0 0
1 1 0
2 1 1
3 0 1
SURF 0x2
refs 2
0 0 0
1 0 0
kids 0
"""
TRIANGLE = """OBJECT poly
data 5
hello
numvert 3
-0.5 -0.5 -0.5
0.5 -0.5 -0.5
0.5 0.5 0.5
numsurf 1
SURF 0x10
refs 3
0 0 0
1 1 0
2 1 1
kids 0
"""


def test_strips_nested_places_and_further_coordinates(tmp_path) -> None:
    path = tmp_path / "a.acc"
    path.write_text(HEAD + STRIP + TRIANGLE)
    strip, nested, last = ac3d.read_ac3d(path)
    assert (strip.name, strip.texture, nested.texture) == ("a strip", "paint.rgb", "")
    assert strip.vertices[0].tolist() == [10, 0, 1]
    assert nested.vertices[2].tolist() == [11, 6, 1]
    assert last.vertices[0].tolist() == [-0.5, -0.5, 0.5]
    # the doubled corner gives no triangle and turns the next one round
    assert strip.faces.tolist() == [[0, 2, 1], [1, 2, 3]]
    a, b, c = strip.vertices[strip.faces].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    assert (normal[:, 2] > 0).all()
    uv = strip.uvs[0]
    assert uv.tolist() == [[0, 0], [0.5, 0], [0, 1]]
    # a polygon is a fan, lines are left out
    assert nested.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert nested.colours.tolist() == [[1, 0.5, 0.25]] * 2
    assert last.colours.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "line 1: the file ends, expected AC3Db"),
        ("glTF", "line 1: expected AC3Db"),
        (HEAD, "line 6: the file ends, expected OBJECT"),
        (HEAD.replace("kids 2", "kids -1"), "line 5: expected a number of kids of 0 to"),
        (HEAD.replace("kids 2", "numvert 10000000"), "line 5: expected a number of vertices"),
        (HEAD.replace("loc 0 0 1", "loc 0 nan 1"), "line 4: expected loc and three numbers"),
        (HEAD + STRIP.replace("\n2 0.5", "\n7 0.5"), "line 22: expected a vertex of 0 to 4"),
        (HEAD + STRIP.replace("SURF 0x34", "SURF ?"), "line 18: expected flags, got '\\?'"),
        (HEAD + STRIP[:150], "the file ends, expected|expected a vertex"),
        ("AC3Db\n" + "OBJECT group\nkids 1\n" * 100, "at most 64 nested objects"),
    ],
)
def test_what_is_not_ac3d_is_named(tmp_path, text, error) -> None:
    path = tmp_path / "a.acc"
    path.write_text(text)
    with pytest.raises(ac3d.AC3DError, match=error):
        ac3d.read_ac3d(path)


SETTINGS = """<?xml version="1.0"?>
<!DOCTYPE params SYSTEM "params.dtd" [<!ENTITY surfaces SYSTEM "../surfaces.xml">]>
<params name="car">
&surfaces;
{}
</params>
"""


def test_wheels_stand_where_the_settings_say(monkeypatch, tmp_path) -> None:
    folder = tmp_path / sources.GAMES / "cars" / "test"
    wheels = tmp_path / sources.GAMES / "wheels" / "round"
    folder.mkdir(parents=True)
    wheels.mkdir(parents=True)
    # 4 m long (x forward), 1 m to 2 m high: the wheels alone touch the ground
    body = "0 2 1\n4 2 -1\n4 1 0\n"
    lines = TRIANGLE.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith("numvert"))
    lines[start + 1 : start + 4] = body.splitlines(keepends=True)
    one = HEAD.replace("kids 2", "kids 1").replace("loc 0 0 1\n", "")
    (folder / "test.acc").write_text(one + 'OBJECT poly\ntexture "test.png"\n' + "".join(lines[1:]))
    Image.new("RGB", (4, 4), (230, 20, 20)).save(folder / "test.png")
    (wheels / "wheel0.acc").write_text(one + TRIANGLE)
    section = "<section name='{}'>{}</section>"
    number = "<attnum name='{}' val='{}'/>"
    parts = []
    for axle, x in (("Front", 3.5), ("Rear", 0.5)):
        parts.append(section.format(f"{axle} Axle", number.format("xpos", x)))
        for side, y in (("Right", -0.8), ("Left", 0.8)):
            values = {
                "ypos": y,
                "rim diameter": 20,
                "tire width": 200,
                "tire height-width ratio": 0.5,
            }
            inner = "".join(number.format(k, v) for k, v in values.items())
            parts.append(section.format(f"{axle} {side} Wheel", inner))
    (folder / "test.xml").write_text(SETTINGS.format("".join(parts)))
    source = sources.Source(
        "test", f"{sources.GAMES}/cars/test/test.acc", "me", "none", (0,), "round"
    )
    surface, textures = sources.load(source, tmp_path)
    assert len(surface) == 5
    low, high = surface.corners.min((0, 1)), surface.corners.max((0, 1))
    np.testing.assert_allclose(low + high, 0, atol=1e-12)
    assert high[2] - low[2] == pytest.approx(1)  # 4 m
    ground = surface.corners[..., 1].max()
    diameter = (20 * 0.0254 + 0.2) / 4
    for place in surface.corners[1:]:
        assert place[:, 1].max() == pytest.approx(ground)  # y is down
        assert np.ptp(place[:, 1]) == pytest.approx(diameter)
        assert np.ptp(place[:, 0]) == pytest.approx(0.2 / 4)
    centres = (surface.corners[1:].min(1) + surface.corners[1:].max(1)) / 2
    front_right, front_left, rear_right, rear_left = centres
    # facing the camera at -z, the car's right is at the image's left
    assert front_right[2] == pytest.approx(-1.5 / 4) and rear_left[2] == pytest.approx(1.5 / 4)
    assert front_right[0] == pytest.approx(-0.2) and front_left[0] == pytest.approx(0.2)
    assert rear_right[0] == pytest.approx(-0.2)
    assert textures[0][..., 3].min() == 1  # all red is paint
    # a mirrored wheel is wound as the one opposite, seen from its own side
    normals = surface.normals()[1:]
    np.testing.assert_allclose(normals[0] * [-1, 1, -1], normals[1], atol=1e-9)


OBJ = """mtllib box.mtl
v -1 0 2
v 1 0 2
v 0 1 -2
vt 0 0
vt 1 0
vt 1 1
usemtl body
f 1 2 3
usemtl glass
f 1 3 2
usemtl picture
f 1/1 2/2 3/3
"""
MTL = """newmtl body
Kd 0.8 0.2 0.1
d 1.0
newmtl glass
Kd 0.4 0.4 0.8
d 0.5
newmtl picture
Kd 1 1 1
map_Kd picture.png
"""


def test_obj_with_materials_in_an_archive(monkeypatch, tmp_path) -> None:
    archive = tmp_path / sources.SH3F / "Test.sh3f"
    archive.parent.mkdir(parents=True)
    Image.new("RGB", (4, 4), (0, 255, 0)).save(tmp_path / "picture.png")
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("test/box/box.obj", OBJ)
        opened.writestr("test/box/box.mtl", MTL)
        opened.write(tmp_path / "picture.png", "test/box/picture.png")
    source = sources.Source(
        "box", f"{sources.SH3F}/Test.sh3f:test/box/box.obj", "me", "none", ("body",)
    )
    surface, textures = sources.load(source, tmp_path)
    assert len(surface) == 3 and len(textures) == 1
    body, glass = surface.paint, (surface.texture < 0) & ~surface.paint
    np.testing.assert_allclose(surface.colour[body], [[0.8, 0.2, 0.1]], atol=0.01)
    np.testing.assert_allclose(surface.colour[glass], [[0.2, 0.2, 0.4]], atol=0.01)
    np.testing.assert_allclose(surface.colour[surface.texture == 0], 1)
    np.testing.assert_allclose(textures[0][0, 0], [0, 1, 0, 0])
    # its front, +z in the file, is towards the camera; up is -y
    corners = surface.corners[body][0]
    np.testing.assert_allclose(
        corners, [[-0.25, 0.125, -0.5], [0.25, 0.125, -0.5], [0, -0.125, 0.5]]
    )


def test_both_sides_of_what_is_seen_from_both(monkeypatch) -> None:
    import trimesh

    box = trimesh.creation.box((0.6, 0.4, 1.0)).subdivide()
    inner = trimesh.creation.icosphere(radius=0.1)
    wing = np.array([[[0.0, -0.4, 0.3], [0.2, -0.4, 0.3], [0.2, -0.4, 0.5]]])
    corners = np.concatenate((box.triangles[:, ::-1], inner.triangles, wing))
    count = len(corners)
    loose = surface.Surface(
        corners, np.zeros((count, 3, 2)), np.full(count, -1), np.ones((count, 3)),
        np.zeros(count, dtype=bool),
    )  # fmt: skip
    once, twice = surface.outside(loose, size=128)
    # the box's faces were wound inwards, the sphere within is hidden, the wing is seen from
    # above and from below
    assert len(once) == len(box.faces) + 1 and twice.sum() == 1
    seen = surface.both_sides(once, twice)
    middle, normal = seen.corners.mean(1), seen.normals()
    on_box = middle[:, 1] > -0.3
    assert ((middle * normal).sum(1)[on_box] > 0).all()
    assert sorted(normal[~on_box][:, 1].round(3).tolist()) == [-1, 1]
