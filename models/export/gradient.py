"""The gradient of a synthesis graph, as nodes that continue it. Encoders refine the latents of a picture with it.

Serialised protocol buffers merge when they are concatenated: the bytes of a synthesis graph, followed by the bytes made
here, are one graph. So a model file holds the weights once, and the gradient needs nothing but ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from codec_models.export.graph_builder import GraphBuilder
from codec_models.training.model_file_weights import weights_of

PREFIX = "gradient/"
"""Prefix of all names of the continuation, so that none is also a name of the synthesis."""


class _Backward(GraphBuilder):
    """The nodes of the backward pass so far, and the gradient of the loss with respect to each value of ``synthesis``.

    Values are named as in the graph; ``variable`` holds those that depend on the latents. Only these get a gradient.
    """

    def __init__(self, synthesis: onnx.GraphProto) -> None:
        super().__init__(PREFIX)
        self.synthesis = synthesis
        self.gradients: dict[str, str] = {}
        self.variable = {"y_hat"}
        self.shapes = {name: weight.shape for name, weight in weights_of(synthesis).items()}
        for node in synthesis.node:
            if self.variable.intersection(node.input):
                self.variable.update(node.output)

    def accumulate(self, value: str, gradient: str) -> None:
        """Add ``gradient`` to the gradient with respect to ``value``, the sum over all nodes that use it."""
        earlier = self.gradients.get(value)
        self.gradients[value] = self.add("Add", earlier, gradient) if earlier else gradient


def _conv(b: _Backward, node: NodeProto, gradient: str) -> None:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    kernel, group, weight = attributes["kernel_shape"], attributes["group"], node.input[1]
    if attributes["pads"] != [side // 2 for side in kernel] * 2 or attributes["strides"] != [1, 1]:
        raise ValueError(f"the gradient of the convolution {node.name} is not known")
    if group == 1:
        weight = b.add("Transpose", weight, perm=[1, 0, 2, 3])
    elif b.shapes[weight][:2] != (group, 1):
        raise ValueError(f"the gradient of the grouped convolution {node.name} is not known")
    if kernel != [1, 1]:  # rotated by 180 degrees: rows and columns from the last to the first
        slices = [b.constant(values, np.int64) for values in ([-1, -1], [-99, -99], [2, 3], [-1, -1])]
        weight = b.add("Slice", weight, *slices)
    b.accumulate(node.input[0], b.add("Conv", gradient, weight, **attributes))


def _add(b: _Backward, node: NodeProto, gradient: str) -> None:
    for value in node.input:
        if value in b.variable:
            b.accumulate(value, gradient)


def _mul(b: _Backward, node: NodeProto, gradient: str) -> None:
    for value, other in zip(node.input, reversed(node.input), strict=True):
        if value in b.variable:
            b.accumulate(value, b.add("Mul", gradient, other))


def _leaky_relu(b: _Backward, node: NodeProto, gradient: str) -> None:
    slope = b.add("Max", b.add("Sign", node.input[0]), b.constant(node.attribute[0].f))  # "Where" takes much longer
    b.accumulate(node.input[0], b.add("Mul", gradient, slope))


def _sigmoid(b: _Backward, node: NodeProto, gradient: str) -> None:
    slope = b.add("Mul", node.output[0], b.add("Sub", b.constant(1), node.output[0]))
    b.accumulate(node.input[0], b.add("Mul", gradient, slope))


def _depth_to_space(b: _Backward, node: NodeProto, gradient: str) -> None:
    side = next(a.i for a in node.attribute if a.name == "blocksize")
    weight = next(n.input[1] for n in b.synthesis.node if n.output[0] == node.input[0])  # of the convolution before it
    channels = b.shapes[weight][0]
    # torch has the position inside the square as the faster index of a channel, ONNX as the slower one.
    order = np.arange(channels).reshape(side * side, -1).T.ravel()
    by_position = b.add("SpaceToDepth", gradient, blocksize=side)
    b.accumulate(node.input[0], b.add("Gather", by_position, b.constant(order, np.int64), axis=1))


def _cast(b: _Backward, node: NodeProto, gradient: str) -> None:
    b.accumulate(node.input[0], gradient)  # from float32 to float32


RULES: dict[str, Callable[[_Backward, NodeProto, str], None]] = {
    "Add": _add,
    "Cast": _cast,
    "Conv": _conv,
    "DepthToSpace": _depth_to_space,
    "LeakyRelu": _leaky_relu,
    "Mul": _mul,
    "Sigmoid": _sigmoid,
}
"""For each operation of this project's synthesis graphs, the rule of its gradient. A rule takes the gradient with
respect to a node's output, and adds to the gradients with respect to its inputs."""


def gradient_of(synthesis: bytes) -> bytes:
    """The continuation (ONNX bytes) of a graph ``synthesis``, which maps "y_hat" and "quality" to "x_hat".

    The joined graph has the further inputs "x" (1, 3, H, W) in [0, 1] and "weight" (1, 1, H, W), with the height and
    width of x_hat. Its outputs are "x_hat", and "slope" (1, M, h, w): the gradient with respect to y_hat of
    the sum of ``weight * (x_hat - x)**2``.

    Raises:
        ValueError: when the graph has an operation without a rule in ``RULES``, or a convolution with strides, with
            other padding than half of its kernel, or in groups of several channels.
    """
    graph = onnx.load_from_string(synthesis).graph
    b = _Backward(graph)
    double_weight = b.add("Mul", b.constant(2), "weight")
    b.accumulate("x_hat", b.add("Mul", double_weight, b.add("Sub", "x_hat", "x")))
    for node in reversed(graph.node):
        if b.variable.intersection(node.output):
            if node.op_type not in RULES:
                raise ValueError(f"the synthesis graph holds {node.op_type}, whose gradient is not known")
            RULES[node.op_type](b, node, b.gradients.get(node.output[0], ""))
    b.nodes.append(helper.make_node("Identity", [b.gradients["y_hat"]], ["slope"]))
    shapes = {"x": [1, 3, None, None], "weight": [1, 1, None, None]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    slope = helper.make_tensor_value_info("slope", TensorProto.FLOAT, [1, None, None, None])
    continuation = onnx.ModelProto()  # without versions: the synthesis has them
    continuation.graph.CopyFrom(onnx.GraphProto(node=b.nodes, initializer=b.constants, input=inputs, output=[slope]))
    return continuation.SerializeToString()
