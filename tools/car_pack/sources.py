"""The cars: where each lies in the two packages, who made it, and how it becomes a `Surface`.

Common frame: camera axes (x right, y down, z forward) with the car's front towards the camera, -z;
the middle of its bounding box is the origin, and it is one unit long.
"""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from car_pack.ac3d import read_ac3d
from car_pack.surface import Surface, join

GAMES = Path("usr/share/games/torcs")
SH3F = Path("usr/share/sweethome3d/furniture")
# TORCS: x forward, y up, z to the car's right. OBJ of Sweet Home 3D: y up, front towards +z.
TORCS_AXES = np.array([[0.0, 0, -1], [0, -1, 0], [-1, 0, 0]])
OBJ_AXES = np.diag([1.0, -1.0, -1.0])
LAMPS = ("light", "signal", "reflector", "lens", "faros")


@dataclass(frozen=True)
class Source:
    """One car.

    Attributes:
        name: in the pack.
        file: of TORCS the model within its package, else the archive and the model within.
        creator: as the model's readme or catalogue has it.
        licence: as the package's copyright file has it.
        paint: of TORCS the body's paint in the texture, a hue in degrees or a colour in [0, 1];
            else names of the materials.
        wheel: of TORCS the folder of the wheel.
    """

    name: str
    file: str
    creator: str
    licence: str
    paint: tuple
    wheel: str = ""


WYMANN, DURIEU = "Bernhard Wymann", "Jean-Christophe Durieu"
SASSNICK, SUMNER = "Olaf Sassnick", "Andrew Sumner"


def _torcs(name: str, paint: tuple, wheel: str, *creators: str) -> Source:
    return Source(
        name,
        f"{GAMES}/cars/{name}/{name}.acc",
        ", ".join(creators) + f"; wheels: {WYMANN}"
        + (" and Eric Espie" if wheel == "openwheel1-1" else ""),
        "Free Art License 1.3",
        paint,
        wheel,
    )  # fmt: skip


def _home(archive: str, name: str, creator: str, licence: str, *paint: str) -> Source:
    folder = {"BlendSwap-CC-BY": "blendswap-cc-by"}.get(archive, archive.lower())
    file = f"{SH3F}/{archive}.sh3f:{folder}/{name}/{name}.obj"
    return Source(name.lower(), file, creator, licence, paint)


SCOPIA = ("Scopia", "CC-BY-3.0")
KATOR = ("Andrew Kator & Jennifer Legaz", "CC-BY-3.0-US")
CARS = (
    # these two have no wheel model of their own: the game draws cylinders
    _torcs("acura-nsx-sz", (0.92, 0.92, 0.92), "trb1-1", "ViPeR", DURIEU),
    _torcs("baja-bug", (0,), "stock1-1", DURIEU),
    _torcs("car1-ow1", (0,), "openwheel1-1", "SpeedyChonChon"),
    _torcs("car1-stock1", (0,), "stock1-2", WYMANN),
    _torcs("car1-stock2", (300,), "stock1-2", WYMANN),
    _torcs("car1-trb1", (240,), "trb1-5", "Eric Espie", DURIEU, WYMANN, SASSNICK),
    _torcs("car1-trb3", (240,), "trb1-5", "Eric Espie", DURIEU, WYMANN, SASSNICK),
    _torcs("car2-trb1", (240,), "trb1-5", "Eric Espie", DURIEU, SASSNICK, WYMANN),
    _torcs("car3-trb1", (240,), "trb1-5", "ViPeR", DURIEU, SASSNICK, SUMNER, WYMANN),
    _torcs("car4-trb1", (0.125, 0.125, 0.125), "trb1-5", "ViPeR", "Eric Espie", WYMANN, SUMNER),
    _torcs("car5-trb1", (240,), "trb1-5", "Christophe Guionneau", "Eliam Speedychonchon", WYMANN),
    _torcs("car6-trb1", (214,), "trb1-3", "Wolf-Dieter Beelitz", WYMANN, "Eric Espie", DURIEU,
           SASSNICK, SUMNER),
    _torcs("car7-trb1", (45,), "trb1-5", WYMANN, SASSNICK, SUMNER, "Wolf-Dieter Beelitz"),
    _torcs("car8-trb1", (27,), "trb1-1", WYMANN, SASSNICK, SUMNER),
    _home("Scopia", "seat_leon", *SCOPIA, "chapa_roja"),
    _home("Scopia", "peugeot-308", *SCOPIA, "color-exterior"),
    _home("Scopia", "renault-scenic", *SCOPIA, "color-beige-green"),
    _home("Scopia", "suv", *SCOPIA, "firstcolor"),
    _home("Scopia", "chevrolet", *SCOPIA, "firstcolor"),
    _home("Scopia", "smart-car", *SCOPIA, "second-color"),
    _home("KatorLegaz", "concept-sedan-01v1", *KATOR, "Car"),
    _home("KatorLegaz", "concept-sedan-01v2", *KATOR, "Car"),
    _home("KatorLegaz", "concept-sedan-02", *KATOR, "PAINT_lt_blue"),
    _home("KatorLegaz", "concept-sedan-02-sport", *KATOR, "PAINT_lt_blue"),
    _home("KatorLegaz", "VW-new-beetle", *KATOR, "PAINT_yellow"),
    _home("BlendSwap-CC-BY", "fordFocus", "Ruff", "CC-BY-3.0", "carPaint"),
)  # fmt: skip


