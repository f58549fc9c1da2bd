"""The ONNX graphs of a model, exported from its torch networks."""

from __future__ import annotations

import copy
import io
import warnings

import torch
from torch import Tensor, nn

from codec_models.export.half_weights import with_half_weights
from codec_models.export.post_filters import OPSET
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.integer import IntegerConv2d, clipped
from codec_models.networks.layers import Float32Conv1x1


class _ScaledAnalysis(nn.Module):
    """g_a and its gain: pictures to latents in quantisation steps."""

    def __init__(self, model: CompressionModel) -> None:
        super().__init__()
        self.g_a, self.gain = model.g_a, model.gain

    def forward(self, x: Tensor, unit_quality: Tensor) -> Tensor:
        return self.g_a(x, unit_quality) * self.gain(unit_quality)


class _ScaledSynthesis(nn.Module):
    """The inverse gain and g_s: latents in quantisation steps to pictures."""

    def __init__(self, model: CompressionModel) -> None:
        super().__init__()
        self.g_s, self.inverse_gain = model.g_s, model.inverse_gain

    def forward(self, y_hat: Tensor, unit_quality: Tensor) -> Tensor:
        return self.g_s(y_hat * self.inverse_gain(unit_quality), unit_quality)


class _RoundedLayer(nn.Module):
    """An integer layer whose weights are rounded already, so that the graph holds them as integers."""

    def __init__(self, layer: IntegerConv2d) -> None:
        super().__init__()
        weight, bias, _ = (t.detach().clone() for t in layer.rounded())
        shape = weight.shape
        self.convolution = nn.Conv2d(
            shape[1] * layer.groups, shape[0], shape[2], padding=layer.padding, groups=layer.groups
        )
        self.convolution.weight = nn.Parameter(weight)
        self.convolution.bias = nn.Parameter(bias)
        self.out_max = layer.out_max
        self.exact = True

    def forward(self, x: Tensor) -> Tensor:
        return torch.floor(clipped(self.convolution(x), self.out_max))


def _with_rounded_layers(module: nn.Module) -> nn.Module:
    """A copy of ``module`` whose integer layers are ``_RoundedLayer``."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, IntegerConv2d):
                setattr(parent, name, _RoundedLayer(child))
    return module


def _onnx(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str]) -> bytes:
    """The graph of ``module`` for ``inputs`` of any height and width, where these are above 1 in the example."""
    buffer = io.BytesIO()
    axes = {n: {2: f"{n}_rows", 3: f"{n}_columns"} for n, t in inputs.items() if t.dim() == 4 and t.shape[2] > 1}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            buffer,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()


def export_graphs(model: CompressionModel) -> dict[str, bytes]:
    """The ONNX graphs of ``model``, by the names of ``codec.container.nicm.GRAPHS``.

    Weights of the float networks are rounded to float16, except in layers that carry the whole signal. That
    changes latents and pixels by far less than their rounding does.
    """
    a = model.architecture
    unit_quality = torch.tensor([0.5])
    latents = torch.randn(1, a.latents, 8, 8)
    float_graphs = {
        "analysis": _onnx(_ScaledAnalysis(model), {"x": torch.rand(1, 3, 128, 128), "quality": unit_quality}, ["y"]),
        "synthesis": _onnx(_ScaledSynthesis(model), {"y_hat": latents, "quality": unit_quality}, ["x_hat"]),
        "hyper_analysis": _onnx(model.h_a, {"y": latents}, ["z"]),
    }
    quality_level = torch.full((1, 1, 1, 1), 128.0)
    z_hat = torch.zeros(1, a.hyper_latents, 2, 2)
    h_s = _with_rounded_layers(model.h_s)
    exact_graphs = {"hyper_synthesis": _onnx(h_s, {"z_hat": z_hat, "quality_level": quality_level}, ["features"])}
    for context_step in model.context_steps:
        inputs = {"features": torch.zeros(1, a.context_width, 8, 8)}
        if context_step.step:
            inputs["decoded"] = torch.zeros(1, a.latents, 8, 8)
        graph = _onnx(_with_rounded_layers(context_step), inputs, ["mean", "scale_index"])
        exact_graphs[f"context{context_step.step}"] = graph
    keeps_float32 = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Float32Conv1x1)}
    return {
        **{name: with_half_weights(graph, lambda w: w not in keeps_float32) for name, graph in float_graphs.items()},
        **{name: with_half_weights(graph, lambda _: False) for name, graph in exact_graphs.items()},
    }
