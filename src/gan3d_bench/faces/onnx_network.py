"""ONNX files as differentiable PyTorch modules, and as onnxruntime sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan3d_bench.errors import UserError

if TYPE_CHECKING:
    from onnx import GraphProto, TensorProto
    from onnxruntime import InferenceSession

Operation = Callable[..., Tensor]


class _Step(NamedTuple):
    """One node of the graph. `inputs` and `output` are values' names; `spent` are those that no
    later step reads."""

    operation: Operation
    inputs: tuple[str, ...]
    output: str
    spent: tuple[str, ...]


class OnnxNetwork(nn.Module):
    """A feed-forward ONNX graph with one input and one output, in inference mode.

    Knows the operators that face recognition networks consist of: see `OPERATORS`. Its weights are
    buffers left out of ``state_dict``: they are an asset. The batch size is free whatever the file
    declares.

    Args:
        path: of the ONNX file, its weights inside it.

    Raises:
        UserError: not an ONNX file, or it holds an operator or attribute that is not known here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        from onnx import helper, numpy_helper

        graph = _read_graph(path)
        try:
            arrays = {w.name: numpy_helper.to_array(w) for w in graph.initializer}
            weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        except (ValueError, TypeError, LookupError) as error:
            raise UserError(f"{path} cannot be read as an ONNX file: {error}") from error
        inputs = [value.name for value in graph.input if value.name not in weights]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise UserError(
                f"{path}: {len(inputs)} inputs and {len(graph.output)} outputs; expected one each"
            )
        self.input, self.output = inputs[0], graph.output[0].name
        self._buffer_of: dict[str, str] = {}
        for index, (name, values) in enumerate(weights.items()):
            self._buffer_of[name] = f"weight_{index}"
            self.register_buffer(f"weight_{index}", values, persistent=False)

        readers = Counter(name for node in graph.node for name in node.input)
        readers[self.output] += 1
        self.steps: list[_Step] = []
        known = {self.input, *weights}
        for node in graph.node:
            absent = [name for name in node.input if name not in known]
            if absent:
                raise UserError(f"{path}: {node.op_type} reads {absent[0]!r:.60}, which is nowhere")
            known.update(node.output)
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type not in OPERATORS or len(node.output) != 1:
                raise UserError(
                    f"{path}: unknown operator {node.op_type}; known: {', '.join(OPERATORS)}"
                )
            try:
                operation = OPERATORS[node.op_type](attributes)
            except (ValueError, TypeError) as error:
                raise UserError(f"{path}: {node.op_type} with {error}") from error
            readers.subtract(node.input)
            spent = {n for n in node.input if not readers[n] and n not in weights}
            self.steps.append(_Step(operation, tuple(node.input), node.output[0], tuple(spent)))

    def forward(self, x: Tensor) -> Tensor:
        """Run the graph on float32 `x`, without reduced precision of any kind."""
        x = x.float()
        if x.ndim == 4:  # on CPUs the depthwise convolutions take two thirds of the time so
            x = x.contiguous(memory_format=torch.channels_last)
        values = {self.input: x}
        with (
            torch.autocast(x.device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            for operation, inputs, output, spent in self.steps:
                values[output] = operation(*(self._value(values, name) for name in inputs))
                for name in spent:
                    del values[name]
        return values[self.output]

    def _value(self, values: Mapping[str, Tensor], name: str) -> Tensor:
        buffer = self._buffer_of.get(name)
        return values[name] if buffer is None else self.get_buffer(buffer)


def _read_graph(path: Path) -> GraphProto:
    """Return the graph of an ONNX file that holds all of its numbers itself.

    Raises:
        UserError: not an ONNX file, weights in another file (which would be read from wherever
            this one says), or weights that are no numbers.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except (DecodeError, OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read as an ONNX file: {error}") from error
    for tensor in _tensors(graph):
        name = f"{tensor.name!r:.60}"
        if uses_external_data(tensor):
            raise UserError(f"{path}: the values of {name} are in another file, expected in it")
        if tensor.data_type == onnx.TensorProto.STRING:
            raise UserError(f"{path}: the values of {name} are texts, expected numbers")
    return graph


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """All constants: of the graph, of its nodes' attributes, and of the graphs in these."""
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            yield from (*attribute.tensors, *([attribute.t] if attribute.HasField("t") else []))
            waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def _conv(attributes: Mapping[str, Any]) -> Operation:
    top, left, *rest = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != tuple(rest) or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError("padding that is not symmetric")
    return partial(
        F.conv2d,
        stride=tuple(attributes.get("strides", (1, 1))),
        padding=(top, left),
        dilation=tuple(attributes.get("dilations", (1, 1))),
        groups=attributes.get("group", 1),
    )


def _prelu(attributes: Mapping[str, Any]) -> Operation:
    return _apply_prelu


def _apply_prelu(x: Tensor, slope: Tensor) -> Tensor:
    return F.prelu(x, slope.flatten())


def _gemm(attributes: Mapping[str, Any]) -> Operation:
    if attributes.get("transA", 0) or {attributes.get(k, 1.0) for k in ("alpha", "beta")} != {1.0}:
        raise ValueError("transA, alpha or beta")
    return F.linear if attributes.get("transB", 0) else _apply_untransposed


def _apply_untransposed(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight.T, bias)


def _batch_norm(attributes: Mapping[str, Any]) -> Operation:
    return partial(_apply_batch_norm, eps=attributes.get("epsilon", 1e-5))


def _apply_batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, eps: float
) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=eps)


def _flatten(attributes: Mapping[str, Any]) -> Operation:
    if attributes.get("axis", 1) != 1:
        raise ValueError(f"axis={attributes['axis']}")
    return partial(torch.flatten, start_dim=1)


OPERATORS: dict[str, Callable[[Mapping[str, Any]], Operation]] = {
    "Conv": _conv,
    "PRelu": _prelu,
    "Add": lambda attributes: torch.add,
    "Sub": lambda attributes: torch.sub,
    "Mul": lambda attributes: torch.mul,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "BatchNormalization": _batch_norm,
}
"""ONNX operator -> (its attributes -> the function of its inputs)."""


def open_session(path: Path) -> InferenceSession:
    """Open an ONNX file in onnxruntime on the CPU, with as many threads as torch has.

    Raises:
        UserError: onnxruntime cannot read it, or its weights are in another file.
    """
    import onnxruntime

    _read_graph(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # no warning whenever a batch is larger than the file declares
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common public base
        raise UserError(f"{path} cannot be read by onnxruntime: {error}") from error
