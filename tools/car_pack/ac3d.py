"""Reader of AC3D models (``.ac``, and TORCS's ``.acc`` with strips and more texture coordinates).

The format: text; ``OBJECT`` blocks nest by their ``kids``, each with an offset ``loc`` from its
parent; a surface has ``SURF flags``, ``refs n`` and n lines ``vertex u v``, in which further
columns are coordinates of further textures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# the low nibble of a surface's flags
POLYGON, STRIP = 0, 4
MOST_VERTICES = 1_000_000
MOST_DEPTH = 64


class AC3DError(ValueError):
    """Not a readable AC3D file; says where and what was expected."""


@dataclass(frozen=True)
class AC3DObject:
    """One object with faces, in the file's axes.

    Attributes:
        name: of the object; "" if it has none.
        texture: of its first ``texture`` line; "" if it has none.
        vertices: (V, 3), with the offsets of all parents.
        faces: (F, 3) rows of `vertices`, wound as in the file.
        uvs: (F, 3, 2), u right and v up.
        colours: (F, 3) in [0, 1] of each face's material.
    """

    name: str
    texture: str
    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray
    colours: np.ndarray


class _Lines:
    """The lines of a file as words, with their number for errors."""

    def __init__(self, text: str) -> None:
        self._lines = [line.split() for line in text.splitlines()]
        self.number = 0

    def __iter__(self) -> Iterator[list[str]]:
        while self.number < len(self._lines):
            yield self.next("another line")

    def next(self, expected: str) -> list[str]:
        while self.number < len(self._lines):
            self.number += 1
            if self._lines[self.number - 1]:
                return self._lines[self.number - 1]
        raise AC3DError(f"line {self.number + 1}: the file ends, expected {expected}")

    def numbers(self, words: list[str], count: int, expected: str) -> list[float]:
        try:
            values = [float(word) for word in words[:count]]
        except ValueError:
            values = []
        if len(values) != count or not all(map(math.isfinite, values)):
            raise AC3DError(f"line {self.number}: expected {expected}, got {' '.join(words)!r}")
        return values

    def count(self, words: list[str], what: str, most: int = MOST_VERTICES) -> int:
        value = self.numbers(words, 1, what)[0]
        if value != int(value) or not 0 <= value <= most:
            raise AC3DError(f"line {self.number}: expected {what} of 0 to {most}, got {words[0]!r}")
        return int(value)


def read_ac3d(path: Path) -> list[AC3DObject]:
    """Read the objects of a model that have faces.

    Raises:
        AC3DError: not AC3D, or damaged.
        OSError: the file cannot be read.
    """
    lines = _Lines(path.read_text(encoding="latin-1"))
    if not lines.next("AC3Db")[0].startswith("AC3D"):
        raise AC3DError("line 1: expected AC3Db")
    materials: list[list[float]] = []
    objects: list[AC3DObject] = []
    for words in lines:
        if words[0] == "MATERIAL":
            at = words.index("rgb") + 1 if "rgb" in words else len(words)
            materials.append(lines.numbers(words[at:], 3, "rgb and three numbers"))
        elif words[0] == "OBJECT":
            _read_object(lines, materials, objects, np.zeros(3), 0)
        else:
            raise AC3DError(f"line {lines.number}: expected MATERIAL or OBJECT, got {words[0]!r}")
    return objects


def _read_object(
    lines: _Lines,
    materials: list[list[float]],
    objects: list[AC3DObject],
    offset: np.ndarray,
    depth: int,
) -> None:
    """Read what follows an ``OBJECT`` line, up to its kids' end."""
    if depth > MOST_DEPTH:
        raise AC3DError(f"line {lines.number}: expected at most {MOST_DEPTH} nested objects")
    name = texture = ""
    vertices = np.zeros((0, 3))
    faces: list[tuple[int, int, int]] = []
    uvs: list[tuple] = []
    colours: list[list[float]] = []
    while True:
        words = lines.next("kids")
        key, rest = words[0], words[1:]
        if key == "name":
            name = " ".join(rest).strip('"')
        elif key == "texture" and not texture:
            texture = rest[0].strip('"') if rest else ""
        elif key == "loc":
            offset = offset + lines.numbers(rest, 3, "loc and three numbers")
        elif key == "data":  # a text of so many characters on the next line
            lines.next("data")
        elif key == "rot":
            turn = np.array(lines.numbers(rest, 9, "rot and nine numbers")).reshape(3, 3)
            if not np.allclose(turn, np.eye(3)):
                raise AC3DError(f"line {lines.number}: turned objects are not supported")
        elif key == "numvert":
            count = lines.count(rest, "a number of vertices")
            vertices = np.array(
                [lines.numbers(lines.next("a vertex"), 3, "a vertex") for _ in range(count)]
            ).reshape(-1, 3)
        elif key == "numsurf":
            for _ in range(lines.count(rest, "a number of surfaces")):
                found, colour = _read_surface(lines, len(vertices), materials)
                for face, uv in found:
                    faces.append(face)
                    uvs.append(uv)
                    colours.append(colour)
        elif key == "kids":
            kids = lines.count(rest, "a number of kids")
            break
    if faces:
        objects.append(
            AC3DObject(
                name,
                texture,
                vertices + offset,
                np.array(faces),
                np.array(uvs, dtype=float),
                np.array(colours),
            )
        )
    for _ in range(kids):
        words = lines.next("OBJECT")
        if words[0] != "OBJECT":
            raise AC3DError(f"line {lines.number}: expected OBJECT, got {words[0]!r}")
        _read_object(lines, materials, objects, offset, depth + 1)


def _read_surface(
    lines: _Lines, num_vertices: int, materials: list[list[float]]
) -> tuple[list[tuple], list[float]]:
    """Triangles (corners, uvs) of one surface, and its colour."""
    words = lines.next("SURF")
    if words[0] != "SURF" or len(words) < 2:
        raise AC3DError(f"line {lines.number}: expected SURF and flags, got {' '.join(words)!r}")
    try:
        kind = int(words[1], 0) & 0xF
    except ValueError as error:
        raise AC3DError(f"line {lines.number}: expected flags, got {words[1]!r}") from error
    colour = [1.0, 1.0, 1.0]
    words = lines.next("refs")
    if words[0] == "mat":
        number = lines.count(words[1:], "a material")
        colour = materials[number] if number < len(materials) else colour
        words = lines.next("refs")
    if words[0] != "refs":
        raise AC3DError(f"line {lines.number}: expected refs, got {words[0]!r}")
    corners, uvs = [], []
    for _ in range(lines.count(words[1:], "a number of refs")):
        words = lines.next("a corner")
        corners.append(lines.count(words, "a vertex", num_vertices - 1))
        uvs.append(tuple(lines.numbers(words[1:], 2, "u and v")))
    if kind == STRIP:
        # every other triangle of a strip is wound the other way
        order = [(i, i + 1, i + 2) if i % 2 == 0 else (i + 1, i, i + 2)
                 for i in range(len(corners) - 2)]  # fmt: skip
    elif kind == POLYGON:
        order = [(0, i, i + 1) for i in range(1, len(corners) - 1)]
    else:
        order = []  # lines have no surface
    triangles = [(tuple(corners[i] for i in t), tuple(uvs[i] for i in t)) for t in order]
    # strips turn corners by triangles without area
    return [found for found in triangles if len(set(found[0])) == 3], colour
