"""Weights are stored as float16 where that is exact or allowed; graphs compute in float32 either way."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from codec_models.export.half_weights import MIN_WEIGHTS, with_half_weights
from codec_models.training.model_file_weights import weights_of

RNG = np.random.default_rng(0)
WHOLE = RNG.integers(-2048, 2049, MIN_WEIGHTS).astype(np.float32)
REAL = RNG.normal(size=MIN_WEIGHTS).astype(np.float32)


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
        (REAL[1:], True, False),  # below MIN_WEIGHTS
        (REAL * 1e5, True, False),  # beyond the range of float16
    ],
)
def test_weights_become_float16_where_that_is_exact_or_allowed(weights, may_round, shrinks):
    before = graph_with(weights)
    after = with_half_weights(before, lambda name: may_round and name == "w")
    assert (len(after) < 0.7 * len(before)) == shrinks
    stored = weights_of(onnx.load_from_string(after).graph)["w"]
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, weights, rtol=2**-11 if may_round and shrinks else 0)
    (y,) = ReferenceEvaluator(onnx.load_from_string(after)).run(None, {"x": np.float32([3])})
    assert np.array_equal(y, 3 * stored)
