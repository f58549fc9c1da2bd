"""Weights for training out of an exported model file: what a checkpoint holds, as far as a model file does.

Three things are not in a model file. The integer layers' weights are there as they were rounded; what blocks
see is scaled in the file already (``Block.input_scale``), so that scale is measured anew; and of the hyper-latents'
prior the file has only the tables, to which one is fitted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from compressai.entropy_models import EntropyBottleneck
from torch import Tensor

from codec.container.nicm import GRAPHS
from codec.entropy.constants import HYPER_MAX, STEPS, step_phases
from codec.entropy.range_coder import Table
from codec.networks.model import Model
from codec_models.networks.architecture import BLOCK_COUNTS, Architecture
from codec_models.networks.compression_model import CompressionModel
from codec_models.networks.integer import IntegerConv2d
from codec_models.networks.layers import BRANCH_SCALE
from codec_models.training.fit_mixture import mixture_of_tables
from codec_models.training.recipe import recipe_from_dict

HALF_SUFFIX = "/half"
"""Behind the names of weights that a graph holds in half precision."""
PRIOR_STEPS, PRIOR_RATE = 600, 0.02
_BRANCH_ENDS = {"depthwise": "project", "expand": "contract"}
"""The convolution before the last of a branch of ``Block``, and that last one."""


def architecture_of(file: Model) -> Architecture:
    """The architecture of ``file``. Raises ValueError when its metadata does not say it."""
    recipe = file.metadata.get("recipe")
    if not isinstance(recipe, dict):
        raise ValueError("the model file does not say how it was trained")
    return recipe_from_dict(recipe).architecture


def take_weights(model: CompressionModel, before: CompressionModel) -> None:
    """Give ``model`` the weights of ``before``, which may have fewer blocks.

    Blocks start by adding nothing, so a fresh ``model`` with more of them computes what ``before`` did.

    Raises:
        ValueError: when the architectures differ in anything else.
    """
    counts = {name: getattr(before.architecture, name) for name in BLOCK_COUNTS}
    fewer = all(count <= getattr(model.architecture, name) for name, count in counts.items())
    if not fewer or dataclasses.replace(model.architecture, **counts) != before.architecture:
        raise ValueError("the earlier model is of another architecture than the recipe's")
    model.load_state_dict(before.state_dict(), strict=False)
    model.likelihood.mixture = before.likelihood.mixture


def load_model_weights(model: CompressionModel, file: Model) -> None:
    """Give ``model`` the weights of ``file``; its blocks keep their ``input_scale``, which must be set before.

    Raises:
        ValueError: when the file's architecture is not the model's, or it does not hold its weights.
    """
    if architecture_of(file) != model.architecture:
        raise ValueError("the model file is of another architecture than the recipe's")
    if file.codebook is not None:
        raise ValueError("a vector-quantised model's weights cannot be read back from its model file")
    state = model.state_dict()
    try:
        found = _weights(model, file)
    except Exception as error:  # onnx and torch raise a different class for every kind of damage
        raise ValueError("a model file whose weights cannot be read") from error
    if any(name not in state or state[name].shape != value.shape for name, value in found.items()):
        raise ValueError("a model file whose weights are not of this project's networks")
    missing = [n for n, _ in model.named_parameters() if n not in found and not n.startswith("hyper_prior.")]
    if missing:
        raise ValueError(f"a model file without the weights of {missing[0]}")
    model.load_state_dict(found, strict=False)
    _fit_prior(model.hyper_prior, file.hyper_tables)
    model.likelihood.mixture = mixture_of_tables(file.scale_tables)


def _weights(model: CompressionModel, file: Model) -> dict[str, Tensor]:
    found = {name: value for graph in GRAPHS for name, value in _parameters(graph, file.file.graphs[graph])}
    for name, module in model.named_modules():
        if isinstance(module, IntegerConv2d) and f"{name}.weight" in found:
            found[f"{name}.weight"] = found[f"{name}.weight"] * 2.0 ** (module.in_shift - module.out_shift)
            found[f"{name}.bias"] = (found[f"{name}.bias"] - 0.5) * 2.0**-module.out_shift
        if hasattr(module, "input_scale"):
            for layer in ("mix", "expand"):
                found[f"{name}.{layer}.weight"] = found[f"{name}.{layer}.weight"] / module.input_scale.reshape(
                    1, -1, 1, 1
                )
    return found


def _parameters(graph: str, data: bytes) -> Iterator[tuple[str, Tensor]]:
    """The parameters in a graph, by their names in ``CompressionModel``.

    A convolution's weight may stand under a name that the exporter made up; its bias has the layer's, and "/0"
    or "/1" behind it where it is a half of one. The layers that end a branch have lost both names, with
    ``BRANCH_SCALE`` multiplied in: they follow one that has kept its own.
    """
    nodes = onnx.load_from_string(data).graph
    values = {name: torch.from_numpy(weight.copy()) for name, weight in weights_of(nodes).items()}
    before, halves = "", []
    for node in nodes.node:
        if node.op_type == "Conv" and len(node.input) == 3:
            weight, bias = (values[name] for name in node.input[1:])
            name, _, half = node.input[2].partition("/")
            halves = [*halves, (weight, bias)] if half == "1" else [(weight, bias)]
            if half == "0":
                continue
            weight, bias = map(torch.cat, zip(*halves, strict=True))
            layer = _name(graph, name).removesuffix(".bias")
            block, _, part = before.rpartition(".")
            if not name.endswith(".bias") and part in _BRANCH_ENDS:
                layer = f"{block}.{_BRANCH_ENDS[part]}"
                weight, bias = weight / BRANCH_SCALE, bias / BRANCH_SCALE
            if graph.startswith("context") and layer.endswith(".neighbours") and weight.shape[2:] == (5, 5):
                weight = neighbours_of(weight, int(graph.removeprefix("context")))
            yield f"{layer}.weight", weight
            yield f"{layer}.bias", bias
            before = layer
    for name, value in values.items():
        if name.endswith("log_scale"):
            yield name, value


def _name(graph: str, name: str) -> str:
    name = name.replace(".convolution.", ".")
    if graph.startswith("context"):
        return name.replace("step.", f"context_steps.{graph.removeprefix('context')}.", 1)
    return {"hyper_analysis": "h_a.", "hyper_synthesis": "h_s."}.get(graph, "") + name


def _fit_prior(prior: EntropyBottleneck, tables: list[Table]) -> None:
    """Train ``prior`` until it gives values the probabilities that ``tables`` (one for each channel) do."""
    wanted = torch.zeros(len(tables), 1, 2 * HYPER_MAX + 1)
    for row, table in zip(wanted, tables, strict=True):
        radius = min(table.radius, HYPER_MAX)
        inside = table.frequencies[table.radius - radius : table.radius + radius + 1]
        row[0, HYPER_MAX - radius : HYPER_MAX + radius + 1] = torch.from_numpy(inside / np.sum(inside)).float()
    reach = int((wanted > 0).any(0).nonzero().sub(HYPER_MAX)[:, 1].abs().max())
    wanted = wanted[..., HYPER_MAX - reach : HYPER_MAX + reach + 1]
    values = torch.arange(-reach, reach + 1, dtype=torch.float32).expand(1, len(tables), -1).contiguous()
    optimizer = torch.optim.Adam(prior.parameters(), PRIOR_RATE)
    for _ in range(PRIOR_STEPS):
        _, likelihood = prior(values, training=False)
        cost = -(wanted.transpose(0, 1) * torch.log(likelihood)).sum()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()


def weights_of(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """A graph's weights, float32 where it computes with float32, by the names that its operations know them by."""
    values = {weights.name: numpy_helper.to_array(weights) for weights in graph.initializer}
    for name in [name for name in values if name.endswith(HALF_SUFFIX)]:
        values[name.removesuffix(HALF_SUFFIX)] = values.pop(name).astype(np.float32)
    return values


def neighbours_of(moved: Tensor, step: int) -> Tensor:
    """The kernels (M, 1, 3, 3) that step number ``step`` holds as ``neighbours`` (M, 1, 5, 5)."""
    parts = zip(moved.chunk(STEPS), step_phases(step), strict=True)
    return torch.cat([part[:, :, 1 + row : 4 + row, 1 + column : 4 + column] for part, (row, column) in parts])
