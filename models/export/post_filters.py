"""The graph that applies a picture's post-filter. ``codec.decoding.post_filter`` describes the filter."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from codec.decoding.post_filter import CLIP, CLIPPED, NONLINEAR_FEATURES, RADIUS, SIDE, TONE_WEIGHTED
from codec_models.export.graph_builder import GraphBuilder

OPSET, IR_VERSION = 17, 8
"""Versions of ONNX that all graphs are written in. They are not the newest, so that older runtimes read model files."""
_TO_THE_END = np.iinfo(np.int64).max
"""The end of a slice that reaches to the end of its axis."""


def post_filter_graph() -> bytes:
    """ONNX bytes of a graph that computes "filtered" (1, 3, H, W).

    Its inputs are "x_hat" (1, 3, H, W), which it clips to [0, 1], and the weights "taps", "nonlinear" and "offset" of
    ``codec.decoding.post_filter.FilterInputs``.
    """
    b = GraphBuilder("filter/")
    pixel = b.add("Clip", "x_hat", b.constant(0), b.constant(1))
    padded = b.add("Pad", pixel, b.constant([0, 0, RADIUS, RADIUS] * 2, np.int64), mode="edge")
    linear = b.add("Conv", padded, "taps", "offset", kernel_shape=[SIDE, SIDE])
    features = b.add("Concat", *_nonlinear_features(b, pixel, padded), axis=1)
    nonlinear = b.add("Conv", features, "nonlinear", kernel_shape=[1, 1])
    b.nodes.append(helper.make_node("Sum", [pixel, linear, nonlinear], ["filtered"]))
    shapes = {
        "x_hat": [1, 3, None, None],
        "taps": [3, 3, SIDE, SIDE],
        "nonlinear": [3, 3 * NONLINEAR_FEATURES, 1, 1],
        "offset": [3],
    }
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("filtered", TensorProto.FLOAT, [1, 3, None, None])
    graph = helper.make_graph(b.nodes, "post_filter", inputs, [output], b.constants)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString()


def _nonlinear_features(b: GraphBuilder, pixel: str, padded: str) -> list[str]:
    """The names of the nonlinear features, (1, 3, H, W) each, in the order of ``codec.decoding.post_filter``."""

    def clipped(value: str) -> str:
        return b.add("Clip", value, b.constant(-CLIP), b.constant(CLIP))

    tone = b.add("Sub", pixel, b.constant(0.5))
    square = b.add("Mul", tone, tone)
    differences = {
        (down, right): [_difference(b, pixel, padded, *offset) for offset in ((down, right), (-down, -right))]
        for down, right in CLIPPED
    }
    sums = [b.add("Add", *differences[neighbour]) for neighbour in TONE_WEIGHTED]
    return [
        *(b.add("Add", *map(clipped, differences[neighbour])) for neighbour in CLIPPED),
        *(b.add("Mul", value, tone) for value in sums),
        *(b.add("Mul", value, square) for value in sums),
        square,
        b.add("Mul", square, tone),
    ]


def _difference(b: GraphBuilder, pixel: str, padded: str, down: int, right: int) -> str:
    """The pixel ``down`` rows below and ``right`` columns to the right, minus the pixel itself."""
    start = [RADIUS + down, RADIUS + right]
    stop = [offset - RADIUS or _TO_THE_END for offset in (down, right)]
    neighbour = b.add("Slice", padded, *(b.constant(value, np.int64) for value in (start, stop, [2, 3])))
    return b.add("Sub", neighbour, pixel)
