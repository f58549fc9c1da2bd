"""Export: a checkpoint to one model file, with the exactness proof and a self-check."""

from __future__ import annotations

import dataclasses
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from codec.api import Codec
from codec.container import nic, nicm
from codec.container.nicm import GRADIENT, POST_FILTER
from codec.container.tile import unpack
from codec.decode.latents import decode_latents
from codec.geometry import cells_of
from codec.networks.model import read_model
from codec_models.export.frequency_tables import frequency_tables
from codec_models.export.gradient import gradient_of
from codec_models.export.half_weights import with_half_weights
from codec_models.export.packed_step import PackedStep
from codec_models.export.post_filters import OPSET, post_filter_graph
from codec_models.export.split_gates import with_split_gates
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.integer import IntegerConv2d, clipped, set_exact
from codec_models.networks.layers import Float32Conv1x1
from codec_models.training.checkpoint import load_checkpoint, restoring


class _ScaledAnalysis(nn.Module):
    def __init__(self, model: CompressionModel) -> None:
        super().__init__()
        self.g_a, self.gain = model.g_a, model.gain

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        return self.g_a(x, quality) * self.gain(quality)


class _ScaledSynthesis(nn.Module):
    def __init__(self, model: CompressionModel) -> None:
        super().__init__()
        self.g_s, self.inverse_gain = model.g_s, model.inverse_gain

    def forward(self, y_hat: Tensor, quality: Tensor) -> Tensor:
        return self.g_s(y_hat * self.inverse_gain(quality), quality)


def trained_model(checkpoint: Path) -> tuple[CompressionModel, dict]:
    """The averaged weights of a checkpoint, in integer arithmetic, ready to use; and the checkpoint's state."""
    recipe, state = load_checkpoint(checkpoint)
    model = CompressionModel(recipe.architecture, recipe.quantization)
    prefix = "module."
    with restoring():
        model.load_state_dict({k[len(prefix) :]: v for k, v in state["average"].items() if k.startswith(prefix)})
    model.likelihood.mixture = state.get("mixture")
    set_exact(model.eval(), True)
    return model, state


def prove_exact(model: nn.Module) -> dict[str, float]:
    """The bound that each integer layer reaches, by name. Raises ValueError when one is not below 2**24."""
    return {name: m.proof() for name, m in model.named_modules() if isinstance(m, IntegerConv2d)}


def _onnx(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str]) -> bytes:
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


class _Rounded(nn.Module):
    """An integer layer with its weights already rounded, as it stands in the graph."""

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
    for name, child in module.named_children():
        if isinstance(child, IntegerConv2d):
            setattr(module, name, _Rounded(child))
        else:
            _with_rounded_layers(child)
    return module


def export_graphs(model: CompressionModel) -> dict[str, bytes]:
    """The ONNX graphs of ``model`` by the names of ``codec.model_file.GRAPHS``. Changes ``model``.

    Weights of the float networks are rounded to halves, but for the layers that carry the whole signal: that moves
    results by far less than what rounding latents or pixels does.
    """
    a = model.architecture
    quality = torch.tensor([0.5])
    latents = torch.randn(1, a.latents, 8, 8)
    floating = {
        "analysis": _onnx(_ScaledAnalysis(model), {"x": torch.rand(1, 3, 128, 128), "quality": quality}, ["y"]),
        "synthesis": _onnx(_ScaledSynthesis(model), {"y_hat": latents, "quality": quality}, ["x_hat"]),
        "hyper_analysis": _onnx(model.h_a, {"y": latents}, ["z"]),
    }
    full = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Float32Conv1x1)}
    graphs = {
        name: with_half_weights(with_split_gates(graph), lambda weights: weights not in full)
        for name, graph in floating.items()
    }
    _with_rounded_layers(model)
    level = torch.full((1, 1, 1, 1), 128.0)
    z_hat = torch.zeros(1, a.hyper_latents, 2, 2)
    exact = {"hyper_synthesis": _onnx(model.h_s, {"z_hat": z_hat, "quality_level": level}, ["features"])}
    for step, network in enumerate(model.context_steps):
        inputs = {"features": torch.zeros(1, a.context_width, 8, 8)}
        if step:
            inputs["decoded"] = torch.zeros(1, a.latents, 8, 8)
        exact[f"context{step}"] = _onnx(PackedStep(network), inputs, ["mean", "scale_index"])
    return graphs | {name: with_half_weights(graph, lambda _: False) for name, graph in exact.items()}


def export(checkpoint: Path, name: str, card: dict | None = None) -> bytes:
    """The bytes of a model file from a checkpoint.

    Raises:
        ValueError: when the checkpoint cannot be read, an exactness bound does not hold, or the exported
            model does not decode what it encodes.
    """
    recipe, _ = load_checkpoint(checkpoint)
    model, state = trained_model(checkpoint)
    a = model.architecture
    metadata = {
        "name": name,
        "latents": a.latents,
        "hyper_latents": a.hyper_latents,
        "analysis_halo": a.analysis_halo,
        "synthesis_halo": a.synthesis_halo,
        "steps": state["step"],
        "hours": round(state["seconds"] / 3600, 3),
        "exactness": prove_exact(model),
        "recipe": dataclasses.asdict(recipe),
        "started_from": state.get("started_from"),
        "card": card or {},
    }
    tables = frequency_tables(model)
    graphs = export_graphs(model)
    if "codebook" not in tables:  # simulation moves integers
        graphs[GRADIENT] = gradient_of(graphs["synthesis"])
    if state.get("filters") is not None:
        graphs[POST_FILTER] = post_filter_graph()
        tables["post_filters"] = state["filters"].tolist()
    data = nicm.write(metadata, graphs, tables)
    self_check(data, checkpoint)
    return data


def self_check(data: bytes, checkpoint: Path) -> None:
    """Encode and decode a made-up picture with the exported model, and compare its latents with torch's.

    Raises:
        ValueError: when any latent differs.
    """
    codec = Codec(read_model(data), threads=1)
    noise = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    picture = np.kron(noise, np.ones((8, 8, 1), np.uint8))  # 96 x 160
    model, _ = trained_model(checkpoint)
    for quality in (0.0, 50.0, 100.0):
        encoded, latents = codec.encode_with_latents(picture, quality, fallback=False)
        _, decoded = codec.decode_latents(encoded)
        if not np.array_equal(latents, decoded):
            raise ValueError("self-check failed: the exported model does not decode what it encodes")
        if not np.array_equal(decoded, latents_by_torch(model, codec, encoded)):
            raise ValueError("self-check failed: torch finds other latents than the exported model")


@torch.no_grad()
def latents_by_torch(model: CompressionModel, codec: Codec, data: bytes) -> np.ndarray:
    """Decode a single-tile file's latents with the torch networks in place of the exported ones."""

    class TorchEngine:
        def run(self, graph: str, **inputs: np.ndarray) -> list[np.ndarray]:
            tensors = {k: torch.from_numpy(np.ascontiguousarray(v, np.float32)) for k, v in inputs.items()}
            if graph == "hyper_synthesis":
                outputs = (model.h_s(**tensors),)
            else:
                outputs = model.context_steps[int(graph[-1])](tensors["features"], tensors.get("decoded"))
            return [o.float().numpy() for o in outputs]

    reader = nic.reader(data)
    header = reader.header
    content = unpack(reader.tile(0), header.alpha)
    return decode_latents(
        TorchEngine(), codec.model, content, header.hundredths, *cells_of(header.height, header.width).shape
    )
