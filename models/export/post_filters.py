"""The space of filters that pictures choose their post-filter from, learned from what is left to filter."""

from __future__ import annotations

import numpy as np
import torch
from codec_models.networks.compression_model import CompressionModel
from codec_models.training.coded_crops import Refine, coded_crops
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor

from codec.container.nicm import FILTER_UNIT
from codec.decode.post_filter import CLIP, CLIPPED, NONLINEAR_FEATURES, RADIUS, SIDE, TONE_WEIGHTED
from codec.encode.post_filter import FilterStatistics, filter_statistics

COUNT = 96
"""Filters in the space. Half as many save a tenth less at high qualities, and as much at low ones."""
CROPS, LEAST_CROPS, CROP_SIDE = 768, 104, 256
"""Filters are learned from as many crops as the training took, within the first two: a short one is not to wait."""
PRIOR = 0.1
"""How much the mean of all crops counts beside each crop in its own filter, which would otherwise fit noise."""
OUTLIERS = 0.02
"""The share of crops with the strongest filters that is left out: drawings and the like."""
OPSET, _IR_VERSION = 17, 8
_TO_THE_END = np.iinfo(np.int64).max


@torch.no_grad()
def crop_statistics(
    model: CompressionModel,
    pictures: list[Tensor],
    trained_on: int,
    downscale: float,
    seed: int,
    refine: Refine | None = None,
) -> list[FilterStatistics]:
    """What random crops of ``pictures`` say about filters of a model that was ``trained_on`` so many.

    The other arguments are those of ``coded_crops``.
    """
    count = min(max(trained_on, LEAST_CROPS), CROPS)
    found = []
    for x, _, coded in coded_crops(model, pictures, count, CROP_SIDE, seed, downscale=downscale, refine=refine):
        found.append(filter_statistics((255 * x[0]).round().byte().cpu().numpy(), coded.x_hat[0].float().cpu().numpy()))
    return found


def principal_filters(found: list[FilterStatistics]) -> np.ndarray:
    """The ``COUNT`` filters that tell most of the crops' own: (COUNT, 3, FILTER_WEIGHTS) int64, in ``FILTER_UNIT``.

    Principal components, in the metric in which a filter's length is what it changes: each crop's Wiener filter,
    as a share of its error.
    """
    found = [part for part in found if part.error > 0]
    mean = np.mean([part.gram / part.error for part in found], axis=0)
    mean += 1e-6 * np.trace(mean) / len(mean) * np.eye(len(mean))
    metric = np.linalg.cholesky(mean)
    own = [np.linalg.solve(part.gram / part.error + PRIOR * mean, part.match / part.error) for part in found]
    own = np.array([(metric.T @ weights).ravel() for weights in own])
    lengths = np.linalg.norm(own, axis=1)
    usual = own[lengths <= np.quantile(lengths, 1 - OUTLIERS)]
    components = np.linalg.svd(usual, full_matrices=False)[2][:COUNT].reshape(-1, *found[0].match.shape)
    filters = np.linalg.solve(metric.T, components).transpose(0, 2, 1)
    return np.rint(filters / FILTER_UNIT).astype(np.int64)


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
