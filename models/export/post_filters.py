"""The graph that applies a picture's post-filter. ``codec.decoding.post_filter`` describes the filter."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from codec.decoding.post_filter import CLIP, CLIPPED, NONLINEAR_FEATURES, RADIUS, SIDE, TONE_WEIGHTED

OPSET, IR_VERSION = 17, 8
"""Versions of ONNX that all graphs are written in. They are not the newest, so that older runtimes read model files."""
_TO_THE_END = np.iinfo(np.int64).max


def post_filter_graph() -> bytes:
    """ONNX bytes of a graph that computes "filtered" (1, 3, H, W).

    Its inputs are "x_hat" (1, 3, H, W), which it clips to [0, 1], and the weights "taps", "nonlinear" and "offset" of
    ``codec.decoding.post_filter.FilterInputs``.
    """
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []

    def add(operation: str, *inputs: str, **attributes: object) -> str:
        name = f"value{len(nodes)}"
        nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name

    def constant(value: object, dtype: type = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.array(value, dtype), f"constant{len(constants)}"))
        return constants[-1].name

    def difference(down: int, right: int) -> str:
        """The pixel ``down`` rows below and ``right`` columns to the right, minus the pixel itself."""
        start = [RADIUS + down, RADIUS + right]
        stop = [offset - RADIUS or _TO_THE_END for offset in (down, right)]
        neighbour = add("Slice", padded, *(constant(value, np.int64) for value in (start, stop, [2, 3])))
        return add("Sub", neighbour, pixel)

    def clipped(value: str) -> str:
        return add("Clip", value, constant(-CLIP), constant(CLIP))

    pixel = add("Clip", "x_hat", constant(0), constant(1))
    padded = add("Pad", pixel, constant([0, 0, RADIUS, RADIUS] * 2, np.int64), mode="edge")
    tone = add("Sub", pixel, constant(0.5))
    square = add("Mul", tone, tone)
    differences = {(dy, dx): [difference(dy, dx), difference(-dy, -dx)] for dy, dx in CLIPPED}
    sums = [add("Add", *differences[neighbour]) for neighbour in TONE_WEIGHTED]
    nonlinear_features = [
        *(add("Add", *map(clipped, differences[neighbour])) for neighbour in CLIPPED),
        *(add("Mul", value, tone) for value in sums),
        *(add("Mul", value, square) for value in sums),
        square,
        add("Mul", square, tone),
    ]
    linear = add("Conv", padded, "taps", "offset", kernel_shape=[SIDE, SIDE])
    nonlinear = add("Conv", add("Concat", *nonlinear_features, axis=1), "nonlinear", kernel_shape=[1, 1])
    nodes.append(helper.make_node("Sum", [pixel, linear, nonlinear], ["filtered"]))
    shapes = {
        "x_hat": [1, 3, None, None],
        "taps": [3, 3, SIDE, SIDE],
        "nonlinear": [3, 3 * NONLINEAR_FEATURES, 1, 1],
        "offset": [3],
    }
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("filtered", TensorProto.FLOAT, [1, 3, None, None])
    graph = helper.make_graph(nodes, "post_filter", inputs, [output], constants)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString()