def load(source: Source, root: Path) -> tuple[Surface, list[np.ndarray]]:
    """Read one car from the unpacked packages in `root`.

    Returns:
        its surface in the common frame, and its textures (h, w, 4): colour and paint in [0, 1].
    """
    surface, textures = (_load_torcs if source.wheel else _load_home)(source, root)
    low, high = surface.corners.min((0, 1)), surface.corners.max((0, 1))
    centred = replace(surface, corners=surface.corners - (low + high) / 2)
    return replace(centred, corners=centred.corners / (high - low)[2]), textures


def _load_torcs(source: Source, root: Path) -> tuple[Surface, list[np.ndarray]]:
    model = root / source.file
    textures: dict[Path, np.ndarray] = {}
    body = _ac3d(model, textures, source.paint).transformed(TORCS_AXES)
    settings = ElementTree.fromstring(_without_entities(model.with_suffix(".xml")))
    wheel = root / GAMES / "wheels" / source.wheel / "wheel0.acc"
    unit = _ac3d(wheel, textures, ())  # within [-0.5, 0.5], the rim towards +z
    parts = [body]
    for axle in ("Front", "Rear"):
        x = _number(settings, f"{axle} Axle", "xpos")
        for side in ("Right", "Left"):
            name = f"{axle} {side} Wheel"
            width = _number(settings, name, "tire width") / 1000
            rim = _number(settings, name, "rim diameter") * 0.0254
            height = rim + 2 * width * _number(settings, name, "tire height-width ratio")
            # the car's right is +z; a wheel of the left is turned about the vertical
            turn = 1.0 if side == "Right" else -1.0
            placed = unit.transformed(
                np.diag([turn * height, height, turn * width]),
                np.array([x, height / 2, -_number(settings, name, "ypos")]),
            )
            parts.append(placed.transformed(TORCS_AXES))
    return join(parts), list(textures.values())


def _ac3d(model: Path, textures: dict[Path, np.ndarray], paint: tuple) -> Surface:
    """All objects of a model, their textures added to `textures`."""
    parts = []
    for item in read_ac3d(model):
        count, number = len(item.faces), -1
        if item.texture:
            path = model.parent / item.texture
            if path not in textures:
                main = path.stem == model.stem
                with Image.open(path) as image:
                    textures[path] = _with_paint(image, paint if main else ())
            number = list(textures).index(path)
        parts.append(
            Surface(
                item.vertices[item.faces],
                item.uvs,
                np.full(count, number),
                item.colours,
                np.zeros(count, dtype=bool),
            )
        )
    return join(parts)


