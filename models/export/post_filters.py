"""The graph that applies a picture's post-filter; ``codec.decode.post_filter`` says what it computes."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from codec.decode.post_filter import CLIP, CLIPPED, NONLINEAR_FEATURES, RADIUS, SIDE, TONE_WEIGHTED

OPSET, _IR_VERSION = 17, 8
_TO_THE_END = np.iinfo(np.int64).max


def post_filter_graph() -> bytes:
    """ONNX bytes of what filters "x_hat" (1, 3, H, W), within [0, 1], by "taps", "nonlinear" and "offset".

    ``codec.post_filter.Taps`` says what these are.
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
        start = [RADIUS + down, RADIUS + right]
        stop = [side - RADIUS or _TO_THE_END for side in (down, right)]
        place = add("Slice", padded, *(constant(ends, np.int64) for ends in (start, stop, [2, 3])))
        return add("Sub", place, inside)

    def clipped(value: str) -> str:
        return add("Clip", value, constant(-CLIP), constant(CLIP))

    inside = add("Clip", "x_hat", constant(0), constant(1))
    padded = add("Pad", inside, constant([0, 0, RADIUS, RADIUS] * 2, np.int64), mode="edge")
    tone = add("Sub", inside, constant(0.5))
    square = add("Mul", tone, tone)
    sides = {place: [difference(*place), difference(*(-step for step in place))] for place in CLIPPED}
    pairs = [add("Add", *sides[place]) for place in TONE_WEIGHTED]
    seen = [
        *(add("Add", *map(clipped, sides[place])) for place in CLIPPED),
        *(add("Mul", pair, tone) for pair in pairs),
        *(add("Mul", pair, square) for pair in pairs),
        square,
        add("Mul", square, tone),
    ]
    linear = add("Conv", padded, "taps", "offset", kernel_shape=[SIDE, SIDE])
    others = add("Conv", add("Concat", *seen, axis=1), "nonlinear", kernel_shape=[1, 1])
    nodes.append(helper.make_node("Sum", [inside, linear, others], ["filtered"]))
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
    return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION).SerializeToString()
