"""Weights of exported graphs as float16. The model file has half the size and loads in half the time.

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
    """``graph`` (ONNX bytes) with float32 weights stored as float16 where float16 represents them exactly.

    Others are rounded to float16 if ``may_round(name)``, else they stay float32.
    """
    model = onnx.load_from_string(graph)
    casts = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < MIN_WEIGHTS:
            continue
        with np.errstate(over="ignore"):
            float16 = values.astype(np.float16)
        is_exact = np.array_equal(float16, values)
        if is_exact or (may_round(weights.name) and np.isfinite(float16).all()):
            half_name = weights.name + HALF_SUFFIX
            casts.append(helper.make_node("Cast", [half_name], [weights.name], half_name, to=TensorProto.FLOAT))
            weights.CopyFrom(numpy_helper.from_array(float16, half_name))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()
