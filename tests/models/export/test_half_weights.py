"""Weights become halves where that changes nothing, or may change something; graphs compute the same."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from codec_models.export.half_weights import LEAST, weights_of, with_half_weights

RNG = np.random.default_rng(0)
WHOLE = RNG.integers(-2048, 2049, LEAST).astype(np.float32)
REAL = RNG.normal(size=LEAST).astype(np.float32)


def graph_with(weights):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


@pytest.mark.parametrize(
    ("weights", "may_round", "shrinks"),
    [
        (WHOLE, False, True),
        (REAL, False, False),
        (REAL, True, True),
        (REAL[1:], True, False),  # too few
        (REAL * 1e5, True, False),  # beyond what halves reach
    ],
)
def test_weights_become_halves_where_they_may(weights, may_round, shrinks):
    before = graph_with(weights)
    after = with_half_weights(before, lambda name: may_round and name == "w")
    assert (len(after) < 0.7 * len(before)) == shrinks
    found = weights_of(onnx.load_from_string(after).graph)["w"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, weights, rtol=2**-11 if may_round and shrinks else 0)
    (y,) = ReferenceEvaluator(onnx.load_from_string(after)).run(None, {"x": np.float32([3])})
    assert np.array_equal(y, 3 * found)
