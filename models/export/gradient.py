"""The gradient of a synthesis graph, as the graph's continuation: what lets encoders fit latents to one picture.

Protocol buffers merge when they are joined, so the bytes of a synthesis graph and those made here are together one
graph. It holds the weights once, and needs nothing but ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from codec_models.training.model_file_weights import weights_of

PREFIX = "gradient/"


@dataclass
class _Builder:
    """Nodes that follow those of ``synthesis``, and the gradients by its values that are known so far."""

    synthesis: onnx.GraphProto
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    gradients: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.weights = {name: weight.shape for name, weight in weights_of(self.synthesis).items()}

    def add(self, operation: str, *inputs: str, **attributes: object) -> str:
        """The name of what ``operation`` makes of ``inputs``."""
        name = f"{PREFIX}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], name, **attributes))
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        """The name of a constant."""
        name = f"{PREFIX}constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def give(self, value: str, gradient: str) -> None:
        """Add to the gradient by ``value``."""
        known = self.gradients.get(value)
        self.gradients[value] = self.add("Add", known, gradient) if known else gradient


def _conv(b: _Builder, node: NodeProto, gradient: str, _moving: set[str]) -> None:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    kernel, group, weight = attributes["kernel_shape"], attributes["group"], node.input[1]
    if attributes["pads"] != [side // 2 for side in kernel] * 2 or attributes["strides"] != [1, 1]:
        raise ValueError(f"the gradient of the convolution {node.name} is not known")
    if group == 1:
        weight = b.add("Transpose", weight, perm=[1, 0, 2, 3])
    elif b.weights[weight][:2] != (group, 1):
        raise ValueError(f"the gradient of the grouped convolution {node.name} is not known")
    if kernel != [1, 1]:
        # Turned round: both axes of the kernel from last to first.
        ends = [b.constant(ends, np.int64) for ends in ([-1, -1], [-99, -99], [2, 3], [-1, -1])]
        weight = b.add("Slice", weight, *ends)
    b.give(node.input[0], b.add("Conv", gradient, weight, **attributes))


def _add(b: _Builder, node: NodeProto, gradient: str, moving: set[str]) -> None:
    for value in node.input:
        if value in moving:
            b.give(value, gradient)


def _mul(b: _Builder, node: NodeProto, gradient: str, moving: set[str]) -> None:
    for value, other in zip(node.input, reversed(node.input), strict=True):
        if value in moving:
            b.give(value, b.add("Mul", gradient, other))


def _leaky_relu(b: _Builder, node: NodeProto, gradient: str, _moving: set[str]) -> None:
    slope = b.add("Max", b.add("Sign", node.input[0]), b.constant(node.attribute[0].f))  # "Where" takes much longer
    b.give(node.input[0], b.add("Mul", gradient, slope))


def _sigmoid(b: _Builder, node: NodeProto, gradient: str, _moving: set[str]) -> None:
    slope = b.add("Mul", node.output[0], b.add("Sub", b.constant(1), node.output[0]))
    b.give(node.input[0], b.add("Mul", gradient, slope))


def _depth_to_space(b: _Builder, node: NodeProto, gradient: str, _moving: set[str]) -> None:
    side = next(a.i for a in node.attribute if a.name == "blocksize")
    weight = next(n.input[1] for n in b.synthesis.node if n.output[0] == node.input[0])  # of the convolution before
    channels = b.weights[weight][0]
    order = np.arange(channels).reshape(side * side, -1).T.ravel()
    by_place = b.add("SpaceToDepth", gradient, blocksize=side)
    b.give(node.input[0], b.add("Gather", by_place, b.constant(order, np.int64), axis=1))


def _cast(b: _Builder, node: NodeProto, gradient: str, _moving: set[str]) -> None:
    b.give(node.input[0], gradient)  # from float32 to float32


RULES: dict[str, Callable[[_Builder, NodeProto, str, set[str]], None]] = {
    "Add": _add,
    "Cast": _cast,
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "LeakyRelu": _leaky_relu,
    "Mul": _mul,
    "Sigmoid": _sigmoid,
}
"""What each operation gives to the gradients by its inputs: builder, node, gradient by its output, what depends on
the latents. Only the operations of this project's own synthesis graphs."""


def gradient_of(synthesis: bytes) -> bytes:
    """The continuation of a ``synthesis`` graph (ONNX bytes, from "y_hat" and "quality" to "x_hat").

    Both joined take also "x" (1, 3, H, W) in [0, 1] and "weight" (1, 1, H, W), of the size of x_hat. They give x_hat,
    and "slope" (1, M, h, w): the gradient by y_hat of the sum of weight * (x_hat - x)**2.

    Raises:
        ValueError: when the graph holds an operation whose gradient is not known here.
    """
    graph = onnx.load_from_string(synthesis).graph
    b = _Builder(graph)
    moving = {"y_hat"}
    for node in graph.node:
        if moving.intersection(node.input):
            moving.update(node.output)
    twice = b.add("Mul", b.constant(2), "weight")
    b.give("x_hat", b.add("Mul", twice, b.add("Sub", "x_hat", "x")))
    for node in reversed(graph.node):
        if moving.intersection(node.output):
            if node.op_type not in RULES:
                raise ValueError(f"the synthesis graph holds {node.op_type}, whose gradient is not known")
            RULES[node.op_type](b, node, b.gradients.get(node.output[0], ""), moving)
    b.nodes.append(helper.make_node("Identity", [b.gradients["y_hat"]], ["slope"]))
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, None, None]) for n, c in (("x", 3), ("weight", 1))
    ]
    slope = helper.make_tensor_value_info("slope", TensorProto.FLOAT, [1, None, None, None])
    continuation = onnx.ModelProto()  # without versions, which the synthesis has
    continuation.graph.CopyFrom(onnx.GraphProto(node=b.nodes, initializer=b.constants, input=inputs, output=[slope]))
    return continuation.SerializeToString()
