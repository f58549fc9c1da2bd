"""An exported graph as a differentiable function of torch tensors.

Only the operations that this project's own synthesis graphs hold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional

Attributes = dict[str, object]


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.conv2d(x, weight, bias, padding=tuple(a.get("pads", [0, 0])[:2]), groups=a.get("group", 1))


def _slice(
    _a: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor, _steps: Tensor | None = None
) -> Tensor:
    for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist(), strict=True):
        x = x.narrow(axis, start, min(end, x.shape[axis]) - start)
    return x


def _unsqueeze(_a: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    for axis in sorted(axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _cast(a: Attributes, x: Tensor) -> Tensor:
    return x.to(torch.from_numpy(np.zeros(0, onnx.helper.tensor_dtype_to_np_dtype(a["to"]))).dtype)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Abs": lambda a, x: x.abs(),
    "Add": lambda a, x, y: x + y,
    "Cast": _cast,
    "Constant": lambda a: a["value"],
    "Conv": _conv,
    "DepthToSpace": lambda a, x: functional.pixel_shuffle(x, a["blocksize"]),
    "Div": lambda a, x, y: x / y if x.is_floating_point() else x // y,
    "Exp": lambda a, x: x.exp(),
    "Gather": lambda a, x, index: x[index] if x.dim() == 1 else x.index_select(a.get("axis", 0), index),
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a["alpha"]),
    "MatMul": lambda a, x, y: x @ y,
    "Mul": lambda a, x, y: x * y,
    "Relu": lambda a, x: x.relu(),
    "Shape": lambda a, x: torch.tensor(x.shape),
    "Sigmoid": lambda a, x: x.sigmoid(),
    "Slice": _slice,
    "Sub": lambda a, x, y: x - y,
    "Unsqueeze": _unsqueeze,
}


def _tensor(value: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(onnx.numpy_helper.to_array(value).copy())


class TorchGraph:
    """The graph in ``data`` (ONNX bytes). Raises ValueError when it holds an operation that is not known here."""

    def __init__(self, data: bytes) -> None:
        graph = onnx.load_from_string(data).graph
        self._constants = {value.name: _tensor(value) for value in graph.initializer}
        self._nodes = []
        for node in graph.node:
            if node.op_type not in OPERATIONS:
                raise ValueError(f"the model's graph holds {node.op_type}, which cannot be trained through")
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                attributes["value"] = _tensor(attributes["value"])
            self._nodes.append((OPERATIONS[node.op_type], attributes, list(node.input), node.output[0]))
        self._outputs = [value.name for value in graph.output]

    def __call__(self, **inputs: Tensor) -> list[Tensor]:
        """The outputs for ``inputs``, in the graph's order."""
        found: dict[str, Tensor | None] = {**self._constants, **inputs, "": None}
        for operation, attributes, names, output in self._nodes:
            found[output] = operation(attributes, *(found[name] for name in names))
        return [found[name] for name in self._outputs]
