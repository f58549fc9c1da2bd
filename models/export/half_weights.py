"""Weights of exported graphs in half precision, for a model file of half the size that loads in half the time.

The graph casts them back to float32 when ONNX Runtime loads it, so that computation stays in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from codec_models.training.model_file_weights import HALF_SUFFIX

MIN_WEIGHTS = 1024
"""Arrays of fewer weights stay float32: they would save less than the cast costs."""


def with_half_weights(graph: bytes, may_round: Callable[[str], bool]) -> bytes:
    """``graph`` (ONNX bytes) with float32 weights in half precision, where halves hold their values.

    Where they do not, weights are rounded to halves if ``may_round(name)``, and stay float32 otherwise.
    """
    model = onnx.load_from_string(graph)
    casts = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < MIN_WEIGHTS:
            continue
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        is_exact = np.array_equal(halves, values)
        if is_exact or (may_round(weights.name) and np.isfinite(halves).all()):
            half_name = weights.name + HALF_SUFFIX
            casts.append(helper.make_node("Cast", [half_name], [weights.name], half_name, to=TensorProto.FLOAT))
            weights.CopyFrom(numpy_helper.from_array(halves, half_name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()
