"""Reader of OpenVINO IR files (a graph in .xml, its constants in .bin) as plain arrays.

Knows as much of the format as getting weights out of it takes: layers, edges, constants. Nothing is
executed, no document type or entity is read, and every constant is a view of the mapped file, so a
damaged file costs no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat

import numpy as np
import torch
from torch import Tensor

from gan3d_bench.errors import UserError

_TYPES = {"f32": np.dtype("<f4"), "i64": np.dtype("<i8"), "i32": np.dtype("<i4")}
_PIECE = 1 << 16
_DAMAGE = (expat.ExpatError, ParseError, ValueError, AssertionError)
MAX_XML_BYTES = 16 << 20


@dataclass(frozen=True)
class Layer:
    """A node of the graph. `inputs` are the ids of the layers on its input ports, in port order."""

    id: str
    name: str
    type: str
    attributes: dict[str, str]
    inputs: tuple[str, ...]


class IntermediateRepresentation:
    """The graph of `path` (.xml) and the constants of the .bin file beside it.

    Attributes:
        layers: id -> layer, in the file's order, which is topological.

    Raises:
        UserError: a file is missing or empty, or the .xml is not an OpenVINO IR.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.layers = _read_layers(path)
        self._by_name = {layer.name: layer for layer in self.layers.values()}
        weights = path.with_suffix(".bin")
        try:
            self._bytes = np.memmap(weights, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise UserError(f"{weights} cannot be read as weights: {error}") from error

    def of_type(self, kind: str) -> list[Layer]:
        """Return the layers of type `kind` in the file's order."""
        return [layer for layer in self.layers.values() if layer.type == kind]

    def consumer(self, layer: Layer) -> Layer:
        """Return the one layer that reads `layer`.

        Raises:
            UserError: none, or several.
        """
        readers = [other for other in self.layers.values() if layer.id in other.inputs]
        if len(readers) != 1:
            raise self.damaged(f"layer '{layer.name}' has {len(readers)} readers, expected one")
        return readers[0]

    def operand(self, layer: Layer, port: int) -> Layer:
        """Return the layer on input `port` of `layer`.

        Raises:
            UserError: nothing is connected there.
        """
        if port >= len(layer.inputs) or layer.inputs[port] not in self.layers:
            raise self.damaged(f"layer '{layer.name}' has nothing on input {port}")
        return self.layers[layer.inputs[port]]

    def has(self, name: str) -> bool:
        """Return whether there is a layer called `name`."""
        return name in self._by_name

    def named(self, name: str) -> Layer:
        """Return the layer called `name`.

        Raises:
            UserError: there is none.
        """
        if name not in self._by_name:
            raise self.damaged(f"'{name}' is missing")
        return self._by_name[name]

    def constant(self, layer: Layer, shape: tuple[int, ...]) -> Tensor:
        """Return a copy of the values of a float32 constant, in `shape`.

        Args:
            layer: of type Const.
            shape: expected; axes of length one may differ from the file's.

        Raises:
            UserError: no such constant, another shape, or bytes outside of the .bin file.
        """
        values = self._values(layer)
        if values.dtype != _TYPES["f32"] or not _same_shape(values.shape, shape):
            raise self.damaged(
                f"'{layer.name}' is {values.dtype} {values.shape}, expected float32 {shape}"
            )
        if not np.isfinite(values).all():
            raise self.damaged(f"'{layer.name}' is not finite, expected trained weights")
        return torch.from_numpy(values.astype(np.float32, copy=True).reshape(shape))

    def shape(self, layer: Layer) -> tuple[int, ...]:
        """Return the shape of a constant. Raises UserError as `constant` does."""
        return self._values(layer).shape

    def damaged(self, what: str) -> UserError:
        """Return the error for a file that is not the network it should be."""
        return UserError(f"{self.path} is damaged or another network: {what}")

    def _values(self, layer: Layer) -> np.ndarray:
        """A view of the file: shape and extent are checked before anything is allocated."""
        if layer.type != "Const":
            raise self.damaged(f"'{layer.name}' is of type {layer.type}, expected a constant")
        try:
            dtype = _TYPES[layer.attributes["element_type"]]
            sides = layer.attributes["shape"].replace(",", " ").split()
            shape = tuple(_natural(side) for side in sides)
            offset, size = (_natural(layer.attributes[key]) for key in ("offset", "size"))
        except (KeyError, ValueError) as error:
            raise self.damaged(f"constant '{layer.name}' is described badly ({error})") from error
        if size != math.prod(shape) * dtype.itemsize:
            raise self.damaged(f"constant '{layer.name}' has {size} bytes for shape {shape}")
        if offset + size > self._bytes.size:
            raise self.damaged(
                f"constant '{layer.name}' ends at byte {offset + size} of {self._bytes.size}"
            )
        return self._bytes[offset : offset + size].view(dtype).reshape(shape)


def _natural(text: str) -> int:
    """Parse a natural number of a sane number of digits."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError(f"{text[:24]!r} is no natural number")
    return int(text)


def _same_shape(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return [side for side in first if side != 1] == [side for side in second if side != 1]


def _read_layers(path: Path) -> dict[str, Layer]:
    try:
        root = _parse(path)
    except (OSError, LookupError, *_DAMAGE) as error:  # LookupError: an unknown encoding
        raise UserError(f"{path} cannot be read as an OpenVINO IR: {error}") from error
    if root.tag != "net" or root.find("layers") is None:
        raise UserError(f"{path} is not an OpenVINO IR: expected <net> with <layers>")
    try:
        inputs: dict[str, dict[int, str]] = {}
        for edge in root.iterfind("edges/edge"):
            ports = inputs.setdefault(edge.attrib["to-layer"], {})
            ports[_natural(edge.attrib["to-port"])] = edge.attrib["from-layer"]
        layers = list(_layers(root, inputs))
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is not a sound OpenVINO IR: {error} in its graph") from error
    return {layer.id: layer for layer in layers}


def _layers(root: Element, inputs: dict[str, dict[int, str]]) -> Iterator[Layer]:
    for element in root.iterfind("layers/layer"):
        id_, name, kind = (element.attrib[key] for key in ("id", "name", "type"))
        data = element.find("data")
        ports = inputs.get(id_, {})
        sources = tuple(ports[port] for port in sorted(ports))
        yield Layer(id_, name, kind, {} if data is None else dict(data.attrib), sources)


def _parse(path: Path) -> Element:
    """Parse XML that has no document type, hence no entities that could expand or be fetched."""
    if path.stat().st_size > MAX_XML_BYTES:
        raise ValueError(f"larger than {MAX_XML_BYTES >> 20} MiB")
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            parser.Parse(piece, False)
        parser.Parse(b"", True)
    return builder.close()


def _refuse_doctype(*_: object) -> NoReturn:
    raise ValueError("it declares a document type, which may hide entities")
