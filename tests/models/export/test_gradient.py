"""The gradient that goes into model files is that of the synthesis, and needs nothing but ONNX Runtime."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from codec import Codec
from codec.container.nicm import GRADIENT
from codec.networks.engine import Engine
from codec.networks.model import load_model, read_model
from codec_models.export.export import export
from codec_models.export.gradient import gradient_of
from codec_models.networks.compression_model import CompressionModel
from codec_models.training.model_file_weights import architecture_of, load_model_weights
from conftest import GOLDEN, made_picture


@pytest.fixture(scope="module")
def exported():
    return read_model(export(GOLDEN / "tiny.pt", "tiny"))


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize(("size", "unit_quality"), [((1, 1), 0.0), ((5, 8), 0.37), ((5, 8), 1.0)])
def test_it_is_the_gradient_that_torch_computes(exported, size, unit_quality, optimize):
    model = CompressionModel(architecture_of(exported))
    load_model_weights(model, exported)  # of the file, where most are float16
    torch.manual_seed(1)
    y_hat = torch.randn(1, exported.metadata["latents"], *size).mul(4).requires_grad_()
    x, weight = torch.rand(1, 3, 16 * size[0], 16 * size[1]), torch.rand(1, 1, 16 * size[0], 16 * size[1])
    unit_quality = torch.tensor([unit_quality])
    x_hat = model.g_s(y_hat * model.inverse_gain(unit_quality), unit_quality)
    (slope,) = torch.autograd.grad((weight * (x_hat - x).square()).sum(), y_hat)
    inputs = {"y_hat": y_hat.detach(), "quality": unit_quality, "x": x, "weight": weight}
    engine = Engine(exported, threads=1, optimize=optimize)
    outputs = engine.run(GRADIENT, **{name: tensor.numpy() for name, tensor in inputs.items()})
    for ours, theirs in zip(outputs, (x_hat.detach().numpy(), slope.numpy()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())


def test_it_adds_little_to_a_model_file_and_old_files_have_none(exported):
    assert len(exported.file.graphs[GRADIENT]) < 40_000
    assert GRADIENT not in load_model(GOLDEN / "tiny.nicm").file.graphs


def test_a_large_picture_that_is_refined_decodes_to_its_latents_in_fewer_bytes(exported):
    codec = Codec(exported, threads=2)
    pixels = made_picture(2100, 2100)
    data, latents = codec.encode_with_latents(pixels, 30, fallback=False, effort=2)
    assert np.array_equal(codec.decode_latents(data)[1], latents)
    assert data == codec.encode(pixels, 30, fallback=False)
    assert len(data) < len(codec.encode(pixels, 30, fallback=False, effort=1))


def graph_of(*nodes, weight=(2, 2, 1, 1)):
    value = helper.make_tensor("w", TensorProto.FLOAT, weight, [0.0] * int(np.prod(weight)))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y_hat", "x_hat")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [value])
    return helper.make_model(graph).SerializeToString()


@pytest.mark.parametrize(
    ("node", "weight"),
    [
        (helper.make_node("Tan", ["y_hat"], ["x_hat"]), (2, 2, 1, 1)),
        (
            helper.make_node(
                "Conv", ["y_hat", "w"], ["x_hat"], kernel_shape=[1, 1], group=1, pads=[0] * 4, strides=[2, 2]
            ),
            (2, 2, 1, 1),
        ),
        (
            helper.make_node(
                "Conv", ["y_hat", "w"], ["x_hat"], kernel_shape=[1, 1], group=2, pads=[0] * 4, strides=[1, 1]
            ),
            (4, 2, 1, 1),
        ),
    ],
)
def test_a_synthesis_whose_gradient_is_not_known_is_refused(node, weight):
    with pytest.raises(ValueError, match=r"not known|Tan"):
        gradient_of(graph_of(node, weight=weight))


def test_the_joined_graphs_are_one_valid_graph(exported):
    joined = onnx.load_from_string(exported.graph(GRADIENT))
    onnx.checker.check_model(joined, full_check=True)
    assert [value.name for value in joined.graph.output] == ["x_hat", "slope"]
