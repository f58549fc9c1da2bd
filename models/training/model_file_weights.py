"""The weights of a model file, to continue its training.

A model file differs from a checkpoint in three ways. The weights of integer layers are rounded. ``Block.input_scale``
is multiplied into the weights, so the scale is measured again. For the prior of the hyper-latents it has only frequency
tables, to which a prior is fitted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from compressai.entropy_models import EntropyBottleneck
from onnx import numpy_helper
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
from codec_models.training.recipe import architecture_from_dict

HALF_SUFFIX = "/half"
"""Suffix of the names of weights that a graph holds as float16."""
PRIOR_ITERATIONS = 200
"""Iterations of L-BFGS that fit the prior of the hyper-latents, which then costs under 0.001 bits a value more than the
tables."""
_BRANCH_ENDS = {"depthwise": "project", "gate": "contract", "expand": "contract"}
"""For each branch of ``Block``, the layer before the last one, and the last one. The oldest files
(tests/golden/tiny.nicm and filtered.nicm) have ``expand``, which was ``value`` and ``gate`` in one convolution."""


def architecture_of(file: Model) -> Architecture:
    """The architecture of ``file``.

    Of the recipe in the metadata, only "architecture" is read: recipes of earlier releases have other settings.

    Raises:
        ValueError: when the metadata has no valid architecture.
    """
    recipe = file.metadata.get("recipe")
    if not isinstance(recipe, dict) or not isinstance(recipe.get("architecture"), dict):
        raise ValueError("the model file does not say what its architecture is")
    return architecture_from_dict(recipe["architecture"])


def take_weights(model: CompressionModel, before: CompressionModel) -> None:
    """Give ``model`` the weights of ``before``, which may have fewer blocks.

    Additional blocks add nothing at first, so a fresh ``model`` with more blocks computes the same as ``before``.

    Raises:
        ValueError: when the architectures differ in anything else.
    """
    counts = {name: getattr(before.architecture, name) for name in BLOCK_COUNTS}
    has_more_blocks = any(count > getattr(model.architecture, name) for name, count in counts.items())
    if has_more_blocks or dataclasses.replace(model.architecture, **counts) != before.architecture:
        raise ValueError("the earlier model is of another architecture than the recipe's")
    model.load_state_dict(before.state_dict(), strict=False)
    model.likelihood.mixture = before.likelihood.mixture


def load_model_weights(model: CompressionModel, file: Model) -> None:
    """Give ``model`` the weights of ``file``. Its blocks keep their ``input_scale``, which must be set before.

    Raises:
        ValueError: when the file has another architecture, a codebook, or not all weights of the model.
    """
    if architecture_of(file) != model.architecture:
        raise ValueError("the model file is of another architecture than the recipe's")
    if file.codebook is not None:
        raise ValueError("a vector-quantised model's weights cannot be read back from its model file")
    state = model.state_dict()
    try:
        weights = _weights(model, file)
    except Exception as error:  # onnx and torch raise a different class for each kind of damage
        raise ValueError("a model file whose weights cannot be read") from error
    if any(name not in state or state[name].shape != value.shape for name, value in weights.items()):
        raise ValueError("a model file whose weights are not of this project's networks")
    missing = [n for n, _ in model.named_parameters() if n not in weights and not n.startswith("hyper_prior.")]
    if missing:
        raise ValueError(f"a model file without the weights of {missing[0]}")
    model.load_state_dict(weights, strict=False)
    _fit_prior(model.hyper_prior, file.hyper_tables)
    model.likelihood.mixture = mixture_of_tables(file.scale_tables)


def _weights(model: CompressionModel, file: Model) -> dict[str, Tensor]:
    """The state of ``model`` that ``file`` holds, in the scale of training."""
    weights = {name: value for graph in GRAPHS for name, value in _parameters(graph, file.graph(graph))}
    for name in [name for name in weights if ".expand." in name and not name.startswith("context_steps.")]:
        layers = zip(("value", "gate"), weights.pop(name).chunk(2), strict=True)
        weights |= {name.replace("expand", layer): value for layer, value in layers}
    for name, module in model.named_modules():
        if isinstance(module, IntegerConv2d) and f"{name}.weight" in weights:
            weights[f"{name}.weight"] *= 2.0 ** (module.in_shift - module.out_shift)
            weights[f"{name}.bias"] = (weights[f"{name}.bias"] - 0.5) * 2.0**-module.out_shift
        if hasattr(module, "input_scale"):
            scale = module.input_scale.reshape(1, -1, 1, 1)
            for layer in ("mix", "value", "gate"):
                weights[f"{name}.{layer}.weight"] = weights[f"{name}.{layer}.weight"] / scale
    return weights


def _parameters(graph: str, data: bytes) -> Iterator[tuple[str, Tensor]]:
    """The parameters in a graph, by their names in ``CompressionModel``.

    A convolution's weight may have a name that the exporter made up; its bias has the name of its layer. The last
    layers of branches have lost both names, with ``BRANCH_SCALE`` multiplied in: they follow a layer with a name.
    In older files "expand.bias/0" is the bias of ``value`` and "expand.bias/1" that of ``gate``.
    """
    nodes = onnx.load_from_string(data).graph
    values = {name: torch.from_numpy(weight.copy()) for name, weight in weights_of(nodes).items()}
    before = ""
    for node in nodes.node:
        if node.op_type == "Conv" and len(node.input) == 3:
            weight, bias = (values[name] for name in node.input[1:])
            name = node.input[2].replace(".expand.bias/0", ".value.bias").replace(".expand.bias/1", ".gate.bias")
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
        return f"context_steps.{graph.removeprefix('context')}.{name.removeprefix('step.')}"
    return {"hyper_analysis": "h_a.", "hyper_synthesis": "h_s."}.get(graph, "") + name


def _fit_prior(prior: EntropyBottleneck, tables: list[Table]) -> None:
    """Fit ``prior`` to the probabilities in ``tables``, one for each channel: least cross entropy, by L-BFGS."""
    target = torch.zeros(len(tables), 1, 2 * HYPER_MAX + 1)
    for row, table in zip(target, tables, strict=True):
        radius = min(table.radius, HYPER_MAX)
        frequencies = table.frequencies[table.radius - radius : table.radius + radius + 1]
        probabilities = torch.from_numpy(frequencies / np.sum(frequencies))
        row[0, HYPER_MAX - radius : HYPER_MAX + radius + 1] = probabilities.float()
    radius = int((target > 0).any(0).nonzero().sub(HYPER_MAX)[:, 1].abs().max())
    target = target[..., HYPER_MAX - radius : HYPER_MAX + radius + 1].transpose(0, 1)
    values = torch.arange(-radius, radius + 1, dtype=torch.float32).expand(1, len(tables), -1).contiguous()
    parameters = [parameter for name, parameter in prior.named_parameters() if name != "quantiles"]
    optimizer = torch.optim.LBFGS(parameters, max_iter=PRIOR_ITERATIONS, line_search_fn="strong_wolfe")

    def cross_entropy() -> Tensor:
        optimizer.zero_grad()
        _, likelihood = prior(values, training=False)
        loss = -(target * torch.log(likelihood)).sum()
        loss.backward()
        return loss

    optimizer.step(cross_entropy)


def weights_of(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """The weights of a graph by the names under which its nodes use them; float32 where the graph stores float16."""
    values = {weights.name: numpy_helper.to_array(weights) for weights in graph.initializer}
    for name in [name for name in values if name.endswith(HALF_SUFFIX)]:
        values[name.removesuffix(HALF_SUFFIX)] = values.pop(name).astype(np.float32)
    return values


def neighbours_of(shifted: Tensor, step: int) -> Tensor:
    """The kernels (M, 1, 3, 3) of ``neighbours`` from those of an exported graph (M, 1, 5, 5).

    In graphs of earlier exporters a convolution of stride 2 picks one position of each 2x2 square. Its kernels are
    shifted by that position, which context step ``step`` decodes.
    """
    groups = zip(shifted.chunk(STEPS), step_phases(step), strict=True)
    return torch.cat([group[:, :, 1 + row : 4 + row, 1 + column : 4 + column] for group, (row, column) in groups])
