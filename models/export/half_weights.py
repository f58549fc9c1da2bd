"""Weights of exported graphs in half precision: a model file of half the size, that loads in half the time.

A graph casts them back to float32, once, when ONNX Runtime loads it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from codec_models.training.model_file_weights import HALF_SUFFIX

LEAST = 1024
"""Arrays of fewer weights stay as they are: there is nothing to save."""


def with_half_weights(graph: bytes, may_round: Callable[[str], bool]) -> bytes:
    """``graph`` (ONNX bytes) with float32 weights as halves: those that this does not change, and those, by their
    names, that it ``may_round``."""
    model = onnx.load_from_string(graph)
    casts = []
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < LEAST:
            continue
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if np.array_equal(halves, values) or (may_round(weights.name) and np.isfinite(halves).all()):
            half = weights.name + HALF_SUFFIX
            casts.append(helper.make_node("Cast", [half], [weights.name], half, to=TensorProto.FLOAT))
            weights.CopyFrom(numpy_helper.from_array(halves, half))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()