def _with_paint(image: Image.Image, paint: tuple) -> np.ndarray:
    """(h, w, 4): the colours of a texture, and how much each texel is the body's paint."""
    colour = np.asarray(image.convert("RGB")) / 255.0
    if not paint:
        share = np.zeros(colour.shape[:2])
    elif len(paint) == 3:
        away = np.abs(colour - np.array(paint)).max(-1)
        share = np.clip((0.16 - away) / 0.08, 0, 1)
    else:
        hsv = np.asarray(image.convert("RGB").convert("HSV")) / 255.0
        away = np.abs((hsv[..., 0] * 360 - paint[0] + 180) % 360 - 180)
        share = np.clip((30 - away) / 12, 0, 1) * np.clip((hsv[..., 1] - 0.2) / 0.15, 0, 1)
        share *= np.clip((hsv[..., 2] - 0.15) / 0.15, 0, 1)
    return np.concatenate((colour, share[..., None]), -1)


def _number(settings: ElementTree.Element, section: str, name: str) -> float:
    found = settings.find(f".//section[@name='{section}']/attnum[@name='{name}']")
    if found is None:
        raise ValueError(f"the car's settings have no '{name}' of '{section}'")
    return float(found.attrib["val"])


def _without_entities(path: Path) -> str:
    """The XML text without its document type, whose entities are files of the game."""
    text = path.read_text(encoding="latin-1")
    start = text.find("<params")
    lines = text[start:].splitlines()
    return "\n".join(line for line in lines if not line.strip().startswith("&"))


def _load_home(source: Source, root: Path) -> tuple[Surface, list[np.ndarray]]:
    archive, _, model = source.file.partition(":")
    textures: list[np.ndarray] = []
    parts = []
    with zipfile.ZipFile(root / archive) as opened, tempfile.TemporaryDirectory() as folder:
        beside = model.rpartition("/")[0] + "/"
        opened.extractall(folder, [n for n in opened.namelist() if n.startswith(beside)])
        path = Path(folder, model)
        opacity = _opacities(path.with_suffix(".mtl"))
        scene = trimesh.load_scene(path, process=False, split_object=False, group_material=True)
    for mesh in scene.dump():
        material = mesh.visual.material
        name = material.name
        colour = np.array(material.diffuse[:3], dtype=float) / 255
        if not any(lamp in name.lower() for lamp in LAMPS):
            colour = colour * opacity.get(name, 1.0)  # glass before the dark
        number = -1
        if material.image is not None:
            number, colour = len(textures), np.ones(3)
            image = material.image.convert("RGBA")
            flat = Image.new("RGBA", image.size, "black")
            textures.append(_with_paint(Image.alpha_composite(flat, image), ()))
        faces, uvs = np.asarray(mesh.faces), mesh.visual.uv
        uvs = np.zeros((len(mesh.vertices), 2)) if uvs is None else np.asarray(uvs)
        parts.append(
            Surface(
                np.asarray(mesh.vertices)[faces],
                uvs[faces],
                np.full(len(faces), number),
                np.broadcast_to(colour, (len(faces), 3)).copy(),
                np.full(len(faces), name in source.paint),
            )
        )
    return join(parts).transformed(OBJ_AXES), textures


def _opacities(path: Path) -> dict[str, float]:
    """``d`` of the materials of a file, which trimesh does not keep."""
    found: dict[str, float] = {}
    current = ""
    for words in map(str.split, path.read_text(encoding="utf-8", errors="replace").splitlines()):
        if words[:1] == ["newmtl"]:
            current = " ".join(words[1:])
        elif words[:1] == ["d"]:
            found[current] = float(words[1])
    return found


def paint_of(atlas: np.ndarray) -> tuple[float, list[float]]:
    """Mean lightness and colour of the painted texels of an atlas (h, w, 4)."""
    chosen = atlas[atlas[..., 3] > 0.9][:, :3]
    if len(chosen) < 100:
        raise ValueError(f"only {len(chosen)} texels of the atlas are painted")
    colour = np.median(chosen, 0)
    return float(colour.mean()), [round(float(c), 3) for c in colour]
